"""The pieces of work that are handed round: what to ask of a subject, and what to make of its answer."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from vjaccel.benchmark import data
from vjaccel.benchmark.results import Case, Measurement, Recall
from vjaccel.benchmark.subjects import Member
from vjaccel.benchmark.truth import Truth, Verdict, recall, truth, verdict

__all__ = ["CaseTask", "Series", "Task", "Truths"]

CALLS = 6
"""At most so many in one turn, the first of them cold."""

LONG = 0.25
"""Seconds of a call from which it is not called once more to warm up: what a cold cache costs does not show in those."""

QUICK_FETCH, SLOW_FETCH = 0.002, 5e8
"""Seconds, and bytes a second, that bring a result to the host on any bus, into memory that is new; what takes longer than
that, and three times as long as the call itself, does more than that."""


@dataclass
class Series:
    """What is known so far of a subject at a task."""

    first_s: float | None = None
    seconds: list[float] = field(default_factory=list)
    error: float | None = None
    refused: str | None = None
    recalls: list[float] = field(default_factory=list)
    tokens: int = 0
    unmeasured: str | None = None
    """Why there is nothing, and will be nothing."""

    @property
    def ended(self) -> bool:
        """Whether asking again is no use."""
        return self.refused is not None or self.unmeasured is not None

    def judged(self, found: Verdict) -> None:
        """Take in how a result compares with float64; one that is wrong is enough."""
        if found.error is not None:
            self.error = max(self.error or 0.0, found.error)
        self.refused = self.refused or found.refused


class Task(Protocol):
    """A piece of work, the same for all subjects."""

    name: str

    def rest(self) -> None:
        """Let go of what was kept for the turn: another task comes."""
        ...

    def fits(self, member: Member) -> str | None:
        """Why that subject does not do it; None where it does, "" where nobody would expect it to."""
        ...

    def origins(self, member: Member) -> tuple[str, ...]:
        """Where the data is: a measurement each."""
        ...

    def request(self, member: Member, origin: str, turn: int, series: Series) -> dict[str, Any]:
        """What the worker is asked."""
        ...

    def take(self, member: Member, origin: str, turn: int, answer: dict[str, Any], series: Series) -> None:
        """Take the answer in, once it has been compared with float64."""
        ...


class Truths:
    """The float64 answers of a case, for the blocks of the turn that is going on: made once for all subjects."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self._folder = folder
        self._turn = -1
        self._draw = 0
        self._known: dict[int, Truth] = {}

    def draw(self, turn: int) -> int:
        """By what the rows of a result that are checked are drawn in a turn: nobody could know it before."""
        if turn != self._turn:
            self._turn, self._draw, self._known = turn, secrets.randbits(32), {}
        return self._draw

    def forget(self) -> None:
        """Let go of the answers: large cases have large ones."""
        self._known = {}

    def of(self, number: int) -> Truth:
        """The answer to the block of that number, for the rows that are drawn in this turn."""
        if number not in self._known:
            rows = data.base(self._folder, self.case, copied=False)
            given = data.block(self.case, rows, number)
            self._known[number] = truth(self.case, rows, given, data.places(self.case, self._draw))
        return self._known[number]


class CaseTask:
    """An operation on a shape; or, with `how`, one way to search its codes."""

    def __init__(self, truths: Truths, folder: Path, how: str | None = None) -> None:
        self.case = truths.case
        self.how = how
        self.name = self.case.id if how is None else f"{self.case.id}, {how}"
        self._truths = truths
        self._folder = folder

    def rest(self) -> None:
        self._truths.forget()

    def fits(self, member: Member) -> str | None:
        if member.wanted.embeds_only:
            return ""
        if self.case.dtype not in member.dtypes:
            return f"it has no {self.case.dtype}"
        if self.how is not None and not member.quantizes:
            return "" if member.wanted.kind == "peer" else "it does not quantize"
        return None

    def origins(self, member: Member) -> tuple[str, ...]:
        return member.origins if self.how is None else member.origins[:1]

    def request(self, member: Member, origin: str, turn: int, series: Series) -> dict[str, Any]:
        case = {name: getattr(self.case, name) for name in self.case.__dataclass_fields__}
        return {
            "do": "measure", "case": case, "how": self.how, "origin": origin, "blocks": self._blocks(origin, turn),
            "cold": 0 if series.seconds and median(series.seconds) > LONG else 1, "draw": self._truths.draw(turn),
            "folder": str(self._folder), "file": "result.npz",
        }  # fmt: skip

    def take(self, member: Member, origin: str, turn: int, answer: dict[str, Any], series: Series) -> None:
        if series.first_s is None and answer["cold"]:
            series.first_s = answer["cold"][0]
        blocks = self._blocks(origin, turn)
        for number, found in zip(blocks, self._results(), strict=False):
            self._judge(member, [blocks[0] % (2 * CALLS), *range(blocks[0], number)], number, found, series)
        series.seconds += answer["seconds"]
        if origin == "device" and series.refused is None:
            series.refused = _late(answer)

    def measurement(self, member: Member, origin: str, series: Series) -> Measurement:
        """What is kept of a series."""
        return Measurement(
            member.name, self.case.id, "device" if origin == "device" else "host", series.first_s,
            tuple(series.seconds), series.error, series.refused,
        )  # fmt: skip

    def recall(self, member: Member, series: Series) -> Recall:
        """What is kept of a search over codes."""
        shape = self.case.shape
        found = float(np.mean(series.recalls))
        return Recall(
            member.name, self.how or "", shape["rows"], shape["dim"], found, tuple(series.seconds), shape["queries"]
        )

    def _blocks(self, origin: str, turn: int) -> list[int]:
        """Of the calls of a turn; those of one origin are no others' either."""
        start = (2 * turn + (origin == "device")) * CALLS
        return list(range(start, start + CALLS))

    def _results(self) -> list[dict[str, np.ndarray]]:
        path = self._folder / "result.npz"
        found: dict[int, dict[str, np.ndarray]] = {}
        with np.load(path) as file:
            for name in file.files:
                call, _, part = name.partition("-")
                found.setdefault(int(call), {})[part] = file[name]
        path.unlink()
        return [found[call] for call in sorted(found)]

    def _judge(
        self, member: Member, earlier: list[int], number: int, found: dict[str, np.ndarray], series: Series
    ) -> None:
        expected = self._truths.of(number)
        if self.how is not None and self.how != "exact":
            series.recalls.append(recall(expected, found["ids"]))
            return
        exact = member.wanted.kind == "backend"
        judged = verdict(self.case, expected, found, exact=exact)
        if judged.refused is not None and self._is_earlier(earlier, number, found, exact):
            judged = Verdict(None, "it gave its answer to other data once more: work was skipped")
        series.judged(judged)
        if self.how is not None:
            series.recalls.append(recall(expected, found["ids"]))

    def _is_earlier(self, earlier: list[int], number: int, found: dict[str, np.ndarray], exact: bool) -> bool:
        """Whether a wrong result is the right one of an earlier call: the first of all, or one of this turn."""
        others = [self._truths.of(other) for other in dict.fromkeys(earlier) if other != number]
        return any(verdict(self.case, other, found, exact=exact).refused is None for other in others)


def _late(answer: dict[str, Any]) -> str | None:
    """Whether the work was done when the result was fetched, and not when it was waited for."""
    fetch = min(answer["fetched"])
    if fetch > QUICK_FETCH + answer["bytes"] / SLOW_FETCH and fetch > 3 * max(answer["seconds"]):
        return "its result was computed when it was fetched, after the time was taken: work was put off"
    return None
