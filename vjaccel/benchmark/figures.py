"""What follows from a run: medians and their ranges, speed-ups, where a GPU pays, roofs, costs. Numbers only, nothing drawn.

A figure that was refused is in none of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from vjaccel.benchmark.results import BASELINE, Case, Run, Subject

__all__ = [
    "Cost",
    "Counted",
    "Pays",
    "Roof",
    "Series",
    "Speedup",
    "Timing",
    "apart",
    "costs",
    "counted",
    "fastest",
    "geometric_mean",
    "is_gpu",
    "pays",
    "roofs",
    "speedups",
    "subject_of",
    "timing",
]


class Timing(NamedTuple):
    """The rounds of one figure: their median, and their range from `low` to `high`."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float | None:
        """The range as a share of the median; unknown for a single round."""
        return (self.high - self.low) / self.median if self.rounds > 1 else None


class Series(NamedTuple):
    """A subject with its data at one place."""

    subject: str
    origin: str
    gpu: bool

    @property
    def label(self) -> str:
        return f"{self.subject}, from host" if self.gpu and self.origin == "host" else self.subject


class Counted(NamedTuple):
    """A measurement that counts."""

    series: Series
    case: Case
    timing: Timing
    first: float | None
    error: float | None


class Speedup(NamedTuple):
    """How many times as fast as the baseline, case by case; `faster` and `slower` are cases, by more than the noise."""

    operation: str
    series: Series
    ratios: tuple[tuple[Case, float], ...]
    faster: int
    slower: int

    @property
    def mean(self) -> float:
        return geometric_mean([x for _, x in self.ratios])


class Pays(NamedTuple):
    """Whether a GPU pays: `start` is the smallest case from which on it beat the fastest CPU figure beyond the noise."""

    operation: str
    metric: str | None
    dtype: str
    series: Series
    start: Case | None
    everywhere: bool
    most: float
    compared: int


class Roof(NamedTuple):
    """What a device can do at most, as measured: by the best of its subjects."""

    device: str
    hardware: str | None
    copy: float
    copy_by: str
    matmul: float
    matmul_by: str

    def at(self, intensity: float) -> float:
        """The most operations a second at `intensity` operations a byte."""
        return min(self.matmul, self.copy * intensity)


class Cost(NamedTuple):
    """What a subject takes besides the warm call; compile and transfer are by case, in seconds."""

    subject: Subject
    compile: tuple[float, ...]
    transfer: tuple[float, ...]


def timing(seconds: Sequence[float]) -> Timing:
    """The median and the range of `seconds`: the 10th to the 90th percentile, of fewer than ten rounds all of them."""
    ordered = sorted(seconds)
    out = 0.1 if len(ordered) >= 10 else 0.0
    return Timing(median(ordered), _percentile(ordered, out), _percentile(ordered, 1 - out), len(ordered))


def apart(a: Timing, b: Timing, clock_a: float, clock_b: float) -> bool:
    """Whether two figures differ by more than the noise.

    Their ranges, each widened to both sides by half of its machine's clock spread, do not meet. A single round has no range,
    so it is never told apart.
    """
    if min(a.rounds, b.rounds) < 2:
        return False
    return a.high * (1 + clock_a / 2) < b.low * (1 - clock_b / 2) or b.high * (1 + clock_b / 2) < a.low * (
        1 - clock_a / 2
    )


def is_gpu(device: str) -> bool:
    """Whether `device` is anything but a CPU."""
    return not device.startswith("cpu")


def subject_of(run: Run, name: str) -> Subject:
    """The subject of that name."""
    return next(s for s in run.subjects if s.name == name)


def counted(run: Run) -> list[Counted]:
    """The measurements that count: not refused, and with at least one warm round; each answer was checked by itself."""
    subjects = {s.name: s for s in run.subjects}
    cases = {c.id: c for c in run.cases}
    found = []
    for m in run.measurements:
        subject = subjects[m.subject]
        if m.refused is None and m.seconds:
            series = Series(m.subject, m.origin, is_gpu(subject.device))
            found.append(Counted(series, cases[m.case], timing(m.seconds), m.first_s, m.error))
    return found


