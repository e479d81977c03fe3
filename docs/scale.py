"""Draws docs/scale.md from what benchmarks/scale measured: `python docs/scale.py`."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from vjaccel.cluster import Workers
from vjaccel.engines.dealing import dealt

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results" / "scale"
PAGE = HERE / "scale.md"

DAY = 86_400.0
TEXTS = 1_000_000_000
LENGTHS = (20, 100, 150, 200, 300)
"""Tokens of a text: glosses, and texts as documents have them."""

BYTES = 4
"""Of a token, as English has them."""

DRIVER_HOURS = 4.0
"""Of a day, for what a driver does alone before and after embedding."""

Found = dict[str, Any]


class Assumed(NamedTuple):
    """What was not measured: a reader puts in what is so where they are."""

    gpu_speed: float = 500_000.0
    cpu_hour: float = 0.05
    gpu_hour: float = 2.50
    per_million: float = 0.02
    gb_month: float = 0.02


ASSUMED = Assumed()


def workers_for(tokens: float, speed: float, seconds: float = DAY, utilisation: float = 1.0) -> int:
    """Workers of `speed` tokens a second that embed so many tokens in so many seconds."""
    return math.ceil(tokens / (speed * seconds * utilisation))


def worker_hours(tokens: float, speed: float, utilisation: float = 1.0) -> float:
    return tokens / (speed * utilisation) / 3600


def runs_for(texts: float, read: float, merge: float, hours: float = DRIVER_HOURS) -> int:
    """Runs over parts of the texts, each with a driver that reads and puts together for no more than `hours`."""
    return math.ceil(texts * (1 / read + 1 / merge) / (3600 * hours))


def shards_of(texts: int, workers: int = 1_000) -> int:
    """How many shards they are for so many workers."""
    return len(dealt(texts, Workers(workers, workers))) - 1


def page(found: Found) -> str:
    """The page, of what was found on one machine."""
    sections = (_head, _checked, _billion, _bytes, _driver, _failing, _slow, _limited, _search, _money, _how)
    lines = [line for section in sections for line in [*section(found), ""]]
    return "\n".join(_folded(lines))


def _folded(lines: list[str]) -> Iterator[str]:
    """Sentences in lines of one length; tables, formulas and headings as they are."""
    for as_it_is, some in groupby(lines, lambda line: not line or line.startswith(("|", "#", "    ", "<"))):
        if as_it_is:
            yield from some
            continue
        for paragraph in "\n".join(some).replace("\n- ", "\0- ").split("\0"):
            yield textwrap.fill(
                " ".join(paragraph.split()), 128, subsequent_indent="  " * paragraph.startswith("- "),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip


def _head(found: Found) -> list[str]:
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    tokens = TEXTS * 150
    return [
        "# A billion texts",
        "<!-- written by docs/scale.py from benchmarks/results/scale; do not edit -->",
        "",
        "What embedding very many texts on a cluster takes, planned before it is paid for: by what one worker and "
        "one driver were",
        "measured to do here, and by a simulation of up to 1,000 workers that asks the library's own decisions and limits.",
        "",
        f"- At {_n(_speed(found))} tokens a second for each worker, a billion texts of 150 tokens in a day are "
        f"**{_n(workers_for(tokens, _speed(found)))} workers** of a core each.",
        "- What limits first is **the driver**: it reads and puts together a billion rows in "
        f"{_hours(_alone(found))}. So a billion "
        f"texts are **{_runs(found)} runs** over parts of the texts, side by side.",
        "- Failures cost little, as batches are kept; slow workers cost more, unless shards are small; a limit that "
        "is shared makes",
        "  more workers than it feeds useless.",
        "",
        f"Measured {machine['date']} on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; Python "
        f"{machine['python']}, {versions}. It is shared and noisy, and rates of a driver are the best of "
        f"{found['driver']['rounds']}: plan with "
        "figures of your own.",
    ]


def _checked(found: Found) -> list[str]:
    lines = [
        "## What the simulation says, and what runs took",
        "Two short runs of one worker on Ray give its tokens a second, and what comes before the first; a straight "
        "line through",
        "them is all that the simulation is told. Then runs of other sizes were predicted, and run. Workers that "
        "start on one",
        "machine are taken to share its cores for that.",
        "",
        "| model | workers | texts | embedding: predicted | measured | ratio | whole command: predicted | measured | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in found["runs"]:
        for run in case["runs"]:
            said, took = run["predicted"], run["measured"]
            columns = " | ".join(
                f"{said[part]:.1f} s | {took[part]:.1f} s | {took[part] / said[part]:.2f}"
                for part in ("embedding", "whole")
            )
            lines.append(f"| {case['model']} | {run['workers']} | {case['texts']:,} | {columns} |")
    errors = [
        abs(_ratio(run, part) - 1) for case in found["runs"] for run in case["runs"] for part in ("embedding", "whole")
    ]
    kill = found["kill"]
    lines += [
        "",
        *(
            f"- `{case['model']}`: {case['why']}. A worker makes {_n(case['speed'])} "
            f"{'texts' if case['tokens'] == 1 else 'tokens'} a second, after {case['start']:.1f} s to start; the "
            "command takes "
            f"{case['begin']:.1f} s beside."
            for case in found["runs"]
        ),
        f"- The predictions are off by {max(errors):.0%} at most, and by {sum(errors) / len(errors):.0%} on average. "
        "Runs as short as these are to a "
        "large part their start, which varies; hours are not. More than two workers that compute cannot be tried on "
        "two cores.",
        f"- One of two workers was killed {kill['at']:.1f} s after the start of embedding {kill['texts']:,} texts "
        f"with `{kill['model']}`. The "
        f"simulation, told when, has it end after {kill['predicted']['embedding']:.1f} s, "
        f"{_longer(kill['predicted']):.1f} s later than "
        f"without that; it took {kill['measured']['embedding']:.1f} s, {_longer(kill['measured']):.1f} s longer than "
        "a run before.",
    ]
    return lines


def _billion(found: Found) -> list[str]:
    speed = _speed(found)
    lines = [
        "## Workers",
        "    workers = texts x tokens / (tokens a second x seconds x utilisation)",
        "",
        f"A core here makes {_n(speed)} tokens a second with all-MiniLM-L6-v2 in float32. No GPU was measured: "
        f"{_n(ASSUMED.gpu_speed)} tokens a second is **assumed**, so put yours into the formula.",
        "",
        "| tokens a text | tokens | core-hours | cores for a day | for a week | GPUs for a day (assumed) |",
        "|---|---|---|---|---|---|",
    ]
    for length in LENGTHS:
        tokens = TEXTS * length
        lines.append(
            f"| {length} | {_n(tokens)} | {_n(worker_hours(tokens, speed))} | {_n(workers_for(tokens, speed))} | "
            f"{_n(workers_for(tokens, speed, 7 * DAY))} | {_n(workers_for(tokens, ASSUMED.gpu_speed))} |"
        )
    return lines


def _bytes(found: Found) -> list[str]:
    driver, size = found["driver"], found["driver"]["bytes"]
    rows = driver["shard_rows"]
    shards = shards_of(TEXTS)
    index = found["seen"][-1]["bytes"]
    return [
        "## Bytes",
        f"Of vectors with {driver['dim']} numbers in float32, as files were on the disk here:",
        "",
        "| what | each | for a billion texts |",
        "|---|---|---|",
        f"| vectors in the journal of the run | {size['vectors']:,.0f} B a text | {_b(size['vectors'] * TEXTS)} |",
        f"| the output, parquet, with ids and texts | {size['output']:,.0f} B a text | {_b(size['output'] * TEXTS)} |",
        f"| lines of the journal | {size['journal']:.1f} B a text | {_b(size['journal'] * TEXTS)} |",
        f"| index of texts, on the driver's disk | {index:.1f} B a text | {_b(index * TEXTS)} |",
        f"| memory of the driver for rows and shards | {size['memory']:.2f} B a text | {_b(size['memory'] * TEXTS)} |",
        f"| shards of at most {rows:,} rows | {_b(size['vectors'] * rows)} of vectors | {shards:,} |",
        f"| a shard's journal beside its vectors | {_b(size['shard_beside'])}, {size['shard_files']:.0f} files | "
        f"{_b(size['shard_beside'] * shards)}, of which only those under way are there at once |",
        f"| what a worker is told of a shard | {size['shard_description']:,.0f} B | "
        f"{_b(size['shard_description'] * shards)} |",
        "",
        "While the output is put together it and the journal are there: "
        f"{_b((size['vectors'] + size['output'] + size['journal']) * TEXTS)}. "
        "A run with `--precision int8` writes a quarter of the output, and its journal is float32 all the same. Of a "
        "shard that is",
        "done an empty file is left in the journal until the run ends.",
    ]


def _driver(found: Found) -> list[str]:
    rate, ray = found["driver"]["rows_per_second"], found["ray"]
    shards = shards_of(TEXTS)
    runs = _runs(found)
    index = found["seen"]
    limit, digest = found["limit"][-1], rate["digest"] * found["driver"]["bytes"]["input"]
    return [
        "## What limits first",
        "A run has one driver. It reads all rows before shards are dealt, takes in what is done while others work, "
        "and puts the",
        "output together at the end. Measured with short texts of about 75 letters:",
        "",
        "| what | measured | for a billion texts |",
        "|---|---|---|",
        f"| digest of the inputs | {_b(digest)}/s | {_hours(TEXTS * 150 * BYTES / digest)}, by 150 tokens of {BYTES} bytes |",
        f"| reading, and finding texts that come twice | {_n(rate['read'])} rows/s | {_hours(TEXTS / rate['read'])} |",
        f"| taking in shards | {_n(rate['take_in'])} rows/s | {_hours(TEXTS / rate['take_in'])}, beside the workers |",
        f"| merge: putting the output together | {_n(rate['merge'])} rows/s, "
        f"{_b(rate['merge'] * found['driver']['bytes']['output'])}/s | "
        f"{_hours(TEXTS / rate['merge'])} |",
        f"| Ray Data is told of the shards | {_n(ray['put_per_second'])} shards/s | {_n(shards / ray['put_per_second'])} s |",
        f"| Ray Data deals them | {_n(ray['done_per_second'])} shards/s | {_n(shards / ray['done_per_second'])} s; "
        "with 1,000 workers "
        f"{_n(_shards_per_second(found, 1000))} shards/s are asked |",
        f"| index of texts | {_n(index[0]['rows_per_second'])} rows/s up to {_n(index[0]['rows'])} rows, "
        f"{_n(index[-1]['rows_per_second'])} up to "
        f"{_n(index[-1]['rows'])} | {_b(index[-1]['bytes'] * TEXTS)}, which must fit the page cache, or it is slower |",
        f"| limit in Redis, {limit['log']:,} requests a minute | {_n(1 / limit['granted'])} requests/s, "
        f"{_n(1 / limit['refused'])} refusals/s | |",
        "",
        f"A worker's own part beside the model, reading its rows and keeping its vectors, is {_n(rate['work'])} "
        "rows/s. So with one run a driver "
        f"works alone for {_hours(_alone(found))}, whatever the number of workers, and taking in bounds the workers at "
        f"{_n(rate['take_in'] * 150)} tokens/s, which {_n(rate['take_in'] * 150 / _speed(found))} cores make of "
        "texts of 150 tokens. "
        f"With {runs} runs, each over {_n(TEXTS / runs)} texts with a folder, a driver and workers of its own, it is "
        f"{DRIVER_HOURS:.0f} hours at most. "
        "Texts that come twice are found within a run; a cache (`--cache redis://`) finds them in others.",
        "",
        "Inputs are best parquet with row groups of some thousand rows, of which a shard reads whole ones, "
        "or lines that are not compressed: a "
        "worker goes",
        "to its rows without reading those before.",
    ]


def _failing(found: Found) -> list[str]:
    assumed, rows = found["simulated"]["assumed"], found["simulated"]["failures"]
    quiet = {row["workers"]: row["embedding"] for row in rows if row["failure"] is None}
    lines = [
        "## Workers that fail (simulated)",
        f"A million texts of {assumed['tokens']} tokens for each worker; speeds that differ by "
        f"{assumed['spread']:.0%}, {assumed['start']:.0f} s to start, "
        f"{assumed['away']:.0f} s until a worker that failed is back. These are assumed.",
        "",
        "| workers | each fails once in | embedding | longer by | utilisation | failures | work done twice | driver busy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        often = "never" if row["failure"] is None else _hours(row["failure"])
        lines.append(
            f"| {row['workers']:,} | {often} | {_hours(row['embedding'])} | "
            f"{row['embedding'] / quiet[row['workers']] - 1:.1%} | "
            f"{row['utilisation']:.1%} | {row['failures']:,} | {row['repeated']:.4%} | {row['driver']:.1%} |"
        )
    wrongly = sum(row["given_up"] for row in rows)
    lines += [
        "",
        "What is lost with a worker is the batch in hand and the time until it is back. A text is taken for one that "
        "kills workers",
        f"only after workers died of it alone, again and again: of {_n(sum(row['workers'] for row in rows) * 1e6)} "
        "texts, with failures that come by "
        f"chance, {wrongly or 'none'} were.",
    ]
    return lines


def _slow(found: Found) -> list[str]:
    assumed, rows = found["simulated"]["assumed"], found["simulated"]["slow"]
    return [
        "## Slow workers and the size of shards (simulated)",
        f"A billion texts on 1,000 workers, of which {assumed['slow']:.0%} are {assumed['slowness']:g} times slower. "
        "Ray Data gives a worker two shards, and takes "
        "none back: a slow one holds the end up by these. "
        "With `--workers 1000` and by default they become smaller towards the end.",
        "",
        "| `--shard-rows` | slow workers | embedding | utilisation |",
        "|---|---|---|---|",
        *(
            f"| {_shard_rows(row)} | {row['slow']:.0%} | {_hours(row['embedding'])} | {row['utilisation']:.1%} |"
            for row in rows
        ),
        "",
        f"Smaller shards cost what Ray Data takes to deal them ({_n(found['ray']['done_per_second'])} a second "
        "here), and files.",
    ]


def _shard_rows(row: Found) -> str:
    return "by default" if row["shard_rows"] is None else f"{row['shard_rows']:,}"


def _limited(found: Found) -> list[str]:
    limit, following = found["simulated"]["limit"], found["simulated"]["limit"]["following"]
    each = limit["request_tokens"] / limit["request_seconds"]
    lines = [
        "## One limit for all (simulated)",
        f"{_n(limit['tokens'])} tokens a minute in Redis, requests of {limit['request_tokens']:,} tokens that take "
        f"{limit['request_seconds']:g} s, eight at once for "
        f"each worker, {limit['ask'] * 1e3:.2g} ms of Redis for each question; work for {limit['minutes']} minutes "
        "of the limit.",
        "",
        "| workers | seconds | the limit allows | utilisation | questions a second | Redis busy |",
        "|---|---|---|---|---|---|",
    ]
    for run in limit["runs"]:
        asks = run["asks"] / run["embedding"]
        lines.append(
            f"| {run['workers']:,} | {run['embedding']:.0f} | {60 * limit['minutes']} | {run['utilisation']:.1%} | "
            f"{asks:,.0f} | {asks * limit['ask']:.0%} |"
        )
    lines += [
        "",
        f"    workers = tokens a minute / 60 x seconds of a request / (tokens of a request x requests at once) = "
        f"{limit['tokens'] / 60 / each / 8:.1f}",
        "",
        "More of them wait, and ask Redis whether they still must. With `--workers MIN:MAX` they follow a shared "
        "limit; work for "
        f"{following['minutes']} minutes of it, where up to {following['workers']} may come:",
        "",
        "| workers | seconds | the limit allows | workers on average | utilisation |",
        "|---|---|---|---|---|",
        *(
            f"| {run['least'] or run['workers']}:{run['workers']} | {run['embedding']:,.0f} | "
            f"{60 * following['minutes']:,} | "
            f"{run['worker_seconds'] / run['embedding']:.1f} | {run['utilisation']:.1%} |"
            for run in following["runs"]
        ),
        "",
        "A limit may be spent in the first seconds of each minute, and shards tell when they are done: so workers are judged "
        "by a whole minute, and by shards that were let go for as many as there are. "
        f"Following took {following['runs'][1]['embedding'] / following['runs'][0]['embedding']:.2f} "
        "times as long here. "
        "Where the formula gives the number, say that: `--workers N`.",
    ]
    return lines


def _search(found: Found) -> list[str]:
    lines = [
        "## Search over many shards",
        "A search asks each shard for its best k, side by side, and merges S x k of them: what grows with the shards "
        "is the merge, and",
        "whoever is slowest.",
        "",
        "| shards | k | merge for one query |",
        "|---|---|---|",
        *(f"| {row['shards']:,} | {row['k']} | {row['seconds'] * 1e3:.2g} ms |" for row in found["merge"]),
    ]
    size = 4 * found["driver"]["dim"]
    lines += [
        "",
        f"A billion vectors of {found['driver']['dim']} numbers are {_b(size * TEXTS)} in float32, to be read for "
        "each search that is exact: "
        f"1,000 shards hold {_b(size * TEXTS / 1000)} each. See [collections](collections.md).",
    ]
    return lines


def _money(found: Found) -> list[str]:
    speed, size = _speed(found), found["driver"]["bytes"]
    lines = [
        "## Money",
        "    cost = texts x tokens / (tokens a second x utilisation) / 3600 x price of a worker's hour",
        "",
        f"Prices are **assumed**: {ASSUMED.cpu_hour:.2f} USD for an hour of a core, {ASSUMED.gpu_hour:.2f} for one "
        "of a GPU (of the assumed speed), "
        f"{ASSUMED.per_million:.2f} for a million tokens of a service, {ASSUMED.gb_month:.2f} for a month of a GB. "
        "Utilisation is 90%.",
        "",
        "| tokens a text | cores | GPUs (assumed speed) | a service |",
        "|---|---|---|---|",
    ]
    for length in LENGTHS:
        tokens = TEXTS * length
        cores = worker_hours(tokens, speed, 0.9) * ASSUMED.cpu_hour
        gpus = worker_hours(tokens, ASSUMED.gpu_speed, 0.9) * ASSUMED.gpu_hour
        lines.append(f"| {length} | {_n(cores)} USD | {_n(gpus)} USD | {_n(tokens / 1e6 * ASSUMED.per_million)} USD |")
    stored = size["output"] * TEXTS / 1e9 * ASSUMED.gb_month
    return [
        *lines,
        "",
        "Workers that are there while a driver works alone cost as much as others: on a cluster that grows and "
        "shrinks they come",
        f"for the embedding. The output costs {_n(stored)} USD a month to keep.",
    ]


def _how(found: Found) -> list[str]:
    return [
        "## How this was made",
        "`python -m benchmarks.scale.measure` measures and simulates, `python docs/scale.py` draws this page; the "
        "simulation is",
        "`benchmarks/scale/simulation.py`, with a seed, and its laws are tested.",
        "",
        "- **Asked of the library**: the size of shards, in which groups the rows of a shard are embedded after "
        "workers died of it, when a",
        "  run is given up as no node is there, how many workers follow a limit (`Pace`), each worker's share of a "
        "limit, and when a request may be sent "
        "(`Rates`, in made-up time).",
        "- **Modelled**: Ray Data (shards in their order, two for each worker, those of a worker that failed wait "
        "for it), the workers'",
        "  speeds and failures, and a Redis that answers one question after the other.",
        "- **Not in it**: networks and shared disks, which were not to be had; memory.",
    ]


def _speed(found: Found) -> float:
    speed: float = next(case["speed"] for case in found["runs"] if case["model"].startswith("local:"))
    return speed


def _alone(found: Found) -> float:
    """Seconds that one driver takes before and after embedding."""
    rate = found["driver"]["rows_per_second"]
    return TEXTS / rate["read"] + TEXTS / rate["merge"]


def _runs(found: Found) -> int:
    rate = found["driver"]["rows_per_second"]
    return runs_for(TEXTS, rate["read"], rate["merge"])


def _shards_per_second(found: Found, workers: int) -> float:
    return workers * _speed(found) / (150 * found["driver"]["shard_rows"])


def _ratio(run: Found, part: str) -> float:
    ratio: float = run["measured"][part] / run["predicted"][part]
    return ratio


def _longer(part: Found) -> float:
    longer: float = part["embedding"] - part["unharmed"]
    return longer


def _n(value: float) -> str:
    """Three digits, in words from a million on."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _b(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h" if seconds >= 1800 else f"{seconds:.3g} s"


def read() -> Found:
    """What was measured: one machine's file."""
    (path,) = RESULTS.glob("*.json")
    found: Found = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(read()), encoding="utf-8")
