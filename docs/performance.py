"""Draws docs/performance.md and its plots from the files in benchmarks/results: `python docs/performance.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
PAGE, PLOTS = HERE / "performance.md", HERE / "performance"
INK, OURS, PEER, LIMIT = "#7a7a7a", "#2a78d6", "#c98500", "#9a9a9a"
"""Colours that are seen on a light page and on a dark one."""

OF_A_GPU = "P12"
"""The bar of what only a GPU's benchmarks measure."""

Bench = dict[str, Any]


def ours(bench: Bench) -> float:
    """Milliseconds of the quickest of ours."""
    return min(ms for name, ms in bench["best_ms"].items() if name.startswith("vjaccel"))


def limit(bench: Bench, name: str = "limit") -> float:
    return min(ms for other, ms in bench["best_ms"].items() if other.startswith(name))


def peers(bench: Bench) -> dict[str, float]:
    return {n: ms for n, ms in bench["best_ms"].items() if not n.startswith(("vjaccel", "limit"))}


def against_peers(bench: Bench) -> float:
    return min(peers(bench).values()) / ours(bench)


def against(name: str) -> Callable[[Bench], float]:
    """How many times quicker than what `name` begins."""
    return lambda bench: limit(bench, name) / ours(bench)


def over(name: str) -> Callable[[Bench], float]:
    """How many times what `name` begins we take."""
    return lambda bench: ours(bench) / limit(bench, name)


def over_one_worker(bench: Bench) -> float:
    """How many times one worker's rows a second two have: it has half the rows, so that what comes once weighs the same."""
    return 2 * limit(bench, "one worker") / ours(bench)


def of_two_cores(bench: Bench) -> float:
    """How many times the local engine's time a worker takes that has as many threads as that."""
    return limit(bench, "a worker") / limit(bench, "local")


@dataclass(frozen=True)
class Bar:
    """What is asked of the benchmarks whose name begins with `of`."""

    name: str
    of: str
    says: str
    value: Callable[[Bench], float | None]
    least: float = -math.inf
    most: float = math.inf
    unit: str = "x"

    def reached(self, value: float) -> bool:
        return self.least <= value <= self.most


BARS = (
    Bar("P1", "topk_of_200k", "1.0x the best peer at every number of queries", against_peers, least=1.0),
    Bar("P1", "topk_of_200k", "at most 1.25x a bare sgemm's time", over("limit: sgemm"), most=1.25),
    Bar("P1b", "by_a_sketch", "2.5x the best peer, by an int8 sketch", against_peers, least=2.5),
    Bar("P2", "normalize_200k", "at most 1.3x a copy's time", over("limit: copy"), most=1.3),
    Bar("P2", "normalize_200k", "4x the best peer", against_peers, least=4),
    Bar("P3", "euclidean_1000", "2.5x scikit-learn", against("scikit-learn"), least=2.5),
    Bar("P3", "euclidean_1000", "at most 1.2x sgemm's time", over("limit: sgemm"), most=1.2),
    Bar("P3", "manhattan_200", "5x the best peer", against_peers, least=5),
    Bar("P4", "embed[glosses]", "1.4x `encode` at its best batch size", against_peers, least=1.4),
    Bar("P4", "embed[glosses]", "70% of what sgemm's peak allows", against("limit: sgemm"), least=0.7),
    Bar("P4b", "embed[mixed", "1.25x `encode` at its best batch size", against_peers, least=1.25),
    Bar("P5", "texts_from_a_warm", "0.8x a bare loop of hash, getmulti and copy", against("limit: hash"), least=0.8),
    Bar("P6", "texts_of_a_provider", "1,000,000 texts a second", lambda b: b["work"] / ours(b) * 1e3, least=1e6, unit="/s"),
    Bar("P7", "import", "numpy's import and 60 ms", lambda b: ours(b) - limit(b, "limit: import"), most=60, unit=" ms"),
    Bar("P9", "10k_queries_of_1m", "under 300 MB beyond in- and output", lambda b: b["beyond_mb"], most=300, unit=" MB"),
    Bar("P10", "one_query", "0.85x numpy's `x @ q`", against_peers, least=0.85),
    Bar("P10", "one_cosine", "60M vectors/s", lambda b: b["work"] / ours(b) / 1e3, least=60, unit="M/s"),
    Bar("P10", "normalize_500", "15M vectors/s", lambda b: b["work"] / ours(b) / 1e3, least=15, unit="M/s"),
    Bar("P10", "the_overhead", "a call under 15 us", lambda b: ours(b) * 1e3, most=15, unit=" us"),
    Bar("P11", "insert_in_memory", "2M vectors/s", lambda b: b["work"] / ours(b) / 1e3, least=2, unit="M/s"),
    Bar("P11", "insert_on_disk", "2x a loop into chroma", lambda b: against_peers(b) if peers(b) else None, least=2),
    Bar("steady", "small_upserts", "the last 500 within 2x of the first", lambda b: b["growth"], most=2),
    Bar("watching", "the_model_on_this_cpu", "within 2% of the same unwatched", lambda b: b["times_unwatched"], most=1.02),
    Bar("watching", "a_function_that_answers", "within 2% of the same unwatched", lambda b: b["times_unwatched"], most=1.02),
    Bar("watching", "vectors_one_at_a_time", "within 2% of the same unwatched", lambda b: b["times_unwatched"], most=1.02),
    Bar("watching", "a_command_with_metrics", "within 2% of the same unwatched", lambda b: b["times_unwatched"], most=1.02),
    Bar("Ray", "workers", "2 workers 1.8 times one", over_one_worker, least=1.8),
    Bar("Ray", "workers", "at most 1.1x the local engine's time in five minutes", over("local"), most=1.1),
    Bar("Ray", "workers", "the same by one worker of two cores", of_two_cores, most=1.1),
    Bar("serve", "serve", "1.3x infinity", against("infinity"), least=1.3),
    Bar("P13", "first_topk_with_", "under 1 s with compiled kernels", lambda b: ours(b) / 1e3, most=1, unit=" s"),
    Bar("P13", "first_topk_without_", "under 4 s without", lambda b: ours(b) / 1e3, most=4, unit=" s"),
)  # fmt: skip


