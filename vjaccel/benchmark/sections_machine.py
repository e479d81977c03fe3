"""The report's sections around the figures: what was refused, what is paid once, the noise, the machine."""

from __future__ import annotations

from vjaccel.benchmark.figures import Series, costs, counted, geometric_mean
from vjaccel.benchmark.results import Run
from vjaccel.benchmark.words import case_words
from vjaccel.pages.marks import Mark, colour
from vjaccel.pages.page import Fold, Section, Table
from vjaccel.pages.plots import Dot, Line, Part, Row, Strip, dots_plot, linear, logarithmic, rows_plot
from vjaccel.pages.words import UNKNOWN, percent, rate, seconds

__all__ = ["costs_section", "machine_section", "machine_table", "noise_section", "refused_section", "refused_table"]

LEAST_SPREAD = 1e-4
"""Where a spread of nothing is drawn, on a logarithmic axis."""


def refused_section(run: Run) -> Section:
    """What does not count, each with its reason."""
    refused = [x for x in (_subjects_table(run), refused_table(run)) if x.rows]
    words = (
        "What was refused stands in no plot and in no mean: its answer was wrong, or work was skipped. The other figures of "
        "the same subject count, as each answer was checked by itself; so does what a subject had measured before it failed."
        if refused
        else "Nothing was refused: every answer was within its tolerance of float64, and every subject came to its end."
    )
    tables = [*refused, *(x for x in (_unmeasured_table(run),) if x.rows)]
    return Section("refused", "Refused, and what failed", [words, *run.notes], tables=tables)


def refused_table(run: Run) -> Table:
    """Every refused figure."""
    cases = {c.id: c for c in run.cases}
    rows: list[tuple[str, str, str, str]] = [
        (m.subject, case_words(cases[m.case]), m.origin, m.refused) for m in run.measurements if m.refused is not None
    ]
    rows += [
        (e.subject, f"embedding {e.model} {e.dtype}, {e.batch} {e.unit}", UNKNOWN, e.refused)
        for e in run.embedding
        if e.refused is not None
    ]
    return Table("Refused figures", ("subject", "case", "data from", "reason"), rows)


def costs_section(run: Run) -> Section:
    """What is paid once, or for the way to the device."""
    kinds = (
        ("import and first use", Mark(colour(0), "circle", True)),
        ("first call of a shape, less a warm one", Mark(colour(1), "square", True)),
        ("data from the host, more than on the device", Mark(colour(2), "diamond", True)),
    )
    groups, values, rows = [], [], []
    for cost in costs(run):
        start = [cost.subject.start_s] if cost.subject.start_s is not None and cost.subject.start_s > 0 else []
        own: list[Row] = []
        for (kind, mark), times in zip(kinds, (start, cost.compile, cost.transfer), strict=True):
            real = [x for x in times if x > 0]  # the difference of two figures that are alike may fall below zero
            if real:
                mean = geometric_mean(real)
                hover = f"{cost.subject.name}\n{seconds(mean)}, from {seconds(min(real))} to {seconds(max(real))}"
                own.append(Row("" if own else cost.subject.name, kind, mark, mean, min(real), max(real), hover))
                values += [min(real), max(real)]
        if own:
            groups.append(("", own))
        rows.append((cost.subject.name, seconds(cost.subject.start_s), _range(cost.compile), _range(cost.transfer),
                     rate(cost.subject.upload_bytes_per_s, "B/s")))  # fmt: skip
    head = (
        "subject",
        "import and first use",
        "first call, less a warm one",
        "from host, more than on device",
        "upload",
    )
    table = Table("First calls and transfers", head, rows)
    words = [
        "What is not in the other figures: the time until a library can be used, what the first call of each shape takes more "
        "than a warm one (compilation included), and what a call takes more when its data comes from the host. The mark is the "
        "geometric mean over the cases, the whisker goes from the least to the most.",
    ]
    if not values:
        return Section("costs", "First calls and transfers", words, tables=[table])
    says = "Marks on rows, up to three for each subject; the table has the same figures."
    plot = rows_plot("Paid once, or on the way", says, groups, logarithmic("time", values, seconds))
    return Section("costs", "First calls and transfers", words, kinds, [plot], [table])


