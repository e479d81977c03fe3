"""A benchmark's run on the terminal: a table an operation, in 80 columns, and what a reader has to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vjaccel.benchmark.results import BASELINE, Case, Measurement, Run

__all__ = ["show", "show_comparison"]

COLUMNS = 5
"""Cases side by side: what 80 columns hold beside a subject's name."""

NOISY = 0.1
"""A spread of the clock from which it is said."""

LISTED = 6
"""Lines of what is missing, after which it is only counted."""


def show(run: Run, console: Console) -> None:
    """Speed-ups over NumPy by operation, embedding, recall, and the remarks."""
    names = [subject.name for subject in run.subjects if any(m.subject == subject.name for m in run.measurements)]
    ratios = BASELINE in names and len(names) > 1
    if run.measurements:
        console.print("Times as fast as NumPy, by medians" if ratios else "Medians", style="bold")
    for _, same in groupby(run.cases, key=lambda case: (case.operation, case.metric)):
        cases = list(same)
        for start in range(0, len(cases), COLUMNS):
            _show_cases(run, cases[start : start + COLUMNS], console, ratios=ratios)
    _show_embedding(run, console)
    _show_recall(run, console)
    for line in _remarks(run, names):
        console.print(line, soft_wrap=False, markup=False)


def _show_cases(run: Run, cases: list[Case], console: Console, *, ratios: bool) -> None:
    rows = list(dict.fromkeys((m.subject, m.origin) for m in run.measurements))
    found = {(m.subject, m.origin, m.case): m for m in run.measurements}
    base = {case.id: _median(found.get((BASELINE, "host", case.id))) for case in cases}
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold", max_width=26)
    for case in cases:
        table.add_column(_heading(case), justify="right", no_wrap=True)
    if ratios:
        table.add_row("NumPy takes", *(_time(base[case.id]) for case in cases), style="dim")
    shown = False
    on_device = {subject for subject, origin in rows if origin == "device"}
    for subject, origin in rows:
        of_it = [found.get((subject, origin, case.id)) for case in cases]
        if any(of_it):
            name = f"{subject}, from host" if origin == "host" and subject in on_device else subject
            table.add_row(name, *(_cell(m, base[c.id] if ratios else None) for m, c in zip(of_it, cases, strict=True)))
            shown = True
    if shown:
        _print(_title(cases[0]), table, console)


def _print(title: str, table: Table, console: Console) -> None:
    console.print(title, style="bold cyan", markup=False)
    console.print(table)
    console.print()


def _cell(found: Measurement | None, base: float | None) -> Text:
    if found is not None and found.refused is not None:
        return Text("refused", style="bold red")
    own = _median(found)
    if own is None:
        return Text("-", style="dim")
    if base is None:
        return Text(_time(own))
    ratio = base / own
    return Text(_ratio(ratio), style="green" if ratio >= 1.1 else "")


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 0.95 else f"{ratio:.2g}x"


def _title(case: Case) -> str:
    k = f", k = {case.shape['k']}" if "k" in case.shape else ""
    return f"{case.operation}{f' by {case.metric}' if case.metric else ''}{k}"


def _heading(case: Case) -> str:
    sizes = [_number(case.shape[name]) for name in ("queries", "rows", "dim") if name in case.shape]
    return "\n".join([*(f"{size} x" for size in sizes[:-1]), sizes[-1], case.dtype])


def _number(n: int) -> str:
    if n >= 1_000_000 and n % 1_000_000 == 0:
        return f"{n // 1_000_000}M"
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    unit, factor = next(
        (u, f) for u, f, least in (("s", 1, 1.0), ("ms", 1e3, 1e-3), ("us", 1e6, 0.0)) if seconds >= least
    )
    return f"{seconds * factor:.3g} {unit}"


def _median(found: Measurement | None) -> float | None:
    return median(found.seconds) if found is not None and found.seconds and found.refused is None else None


def _show_embedding(run: Run, console: Console) -> None:
    rows = [row for row in run.embedding if row.seconds or row.refused]
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("", "dtype", "a batch"):
        table.add_column(heading)
    table.add_column("tokens/s", justify="right")
    for row in rows:
        rate = Text("refused", style="bold red") if row.refused else Text(f"{row.tokens / median(row.seconds):,.0f}")
        table.add_row(row.subject, row.dtype, f"{row.batch:,} {row.unit}", rate)
    _print(f"embedding by {rows[0].model}", table, console)