def speedups(run: Run) -> list[Speedup]:
    """By operation and series, over the cases that the baseline has too; operations and series in the run's order."""
    rows = counted(run)
    base = {c.case.id: c.timing for c in rows if c.series.subject == BASELINE}
    groups: dict[tuple[str, Series], list[Counted]] = defaultdict(list)
    for c in rows:
        if c.case.id in base:
            groups[c.case.operation, c.series].append(c)
    operations = list(dict.fromkeys(c.operation for c in run.cases))
    order = {s.name: i for i, s in enumerate(run.subjects)}
    keys = sorted(groups, key=lambda k: (operations.index(k[0]), order[k[1].subject], k[1].origin))
    found = []
    for operation, series in keys:
        ratios = tuple((c.case, base[c.case.id].median / c.timing.median) for c in groups[operation, series])
        noise = run.machine.clock_spread
        beyond = [apart(c.timing, base[c.case.id], noise, noise) for c in groups[operation, series]]
        faster = sum(b and x > 1 for b, (_, x) in zip(beyond, ratios, strict=True))
        found.append(Speedup(operation, series, ratios, faster, sum(beyond) - faster))
    return found


def fastest(rows: Iterable[Counted]) -> dict[str, Counted]:
    """By case, the figure with the shortest median."""
    best: dict[str, Counted] = {}
    for c in rows:
        if c.case.id not in best or c.timing.median < best[c.case.id].timing.median:
            best[c.case.id] = c
    return best


def pays(run: Run) -> list[Pays]:
    """Where each GPU series pays, by operation, metric and dtype; against the fastest CPU figure of each case."""
    rows = counted(run)
    cpu = fastest(c for c in rows if not c.series.gpu)
    groups: dict[tuple[str, str | None, str, Series], list[Counted]] = defaultdict(list)
    for c in rows:
        if c.series.gpu and c.case.id in cpu:
            groups[c.case.operation, c.case.metric, c.case.dtype, c.series].append(c)
    found = []
    for (operation, metric, dtype, series), group in groups.items():
        start, wins = None, 0
        for c in sorted(group, key=lambda c: -c.case.flops):
            other = cpu[c.case.id].timing
            if c.timing.median > other.median or not apart(
                c.timing, other, run.machine.clock_spread, run.machine.clock_spread
            ):
                break
            start, wins = c.case, wins + 1
        most = max(cpu[c.case.id].timing.median / c.timing.median for c in group)
        found.append(Pays(operation, metric, dtype, series, start, wins == len(group), most, len(group)))
    return found


def roofs(run: Run) -> list[Roof]:
    """One for each device on which both the copy and the matrix product were measured."""
    devices: dict[tuple[str, str | None], list[Subject]] = defaultdict(list)
    for s in run.subjects:
        devices[s.device, s.hardware].append(s)
    found = []
    for (device, hardware), subjects in devices.items():
        copy = max(((s.copy_bytes_per_s, s.name) for s in subjects if s.copy_bytes_per_s), default=None)
        matmul = max(((s.matmul_flops_per_s, s.name) for s in subjects if s.matmul_flops_per_s), default=None)
        if copy and matmul:
            found.append(Roof(device, hardware, *copy, *matmul))
    return found


def costs(run: Run) -> list[Cost]:
    """By subject: the first call less the warm median, and the call from the host less that with the data on the device."""
    rows: dict[str, list[Counted]] = defaultdict(list)
    for c in counted(run):
        rows[c.series.subject].append(c)
    found = []
    for subject in run.subjects:
        mine = rows[subject.name]
        in_place = {c.case.id: c.timing.median for c in mine if c.series.origin == "device"}
        first: dict[str, float] = {}
        for c in mine:  # the place that was called first carries the compilation: of the two, the longer first call
            if c.first is not None:
                first[c.case.id] = max(first.get(c.case.id, -math.inf), c.first - c.timing.median)
        transfer = [
            c.timing.median - in_place[c.case.id] for c in mine if c.series.origin == "host" and c.case.id in in_place
        ]
        found.append(Cost(subject, tuple(first.values()), tuple(transfer)))
    return found


def geometric_mean(values: Sequence[float]) -> float:
    """Of values above zero."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
