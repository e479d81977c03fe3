"""The report's sections on speed: over NumPy, against size, and under the roof of the device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vjaccel.benchmark.figures import (
    Counted,
    Pays,
    Roof,
    Series,
    Speedup,
    counted,
    pays,
    roofs,
    speedups,
    subject_of,
)
from vjaccel.benchmark.results import BASELINE, Case, Run
from vjaccel.benchmark.words import case_words, deviation, shape
from vjaccel.pages.marks import Mark
from vjaccel.pages.page import Fold, Plot, Section, Table
from vjaccel.pages.plots import Dot, Line, Row, dots_plot, logarithmic, rows_plot
from vjaccel.pages.words import UNKNOWN, percent, rate, ratio, scaled, seconds

__all__ = ["NO_GPU", "has_gpu", "pays_words", "roofline_section", "speedup_section", "throughput_section"]

NO_GPU = "No GPU was measured in this run, so nothing here says from which size on one pays."

BY_TRAFFIC = 4.0
"""Operations a byte below which throughput is given in bytes: nothing that computes so little is bound by arithmetic."""


def has_gpu(run: Run) -> bool:
    """Whether a figure of a GPU counts."""
    return any(c.series.gpu for c in counted(run))


def speedup_section(run: Run, look: dict[Series, Mark]) -> Section:
    """How many times as fast as NumPy, by operation."""
    found = [one for one in speedups(run) if one.series.subject != BASELINE]
    if not found:
        words = [f"There is no case that {BASELINE} and another have both measured, so there is nothing to compare."]
        return Section("speedup", "Speed-up over NumPy", words)
    words = [
        f"How many times as fast as {BASELINE} each one is: the mark is the geometric mean over the cases that both have, the "
        "whisker goes from the worst case to the best. Right of the upright line is faster. A refused figure is in none. "
        "The table counts the cases that are faster and slower by more than the noise.",
    ]
    groups: dict[str, list[Row]] = defaultdict(list)
    for one in found:
        groups[one.operation].append(_speedup_row(one, look[one.series]))
    ratios = [x for one in found for _, x in one.ratios]
    axis = logarithmic(f"times as fast as {BASELINE}", [*ratios, 1.0], ratio)
    plot = rows_plot(
        "Speed-up over NumPy by operation",
        "Marks on rows, one for each subject under each operation; the table has the same figures.",
        list(groups.items()),
        axis,
        line=1.0,
    )
    rows, strong = [], set()
    best = {op: max((o for o in found if o.operation == op), key=lambda o: o.mean) for op in groups}
    for i, one in enumerate(found):
        values = [x for _, x in one.ratios]
        span = f"{ratio(min(values))} … {ratio(max(values))}" if len(values) > 1 else UNKNOWN
        rows.append(
            (
                f"{one.operation}: {one.series.label}",
                ratio(one.mean),
                span,
                f"{one.faster} / {one.slower} / {len(values)}",
            )
        )
        if one is best[one.operation] and one.faster:
            strong.add(i)
    table = Table(
        "Speed-up over NumPy; the fastest beyond the noise is marked",
        ("operation: subject", "mean", "worst … best", "faster / slower / cases"),
        rows,
        frozenset(strong),
    )
    return Section("speedup", "Speed-up over NumPy", words, plots=[plot], tables=[table])


def throughput_section(run: Run, look: dict[Series, Mark]) -> Section:
    """Throughput against size, with the sizes from which a GPU pays."""
    rows = counted(run)
    groups: dict[tuple[str, str | None, str], list[Counted]] = defaultdict(list)
    for c in rows:
        groups[c.case.operation, c.case.metric, c.case.dtype].append(c)
    grown = {key: group for key, group in groups.items() if len({c.case.flops for c in group}) > 1}
    plots = [_throughput_plot(key, group, look) for key, group in grown.items()]
    words = [
        "Work done a second against the size of the call. Lines join cases that differ in rows alone. A filled sign is "
        "a GPU, the line solid with the data on it, dashed with data from the host; a hollow one is a CPU.",
    ]
    if len(grown) < len(groups):
        words.append("What was measured at one size alone is in the table, and in no plot.")
    tables: list[Table | Fold] = []
    if has_gpu(run):
        words.append(
            "A GPU pays from a size on when at that size and at every larger one it beats the fastest CPU figure by more than "
            "the noise."
        )
        tables.append(_pays_table(pays(run)))
    else:
        words.append(NO_GPU)
    tables.append(Fold(_cases_table(run, rows)))
    legend = _legend({c.series for group in grown.values() for c in group}, look)
    return Section("throughput", "Throughput against size", words, legend, plots, tables)


def roofline_section(run: Run, look: dict[Series, Mark]) -> Section:
    """Each kernel as a dot under what its device can do."""
    found = roofs(run)
    if not found:
        return Section("roofline", "Roofline", ["No device's copy bandwidth and matrix product were both measured."])
    words = [
        "The dashed roof is what a device can do at most: to the left as fast as its memory copies, to the right as fast as it "
        "multiplies matrices, both measured here. Each dot is a case with its data already on the device; the further below "
        "the roof, the more is left. A dot above it took less than was counted, as codes of 8 bits or data in a cache do.",
    ]
    plots = []
    shown: set[Series] = set()
    for roof in found:
        mine = _kernels(run, roof)
        if mine:
            plots.append(_roofline_plot(roof, mine, look))
            shown |= {c.series for c in mine}
    table = Table(
        "What each device can do, as measured",
        ("device", "copy bandwidth", "matrix product", "a kernel is bound by memory below"),
        [
            (
                _device(r),
                f"{rate(r.copy, 'B/s')} ({r.copy_by})",
                f"{rate(r.matmul, 'FLOP/s')} ({r.matmul_by})",
                f"{r.matmul / r.copy:.3g} FLOP/B",
            )
            for r in found
        ],
    )
    kernels = Table(
        "Every kernel under its roof",
        ("kernel", "FLOP/B", "reached", "of the roof"),
        [
            (
                f"{c.series.label}: {case_words(c.case)}",
                f"{_intensity(c.case):.3g}",
                rate(_reached(c), "FLOP/s"),
                percent(_reached(c) / r.at(_intensity(c.case))),
            )
            for r in found
            for c in _kernels(run, r)
        ],
    )
    return Section("roofline", "Roofline", words, _legend(shown, look), plots, [table, Fold(kernels)])


def pays_words(one: Pays) -> str:
    """From which size on, in words."""
    if one.start is None:
        return "at none of the sizes measured"
    size = f"{shape(one.start.shape)} ({rate(one.start.flops, 'FLOP')})"
    return f"at every size measured, the smallest {size}" if one.everywhere else f"from {size} on"


def _speedup_row(one: Speedup, mark: Mark) -> Row:
    values = [x for _, x in one.ratios]
    hover = f"{one.operation}: {ratio(one.mean)} over {len(values)} cases\nfrom {ratio(min(values))} to {ratio(max(values))}"
    return Row(one.series.label, one.series.label, mark, one.mean, min(values), max(values), hover)


def _throughput_plot(key: tuple[str, str | None, str], group: Sequence[Counted], look: dict[Series, Mark]) -> Plot:
    operation, metric, dtype = key
    in_bytes = max(_intensity(c.case) for c in group) < BY_TRAFFIC
    unit = "B" if in_bytes else "FLOP"

    def size(c: Counted) -> float:
        return c.case.bytes if in_bytes else c.case.flops

    parts: dict[Series, dict[tuple[tuple[str, int], ...], list[Counted]]] = defaultdict(lambda: defaultdict(list))
    for c in sorted(group, key=size):
        apart_from_rows = tuple((k, v) for k, v in c.case.shape.items() if k != "rows")
        parts[c.series][apart_from_rows].append(c)
    lines = [
        Line(
            series.label,
            look[series],
            [
                [Dot(size(c), size(c) / c.timing.median, _case_hover(c, unit, size(c))) for c in part]
                for part in own.values()
            ],
        )
        for series, own in parts.items()
    ]
    title = " ".join(filter(None, (operation, metric, dtype)))
    x = logarithmic(
        "memory traffic of a call, B" if in_bytes else "work of a call, FLOP", [size(c) for c in group], scaled
    )
    y = logarithmic(f"{unit}/s", [size(c) / c.timing.median for c in group], scaled)
    return dots_plot(title, f"Throughput of {title} against size; the table below has the same figures.", lines, x, y)


def _case_hover(c: Counted, unit: str, size: float) -> str:
    return f"{shape(c.case.shape)}\n{rate(size / c.timing.median, f'{unit}/s')}, {seconds(c.timing.median)}"


def _pays_table(found: Sequence[Pays]) -> Table:
    rows = [
        (
            " ".join(filter(None, (p.operation, p.metric, p.dtype))),
            p.series.label,
            pays_words(p),
            ratio(p.most),
        )
        for p in found
    ]
    return Table("From which size on a GPU pays", ("operation", "GPU", "pays", "at the most, over the CPU"), rows)


def _cases_table(run: Run, rows: Sequence[Counted]) -> Table:
    """Every figure that counts, beside its spread and its error."""
    base = {c.case.id: c.timing.median for c in rows if c.series.subject == BASELINE}
    ordered = sorted(rows, key=lambda c: [x.id for x in run.cases].index(c.case.id))
    body = [
        (
            f"{case_words(c.case)}: {c.series.label}",
            seconds(c.timing.median),
            percent(c.timing.spread),
            str(c.timing.rounds),
            ratio(base[c.case.id] / c.timing.median) if c.case.id in base else UNKNOWN,
            rate(c.case.flops / c.timing.median, "FLOP/s"),
            rate(c.case.bytes / c.timing.median, "B/s"),
            deviation(c.error),
        )
        for c in ordered
    ]
    head = ("case: subject", "median", "spread", "rounds", "speed-up", "FLOP/s", "B/s", "deviation from float64")
    return Table("Every figure that counts", head, body)


def _roofline_plot(roof: Roof, mine: Sequence[Counted], look: dict[Series, Mark]) -> Plot:
    dots: dict[Series, list[Dot]] = defaultdict(list)
    for c in mine:
        reached = _reached(c)
        share = reached / roof.at(_intensity(c.case))
        dots[c.series].append(
            Dot(
                _intensity(c.case),
                reached,
                f"{case_words(c.case)}\n{rate(reached, 'FLOP/s')}, {percent(share)} of the roof",
            )
        )
    ridge = roof.matmul / roof.copy
    left = min(*(_intensity(c.case) for c in mine), ridge / 4)
    right = max(*(_intensity(c.case) for c in mine), ridge * 4)
    ends = [(left / 2, roof.copy * left / 2), (ridge, roof.matmul), (right * 2, roof.matmul)]
    values = [d.y for own in dots.values() for d in own]
    return dots_plot(
        _device(roof),
        f"Kernels under the roofline of {_device(roof)}; the table below has the same figures.",
        [Line(s.label, look[s], [own], joined=False) for s, own in dots.items()],
        logarithmic("FLOP a byte", [left, right], lambda x: f"{x:g}"),
        logarithmic("FLOP/s", [*values, roof.matmul], scaled),
        roof=ends,
        height=400,
    )


def _kernels(run: Run, roof: Roof) -> list[Counted]:
    """The figures on that device with their data in place."""
    found = []
    for c in counted(run):
        subject = subject_of(run, c.series.subject)
        here = (subject.device, subject.hardware) == (roof.device, roof.hardware)
        if here and (c.series.origin == "device" or not c.series.gpu) and c.case.bytes > 0 and c.case.flops > 0:
            found.append(c)
    return found


def _reached(c: Counted) -> float:
    return c.case.flops / c.timing.median


def _legend(shown: set[Series], look: dict[Series, Mark]) -> list[tuple[str, Mark]]:
    return [(series.label, mark) for series, mark in look.items() if series in shown]


def _device(roof: Roof) -> str:
    return f"{roof.device} ({roof.hardware})" if roof.hardware else roof.device


def _intensity(case: Case) -> float:
    return case.flops / case.bytes if case.bytes else 0.0
