"""Two runs side by side: what changed by more than the noise, and what only one of them has.

Mostly they are of two machines, one of which has a GPU; then the fastest of each machine meet, case by case.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from vjaccel.benchmark.figures import Timing, apart, counted, fastest, geometric_mean, roofs, timing
from vjaccel.benchmark.results import Embedding, Recall, Run
from vjaccel.benchmark.sections_machine import machine_table, refused_table
from vjaccel.benchmark.words import case_words, shape
from vjaccel.pages.marks import Mark, colour
from vjaccel.pages.page import Fold, Plot, Section, Table, write_page
from vjaccel.pages.plots import Part, Strip, logarithmic, rows_plot
from vjaccel.pages.words import percent, rate, ratio, scaled, seconds, times

__all__ = ["Change", "changes", "write_comparison"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_FASTER = Mark(colour(0), "triangle-up", True)
_SLOWER = Mark(colour(1), "triangle-down", True)
_WITHIN = Mark("var(--soft)", "circle", False)
_KEY = (("B faster, beyond the noise", _FASTER), ("B slower, beyond the noise", _SLOWER), ("within the noise", _WITHIN))


class Change(NamedTuple):
    """One thing that both runs have; `beyond` is whether they differ by more than the noise."""

    group: str
    row: str
    name: str
    a: Timing
    b: Timing
    by_a: str
    by_b: str
    beyond: bool

    @property
    def ratio(self) -> float:
        """How many times as fast the second is."""
        return self.a.median / self.b.median


def write_comparison(a: Run, b: Run, path: str | Path) -> None:
    """Write the comparison of `a` with `b` to `path`.

    Raises
    ------
    MissingExtra
        plotly is not installed.
    OutputError
        The file cannot be written.
    """
    same, best = changes(a, b), _best(a, b)
    lead = f"A: {a.machine.cpu}, {a.started}. B: {b.machine.cpu}, {b.started}."
    sections = [
        _short(a, b, same, best),
        Section("machines", "The two machines", tables=[machine_table([("A", a), ("B", b)]), _roofs_table(a, b)]),
        _section("fastest", "The fastest of each machine", _BEST_WORDS, best),
        _section("same", "The same subject on both", _SAME_WORDS, same),
        _section(
            "embedding",
            "Embedding",
            _EMBEDDING_WORDS,
            _embedding(a, b),
        ),
        _recall(a, b),
        _only(a, b),
        Section("refused", "Refused", _refused_words(a, b), tables=[*_refused("A", a), *_refused("B", b)]),
    ]
    write_page(path, "vjaccel bench: two runs compared", lead, sections)


def changes(a: Run, b: Run) -> list[Change]:
    """Every figure of a subject and a case that counts in both runs."""
    left = {(c.series, c.case.id): c for c in counted(a)}
    right = {(c.series, c.case.id): c for c in counted(b)}
    return [
        _change(a, b, (x.case.operation, x.series.label, f"{x.series.label}: {case_words(x.case)}"), x.timing, y.timing)
        for x, y in _both(left, right)
    ]


_BEST_WORDS = [
    "For each case the fastest figure of either machine, whatever made it, with its data where that is fastest. This is how a "
    "machine with a GPU meets one without.",
]
_SAME_WORDS = ["The same subject, the same case, its data at the same place."]
_EMBEDDING_WORDS = ["The time for the same texts, by subject, model, dtype and batch."]
_NOISE_WORDS = (
    "A change is marked when the two ranges do not meet. A range is that from the 10th to the 90th percentile of the rounds, "
    "of fewer than ten all of them, widened to both sides by half of the machine's clock spread. A figure of one round has no "
    "range, and is never marked."
)


def _best(a: Run, b: Run) -> list[Change]:
    found = []
    for x, y in _both(fastest(counted(a)), fastest(counted(b))):
        group = " ".join(filter(None, (x.case.operation, x.case.metric, x.case.dtype)))
        names = (group, shape(x.case.shape), case_words(x.case))
        found.append(_change(a, b, names, x.timing, y.timing, x.series.label, y.series.label))
    return found


def _embedding(a: Run, b: Run) -> list[Change]:
    def by_key(run: Run) -> dict[tuple[object, ...], Embedding]:
        return {
            (e.subject, e.model, e.dtype, e.batch, e.unit, e.texts, e.tokens): e
            for e in run.embedding
            if e.refused is None and e.seconds
        }

    found = []
    for x, y in _both(by_key(a), by_key(b)):
        names = (x.model, f"{x.subject} {x.dtype}", f"{x.subject} {x.dtype}, {x.batch} {x.unit} a batch, {x.model}")
        found.append(_change(a, b, names, timing(x.seconds), timing(y.seconds)))
    return found


def _change(
    a: Run, b: Run, names: tuple[str, str, str], left: Timing, right: Timing, by_a: str = "", by_b: str = ""
) -> Change:
    return Change(*names, left, right, by_a, by_b, apart(left, right, a.machine.clock_spread, b.machine.clock_spread))


def _both(left: dict[K, V], right: dict[K, V]) -> list[tuple[V, V]]:
    return [(x, right[key]) for key, x in left.items() if key in right]


def _short(a: Run, b: Run, same: Sequence[Change], best: Sequence[Change]) -> Section:
    points = []
    for operation in dict.fromkeys(c.group for c in best):
        own = [c for c in best if c.group == operation]
        mean = geometric_mean([c.ratio for c in own])
        marked = sum(c.beyond for c in own)
        points.append(
            f"{operation}: the fastest of B is {times(mean)} as the fastest of A over {len(own)} cases; "
            f"{marked} of them differ by more than the noise."
        )
    if not best:
        points.append("The two runs have no case in common, so there is nothing to compare.")
    if same:
        up, down = sum(c.beyond and c.ratio > 1 for c in same), sum(c.beyond and c.ratio < 1 for c in same)
        points.append(
            f"Of {len(same)} figures of the same subject and case, B is faster in {up} and slower in {down}; "
            f"{len(same) - up - down} are within the noise."
        )
    points.append(
        f"The clock of A varied by {percent(a.machine.clock_spread)}, that of B by {percent(b.machine.clock_spread)}."
    )
    return Section("short", "In short", [_NOISE_WORDS], points=points)


def _section(name: str, title: str, words: Sequence[str], found: Sequence[Change]) -> Section:
    if not found:
        return Section(name, title, ["There is none that both runs have."])
    head = ("what", "A", "B", "spreads A, B", "B over A", "verdict")
    rows = [
        (
            c.name,
            f"{seconds(c.a.median)} {c.by_a}".strip(),
            f"{seconds(c.b.median)} {c.by_b}".strip(),
            f"{percent(c.a.spread)}, {percent(c.b.spread)}",
            ratio(c.ratio),
            _verdict(c),
        )
        for c in found
    ]
    strong = frozenset(i for i, c in enumerate(found) if c.beyond)
    table = Table(f"{title}: what differs by more than the noise is marked", head, rows, strong)
    return Section(name, title, words, _KEY, [_plot(title, found)], [Fold(table) if len(rows) > 40 else table])


def _plot(title: str, found: Sequence[Change]) -> Plot:
    places: dict[tuple[str, str], dict[int, list[Change]]] = {}
    for c in found:
        kind = 2 if not c.beyond else 0 if c.ratio > 1 else 1
        places.setdefault((c.group, c.row), {}).setdefault(kind, []).append(c)
    groups: dict[str, list[Strip]] = {}
    for (group, row), kinds in places.items():
        parts = [
            Part(*_KEY[kind], [c.ratio for c in own], list(map(_hover, own))) for kind, own in sorted(kinds.items())
        ]
        groups.setdefault(group, []).append(Strip(row, parts))
    says = "Marks on rows, one for each line of the table, which has the same figures."
    axis = logarithmic("how many times as fast B is", [1.0, *(c.ratio for c in found)], ratio)
    return rows_plot(title, says, list(groups.items()), axis, line=1.0)


def _hover(c: Change) -> str:
    return (
        f"{c.name}\nB is {times(c.ratio)} as A: {_verdict(c)}\n"
        f"A {seconds(c.a.median)} {c.by_a}, B {seconds(c.b.median)} {c.by_b}"
    )


def _verdict(c: Change) -> str:
    if c.beyond:
        return f"B {'faster' if c.ratio > 1 else 'slower'}"
    return "one round only" if min(c.a.rounds, c.b.rounds) < 2 else "within the noise"


def _roofs_table(a: Run, b: Run) -> Table:
    rows = [
        (name, f"{r.device} ({r.hardware})" if r.hardware else r.device, rate(r.copy, "B/s"), rate(r.matmul, "FLOP/s"))
        for name, run in (("A", a), ("B", b))
        for r in roofs(run)
    ]
    return Table("What each device can do, as measured", ("run", "device", "copy bandwidth", "matrix product"), rows)


def _recall(a: Run, b: Run) -> Section:
    def by_key(run: Run) -> dict[tuple[object, ...], Recall]:
        return {(r.subject, r.how, r.rows, r.dim, r.queries): r for r in run.recall if r.seconds}

    found, rows, strong = _both(by_key(a), by_key(b)), [], set()
    title = "Quantized search"
    for x, y in found:
        left, right = timing(x.seconds), timing(y.seconds)
        c = _change(a, b, (x.how, x.subject, x.how), left, right)
        name = f"{x.subject}: {x.how}, {scaled(x.rows)} rows of {x.dim}"
        rows.append((name, f"{x.recall_at_10:.4f}", f"{y.recall_at_10:.4f}", scaled(x.queries / left.median),
                     scaled(y.queries / right.median), ratio(c.ratio), _verdict(c)))  # fmt: skip
        if c.beyond:
            strong.add(len(rows) - 1)
    if not rows:
        return Section("recall", title, ["There is none that both runs have."])
    head = ("what", "recall A", "recall B", "queries/s A", "queries/s B", "B over A", "verdict")
    return Section("recall", title, tables=[Table("Recall and speed on both", head, rows, frozenset(strong))])


def _only(a: Run, b: Run) -> Section:
    """Subjects and cases that one of them lacks."""
    rows = [
        ("subject", name, where) for name, where in _differ((s.name for s in a.subjects), (s.name for s in b.subjects))
    ]
    cases = {c.id: c for c in (*a.cases, *b.cases)}
    rows += [
        ("case", case_words(cases[i]), where) for i, where in _differ((c.id for c in a.cases), (c.id for c in b.cases))
    ]
    title = "In one of them alone"
    if not rows:
        return Section("only", title, ["Both runs have the same subjects and the same cases."])
    words = ["These have nothing to be compared with, and are in nothing above but the fastest of each machine."]
    return Section("only", title, words, tables=[Table(title, ("what", "name", "only in"), rows)])


def _differ(left: Iterable[str], right: Iterable[str]) -> list[tuple[str, str]]:
    left, right = list(left), list(right)
    return [(x, "A") for x in left if x not in right] + [(x, "B") for x in right if x not in left]


def _refused(name: str, run: Run) -> list[Table]:
    table = refused_table(run)
    return [Table(f"Refused in {name}", table.head, table.rows)] if table.rows else []


def _refused_words(a: Run, b: Run) -> list[str]:
    return [] if _refused("A", a) or _refused("B", b) else ["Nothing was refused in either run."]