def page(files: list[Path]) -> str:
    """The page, for the machines whose results are in `files`."""
    head = [
        "# Performance\n",
        "<!-- written by docs/performance.py from benchmarks/results; do not edit -->\n",
        "`make bench` measures, keeps this machine's results in `benchmarks/results` and draws this page from all that",
        "are there, each with the day and the commit it was measured at. Contenders take turns, so that whatever else a",
        "machine does hits all alike; a time is the best of the rounds. A ratio above 1 is how many times quicker than the",
        "best peer ours is.\n",
    ]
    if not any(bench["bar"] == OF_A_GPU for path in files for bench in benches(read(path)).values()):
        head.append("No figure here was measured on a GPU: none has been at hand yet.\n")
    return "\n".join([*head, *(section(path) for path in files)])


def section(path: Path) -> str:
    report = read(path)
    machine, found = report["machine_info"], benches(report)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"## {machine['cpu'].get('brand_raw', path.stem)}, {machine['cores']} cores, {machine['memory_gb']} GB\n",
        f"Python {machine['python_version']}, {versions}.\n",
        "### The bars\n",
        "| bar | work | asked | measured | |",
        "|---|---|---|---|---|",
        *bar_rows(found),
    ]
    for name in dict.fromkeys(bench["bar"] for bench in found.values()):
        lines += [f"\n### {name}\n", f"![{name}: milliseconds of each](performance/{path.stem}-{name}.svg)\n"]
        lines += ["| work | milliseconds | also | measured |", "|---|---|---|---|"]
        lines += [
            f"| {work} | {times(bench)} | {also(bench)} | {bench['measured']} |"
            for work, bench in found.items()
            if bench["bar"] == name
        ]
    return "\n".join(lines) + "\n"


def read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def benches(report: dict[str, Any]) -> dict[str, Bench]:
    return {
        bench["name"].removeprefix("test_"): bench["extra_info"] | {"measured": bench["measured"]}
        for bench in report["benchmarks"]
    }


def bar_rows(found: dict[str, Bench]) -> list[str]:
    rows = []
    for bar in BARS:
        for work, bench in found.items():
            value = bar.value(bench) if work.startswith(bar.of) else None
            if value is not None:
                shown = "reached" if bar.reached(value) else "**missed**"
                rows.append(f"| {bar.name} | {work} | {bar.says} | {value:.3g}{bar.unit} | {shown} |")
    ratios = [against_peers(bench) for work, bench in found.items() if work.startswith("topk_of_200k")]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        shown = "reached" if mean >= 1.5 else "**missed**"
        rows.insert(0, f"| P1 | geometric mean | 1.5x the best peer | {mean:.3g}x | {shown} |")
    return rows


def times(bench: Bench) -> str:
    return ", ".join(f"{name} {ms:.3g}" for name, ms in sorted(bench["best_ms"].items(), key=lambda item: item[1]))


def also(bench: Bench) -> str:
    shown = {key: bench[key] for key in bench if key not in ("bar", "best_ms", "median_ms", "work", "measured")}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())


def draw(path: Path) -> None:
    """One plot for each bar: the milliseconds of every contender in each of its benchmarks."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "vjaccel", "svg.fonttype": "none", "text.color": INK, "axes.labelcolor": INK,
                     "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": INK, "font.size": 9}  # fmt: skip
    from matplotlib import pyplot

    found = benches(read(path))
    for name in dict.fromkeys(bench["bar"] for bench in found.values()):
        rows: list[tuple[str, float | None]] = []
        for work, bench in found.items():
            if bench["bar"] == name:
                rows += [(work, None), *sorted(bench["best_ms"].items(), key=lambda item: item[1])]
        bars = [(place, who, ms) for place, (who, ms) in enumerate(rows) if ms is not None]
        figure, axes = pyplot.subplots(figsize=(7.5, 0.6 + 0.22 * len(rows)))
        axes.barh([place for place, *_ in bars], [ms for *_, ms in bars], color=[colour(who) for _, who, _ in bars])
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        for tick, (_, ms) in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("normal" if ms else "bold")
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds, best of the rounds (logarithmic)")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for place, _, ms in bars:
            axes.text(ms, place, f" {ms:.3g}", va="center")
        figure.savefig(
            PLOTS / f"{path.stem}-{name}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
        pyplot.close(figure)


def colour(who: str) -> str:
    return OURS if who.startswith("vjaccel") else LIMIT if "limit" in who else PEER


def main() -> None:
    files = sorted(RESULTS.glob("*.json"))
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for path in files:
        draw(path)
    PAGE.write_text(page(files), encoding="utf-8")


if __name__ == "__main__":
    main()