def _show_recall(run: Run, console: Console) -> None:
    if not run.recall:
        return
    rows, dim = run.recall[0].rows, run.recall[0].dim
    title = f"quantized: searching codes of {_number(rows)} x {dim}, in clusters"
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("how")
    for heading in ("recall@10", "queries/s"):
        table.add_column(heading, justify="right")
    for row in run.recall:
        table.add_row(row.subject, row.how, f"{row.recall_at_10:.3f}", f"{row.queries / median(row.seconds):,.0f}")
    _print(title, table, console)


def _remarks(run: Run, names: list[str]) -> Iterator[str]:
    for subject in run.subjects:
        if subject.state != "ok":
            yield f"{subject.name} {'was refused' if subject.state == 'refused' else subject.state}: {subject.reason}"
    if len(names) == 1:
        yield f"Only {names[0]} was measured: there is nothing to compare with."
    elif names and BASELINE not in names:
        yield f"{BASELINE} was not measured: there is nothing to compare with, so times are shown."
    if run.machine.clock_spread > NOISY:
        yield (
            f"The machine was unsteady: the same piece of work took {run.machine.clock_spread:.0%} more at some times than at "
            "others. Differences below that say nothing."
        )
    yield from _missing(run)
    yield from run.notes
    why = {"budget": ", when the budget was used up", "interrupt": ", when it was interrupted", None: ""}
    yield f"Measured for {run.seconds:.0f} s{why[run.stopped_by]}."


def _missing(run: Run) -> Iterator[str]:
    """What did not fit, by reason; what a library has not is no news."""
    spent = Counter(one.case for one in run.unmeasured if "budget" in one.reason)
    for case, count in list(spent.items())[:LISTED]:
        yield f"Did not fit into the budget: {case}, on {count} {'subject' if count == 1 else 'subjects'}."
    if len(spent) > LISTED:
        yield f"Did not fit into the budget: {len(spent) - LISTED} other cases; --json lists them."


def show_comparison(a: Run, b: Run, names: tuple[str, str], console: Console) -> None:
    """The medians of two runs side by side: the best of each, and whoever was measured in both."""
    for name, run in zip(names, (a, b), strict=True):
        console.print(
            f"{name}: {run.machine.cpu}, {run.machine.cores} cores; vjaccel {run.vjaccel}, {run.started}", markup=False
        )
    table = Table(box=None, pad_edge=False)
    table.add_column("case", overflow="fold", max_width=30)
    table.add_column("subject", overflow="fold", max_width=24)
    for heading in ("first", "second", "times as fast"):
        table.add_column(heading, justify="right")
    common = {case.id for case in a.cases} & {case.id for case in b.cases}
    for case in (case for case in a.cases if case.id in common):
        left, right = _of_case(a, case.id), _of_case(b, case.id)
        for subject, one, other in _rows(left, right):
            ratio, noise = median(one.seconds) / median(other.seconds), _noise(a, b, one, other)
            mark = Text(f"{ratio:.2f}x") if max(ratio, 1 / ratio) > 1 + noise else Text("within the noise", style="dim")
            table.add_row(case.id, subject, _time(median(one.seconds)), _time(median(other.seconds)), mark)
    console.print(table if table.row_count else "The two have no case in common: there is nothing to compare.")


def _of_case(run: Run, case: str) -> dict[str, Measurement]:
    found = [m for m in run.measurements if m.case == case and _median(m) is not None]
    return {m.subject if m.origin == "host" else f"{m.subject}, on it": m for m in found}


def _rows(
    left: dict[str, Measurement], right: dict[str, Measurement]
) -> Iterator[tuple[str, Measurement, Measurement]]:
    if not left or not right:
        return
    one, other = (min(side, key=lambda name: median(side[name].seconds)) for side in (left, right))
    if one != other:
        yield f"best: {one} / {other}", left[one], right[other]
    for subject in left:
        if subject in right:
            yield subject, left[subject], right[subject]


def _noise(a: Run, b: Run, one: Measurement, other: Measurement) -> float:
    """A change below this says nothing: the rounds of both, and the clocks, varied as much."""
    spreads = [(max(m.seconds) - min(m.seconds)) / median(m.seconds) for m in (one, other)]
    return max(*spreads, a.machine.clock_spread, b.machine.clock_spread, 0.05)