def noise_section(run: Run, look: dict[Series, Mark]) -> Section:
    """How far the figures can be trusted."""
    clock = run.machine.clock
    words = [
        f"The same piece of work, taken {len(clock)} times through the run, varied by {percent(run.machine.clock_spread)}, "
        "(p90 - p10) / median: a difference smaller than that may be the machine's clock, and not the code. A figure's spread "
        "is the range of its own rounds (from the 10th to the 90th percentile, of fewer than ten all of them) as a share of "
        "their median.",
    ]
    plots = []
    if len(clock) > 1:
        middle = sorted(clock)[len(clock) // 2]
        away = [x / middle - 1 for x in clock]
        low, high = min(-0.01, *away), max(0.01, *away)
        dots = [Dot(i + 1, x, f"sample {i + 1}: {seconds(clock[i])}") for i, x in enumerate(away)]
        plots.append(
            dots_plot(
                "The clock through the run",
                f"The time of the same work, {len(clock)} times; its spread is {percent(run.machine.clock_spread)}.",
                [Line("clock", Mark(colour(-1), "circle", True), [dots])],
                linear("sample", 1, len(clock), lambda x: f"{x:.0f}"),
                linear("slower than the middle", low, high, lambda x: f"{x * 100:+.3g} %"),
                height=260,
            )
        )
    strips, rows = [], []
    for series in look:
        own = [c for c in counted(run) if c.series == series]
        spread = [(c.timing.spread, case_words(c.case)) for c in own if c.timing.spread is not None]
        if spread:
            sizes = sorted(x for x, _ in spread)
            hovers = [f"{case}\nspread {percent(x)}" for x, case in spread]
            strips.append(
                Strip(
                    series.label, [Part(series.label, look[series], [max(x, LEAST_SPREAD) for x, _ in spread], hovers)]
                )
            )
            rows.append((series.label, percent(sizes[len(sizes) // 2]), percent(sizes[-1]), str(len(sizes))))
    if strips:
        values = [x for s in strips for x in s.parts[0].values]
        clock_line = max(run.machine.clock_spread, LEAST_SPREAD)
        axis = logarithmic("spread of a figure's rounds", [*values, clock_line], percent)
        says = "One mark for each figure, by its spread; the upright line is the clock's. The table has the figures."
        plots.append(rows_plot("Spread of every figure", says, [("", strips)], axis, line=clock_line))
    table = Table("Spread of the figures", ("subject", "in the middle", "at the most", "figures"), rows)
    return Section("noise", "Noise", words, plots=plots, tables=[table] if rows else [])


def machine_section(run: Run) -> Section:
    """The machine, the versions, and how to do it again."""
    points = [
        f"Measure it again: {run.command}",
        "Keep the figures: add --json to it. Put two machines side by side: vjaccel bench --compare A.json B.json",
    ]
    subjects = Table(
        "What was measured",
        ("subject", "kind", "device", "hardware", "copy", "matrix product", "state"),
        [
            (s.name, s.kind, s.device, s.hardware or UNKNOWN, rate(s.copy_bytes_per_s, "B/s"),
             rate(s.matmul_flops_per_s, "FLOP/s"), s.state)
            for s in run.subjects
        ],
    )  # fmt: skip
    tables: list[Table | Fold] = [machine_table([("as found", run)]), subjects, _versions_table(run)]
    return Section("machine", "Machine, versions, and how to repeat it", tables=tables, points=points)


def machine_table(runs: list[tuple[str, Run]]) -> Table:
    """Machines beside each other, under their names."""
    rows = [
        ("processor", *(r.machine.cpu for _, r in runs)),
        ("cores", *(_cores(r) for _, r in runs)),
        ("memory", *(f"{r.machine.memory_bytes / 2**30:.1f} GiB" for _, r in runs)),
        ("devices", *(", ".join(dict.fromkeys(_device(s.device, s.hardware) for s in r.subjects)) for _, r in runs)),
        ("system", *(r.machine.system for _, r in runs)),
        ("Python", *(r.machine.python for _, r in runs)),
        ("vjaccel", *(r.vjaccel for _, r in runs)),
        ("started", *(r.started for _, r in runs)),
        ("took", *(f"{r.seconds:.0f} s" for _, r in runs)),
        ("stopped early by", *(r.stopped_by or "nothing" for _, r in runs)),
        ("clock spread", *(percent(r.machine.clock_spread) for _, r in runs)),
        ("command", *(r.command for _, r in runs)),
    ]
    return Table("Machine" if len(runs) == 1 else "Machines", ("what", *(name for name, _ in runs)), rows)


def _subjects_table(run: Run) -> Table:
    rows = [(s.name, s.state, s.reason or UNKNOWN) for s in run.subjects if s.state != "ok"]
    return Table("Subjects that failed, or gave a wrong answer", ("subject", "state", "reason"), rows)


def _unmeasured_table(run: Run) -> Table:
    cases = {c.id: case_words(c) for c in run.cases}
    rows = [(x.subject, cases.get(x.case, x.case), x.reason) for x in run.unmeasured]
    return Table("Not measured", ("subject", "case", "reason"), rows)


def _versions_table(run: Run) -> Table:
    return Table("Versions", ("package", "version"), sorted(run.versions.items()))


def _range(values: tuple[float, ...]) -> str:
    if not values:
        return UNKNOWN
    if max(values) <= 0:
        return "nothing that could be told"
    return f"{seconds(min(values))} … {seconds(max(values))}" if min(values) > 0 else f"up to {seconds(max(values))}"


def _cores(run: Run) -> str:
    physical = run.machine.physical_cores
    return str(run.machine.cores) if physical is None else f"{run.machine.cores} ({physical} physical)"


def _device(device: str, hardware: str | None) -> str:
    return f"{device} ({hardware})" if hardware else device
