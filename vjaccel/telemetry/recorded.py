"""What a run was like: how fast when, with which batches, what failed and why. It takes no more room for an endless run."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self
from uuid import uuid4

import numpy as np

from vjaccel.telemetry.batches import Batches, OfBudget, Try
from vjaccel.telemetry.devices import Devices, OfDevice
from vjaccel.telemetry.failures import Example, Failures
from vjaccel.telemetry.latencies import Latencies
from vjaccel.telemetry.timeline import Timeline

__all__ = ["RUN", "Call", "Recorded", "Stages"]

CALLS = 50
"""Calls of one run, each after the one before was stopped, that are told of."""

ADDED = ("_tokens", "_truncated", "_tokens_lost", "_unrecorded", "_hits", "_misses", "_failed_batches")
"""What is the sum of what the parts of a run have."""

RUN: ContextVar[str | None] = ContextVar("vjaccel_run", default=None)
"""The id that runs are to have, where whoever begins them says so: that of a command, which its log has in each line."""


class Stages(NamedTuple):
    """How many texts have come through each stage so far, and what is at work.

    Attributes
    ----------
    read, prepared, settled : int
        Texts that were read; that were looked up and tokenised; that have a vector or an error.
    at_work, workers : int
        Batches that are being embedded, and how many may be.
    budget : int or None
        Of the last batch, in tokens.
    """

    read: int
    prepared: int
    settled: int
    at_work: int
    workers: int
    budget: int | None


class Call(NamedTuple):
    """A call of a run, each but the first on what those before had done.

    Attributes
    ----------
    at : float
        Seconds of the run's own time at which it began.
    when : str
        What the clock said then.
    what : str
        ``began``; ``went on`` where the run had been stopped; ``again`` where it had ended, and tries texts that failed.
    """

    at: float
    when: str
    what: Literal["began", "went on", "again"] = "began"


class Recorded:
    """What is known of a run, for whoever wants to know; kept, joined and told apart.

    Parameters
    ----------
    model : str
        ``provider:name``.
    workers : int
        Batches at once, at most.
    total : int or None
        Texts in all, where that is known.
    clock : callable
        Seconds.

    Attributes
    ----------
    started : datetime
        In UTC.
    latencies : Latencies
        Of batches.
    timeline : Timeline
        As it is when it is asked for.
    lengths : dict of int to ndarray, shape (3,)
        By the smallest power of two that is no shorter than a text: how many texts, their tokens, and the padding beside them.
    """

    def __init__(
        self, model: str, workers: int, total: int | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.model = model
        self._id = RUN.get()
        self.started = datetime.now(UTC)
        self._timeline = Timeline()
        self.latencies = Latencies()
        self._batches = Batches()
        self._devices = Devices()
        self._failures = Failures()
        self._workers = workers
        self._total, self._settled_before = total, 0
        self._clock = clock
        self._began = clock()
        self._ended: float | None = None
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._next: Literal["went on", "again"] = "went on"
        self._stopped_by: str | None = None
        self._outcomes: Counter[str] = Counter()
        self._read = self._prepared = self._at_work = 0
        self._budget: int | None = None
        self._cpu_seconds = 0.0
        self._moved = self._began
        self._device_bytes: int | None = None
        self._tokens, self._told = 0, True
        self._truncated, self._tokens_lost, self._cuts_known = 0, 0, True
        self._cut_short, self._unrecorded = False, 0
        self._hits = self._misses = self._failed_batches = 0

    @classmethod
    def empty(cls, model: str, workers: int = 1) -> Self:
        """Of a run that was stopped before anything came of it."""
        made = cls(model, workers)
        made._ended = 0.0
        return made

    @classmethod
    def unknown(cls, model: str) -> Self:
        """Of a run of which nothing was kept."""
        made = cls.empty(model)
        made._cut_short = True
        return made

    @property
    def id(self) -> str:
        """Of the run, as the log has it; made when it is first asked for, which takes longer than to record a small batch."""
        if self._id is None:
            self._id = uuid4().hex[:12]
        return self._id

    @property
    def seconds(self) -> float:
        """Since the run began, or what it took."""
        return self._clock() - self._began if self._ended is None else self._ended

    @property
    def timeline(self) -> Timeline:
        # A copy: who reads several of its values has them of one moment.
        with self._lock:
            return self._timeline.copy()

    @property
    def lengths(self) -> dict[int, np.ndarray]:
        with self._lock:
            return self._batches.lengths()

    @property
    def stages(self) -> Stages:
        """How far each stage is now."""
        with self._lock:
            settled = self._outcomes.total()
            return Stages(self._read, self._prepared, settled, self._at_work, self._workers, self._budget)

    @property
    def rows(self) -> tuple[int, int] | None:
        """How many rows the whole run has, and how many of them are settled; None where nobody knows."""
        with self._lock:
            return None if self._total is None else (self._total, self._settled_before + self._outcomes.total())

    @property
    def idle(self) -> float:
        """Seconds since anything came of what was read; 0 where it is all settled, and the run waits for more, or is over."""
        if self.is_over or self._read == self._outcomes.total():
            return 0.0
        return max(0.0, self._clock() - self._moved)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self._ended is not None

    @property
    def device_bytes(self) -> int | None:
        """What the model's device held when it was last asked; None on a CPU."""
        return self._device_bytes

    @property
    def outcomes(self) -> dict[str, int]:
        """Texts that are ``embedded``, ``cached``, ``duplicate`` or ``failed``."""
        with self._lock:
            return {name: self._outcomes[name] for name in ("embedded", "cached", "duplicate", "failed")}

    @property
    def complete(self) -> bool:
        """Whether all of the run is in it; otherwise it was killed, and time and tokens are at least those that were kept."""
        return not self._cut_short

    @property
    def unrecorded(self) -> int:
        """Texts that have their vector, and of which nothing else was kept as the run was killed."""
        return self._unrecorded

    @property
    def tokens(self) -> int | None:
        """Of the texts that were embedded; None where they are not counted, or the run was killed: see `tokens_at_least`."""
        return self.tokens_at_least if self.complete else None

    @property
    def tokens_at_least(self) -> int | None:
        """Of those whose tokens were kept; None where they are not counted."""
        return self._tokens if self._told else None

    @property
    def truncated(self) -> tuple[int, int] | None:
        """Texts that were too long, and the tokens that they have lost; None where nobody knows."""
        return self.truncated_at_least if self.complete else None

    @property
    def truncated_at_least(self) -> tuple[int, int] | None:
        """The same of those of which it was kept."""
        return (self._truncated, self._tokens_lost) if self._cuts_known else None

    @property
    def lookups(self) -> tuple[int, int]:
        """Texts whose vector was in the cache, and those whose was not."""
        return self._hits, self._misses

    @property
    def failures(self) -> dict[str, tuple[int, list[Example]]]:
        """By the errors' code how many texts, and some of them."""
        with self._lock:
            return self._failures.found()

    @property
    def budgets(self) -> dict[int, OfBudget]:
        """By the budget for which they were cut, in tokens, or in what a provider counts instead: what batches were like."""
        with self._lock:
            return self._batches.budgets()

    @property
    def tries(self) -> list[Try]:
        """Of batches, evenly many over the run, what each was like."""
        with self._lock:
            return self._batches.tries()

    @property
    def devices(self) -> dict[str, OfDevice]:
        """Of a model on several devices: what each did; empty where it is on one."""
        with self._lock:
            return self._devices.found(self.seconds)

    @property
    def calls(self) -> list[Call]:
        """When the run was begun, and gone on with."""
        return self._calls or [Call(0.0, self.started.isoformat(timespec="seconds"))]

    @property
    def stopped_by(self) -> str | None:
        """Why it did not come to its end; None where it did, was killed, or goes on."""
        return self._stopped_by

    def next_tries_again(self) -> None:
        """What follows is not the rest of it: the texts that failed are tried again."""
        self._next = "again"

    def followed_by(self, other: Self) -> Self:
        """A run that was stopped, and what went on with it, as one."""
        both = type(self)(other.model, other._workers)
        both._id, both.started, both._budget = other.id, self.started, other._budget
        both._at_work = other._at_work
        with other._lock:
            offset = self._timeline.seconds
            both._timeline = self._timeline.followed_by(other._timeline)
            both.latencies = self.latencies + other.latencies
            both._ended = offset + other.seconds
            first, *rest = (call._replace(at=offset + call.at) for call in other.calls)
            both._calls = [*self.calls, first._replace(what=self._next), *rest][-CALLS:]
            both._stopped_by = other._stopped_by
            both._outcomes = self._outcomes + other._outcomes
            for name in ("_read", "_prepared"):
                setattr(both, name, getattr(self, name) + getattr(other, name))
            for one, at in ((self, 0.0), (other, offset)):
                both._take_in(one, at)
            both._cut_short = both._cut_short or other._ended is None
        return both

    def since(self, before: Self | None) -> Self:
        """What is added to it since it was as `before`, for one that has that already; all of it where that is None."""
        if before is None:
            return self
        made = type(self)(self.model, self._workers)
        made.started, made._ended, made._budget = self.started, self.seconds, self._budget
        made._timeline = self._timeline.since(before._timeline)
        made.latencies = self.latencies.since(before.latencies)
        made._batches, made._failures = self._batches.since(before._batches), self._failures.since(before._failures)
        earlier = before.devices
        made._devices.take_in(
            {name: one.without_that_of(earlier.get(name, OfDevice())) for name, one in self.devices.items()}
        )
        made._outcomes = self._outcomes - before._outcomes
        for name in ADDED:
            setattr(made, name, getattr(self, name) - getattr(before, name))
        made._at_work, made._prepared = self._at_work - before._at_work, self._prepared - before._prepared
        made._told, made._cuts_known, made._cut_short = self._told, self._cuts_known, self._cut_short
        return made

    def copy(self) -> Self:
        """One that stays as it is when this goes on."""
        made = self.from_dict(self.to_dict())
        made._cut_short = self._cut_short
        return made

    def agreeing(self, with_vector: int, failures: Failures) -> Self:
        """The same of a run that has kept which of its texts are settled: what it kept is the truth.

        Parameters
        ----------
        with_vector : int
            Texts that have one, beside duplicates.
        failures : Failures
            Of those that have failed, and are not to be tried again.
        """
        made = self.copy()
        made._failures = failures
        made._outcomes["failed"] = sum(texts for texts, _ in failures.found().values())
        made._unrecorded = max(0, with_vector - made._outcomes["embedded"] - made._outcomes["cached"])
        made._cut_short = made._cut_short or made._unrecorded > 0
        made._prepared = made._read = made._outcomes.total()
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        with self._lock:
            return {
                "id": self.id,
                "model": self.model,
                "started": self.started.isoformat(timespec="milliseconds"),
                "seconds": round(self.seconds, 3),
                "workers": self._workers,
                "calls": self.calls,
                "stopped_by": self._stopped_by,
                # As long as it goes on it is one that was killed, if nothing follows.
                "complete": self._ended is not None and not self._cut_short,
                "unrecorded": self._unrecorded,
                "outcomes": dict(self._outcomes),
                "tokens": self._tokens if self._told else None,
                "truncated": [self._truncated, self._tokens_lost] if self._cuts_known else None,
                "timeline": self._timeline.to_dict(),
                "latencies": self.latencies.to_dict(),
                "at_work": self._at_work,
                "budget": self._budget,
                "lookups": [self._hits, self._misses],
                "failed_batches": self._failed_batches,
                **self._batches.to_dict(),
                "devices": Devices.to_dict(self._devices.found(self.seconds)),
                "failures": self._failures.to_dict(),
            }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The recording that `to_dict` wrote. It is over.

        Raises
        ------
        ValueError
            It is none, or another version's.
        """
        try:
            return cls._from_dict(values)
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as exc:
            raise ValueError(f"this is no recording, or another version's: {type(exc).__name__}: {exc}") from exc

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Self:
        made = cls(values["model"], values["workers"])
        made._id = str(values["id"])
        made.started = datetime.fromisoformat(values["started"])
        made._ended = float(values["seconds"])
        made._calls = [Call(float(at), str(when), what) for at, when, what in values["calls"]]
        made._stopped_by = values["stopped_by"]
        made._cut_short, made._unrecorded = not values["complete"], int(values["unrecorded"])
        made._outcomes = Counter(values["outcomes"])
        made._tokens, made._told = values["tokens"] or 0, values["tokens"] is not None
        made._cuts_known = values["truncated"] is not None
        made._truncated, made._tokens_lost = values["truncated"] or (0, 0)
        made._at_work, made._budget = int(values["at_work"]), values["budget"]
        made._hits, made._misses = values["lookups"]
        made._failed_batches = int(values["failed_batches"])
        made._timeline = Timeline.from_dict(values["timeline"])
        made.latencies = Latencies.from_dict(values["latencies"])
        made._batches = Batches.from_dict(values)
        made._devices = Devices.from_dict(values.get("devices", {}))  # not in those of earlier versions
        made._failures = Failures.from_dict(values["failures"])
        made._prepared = made._read = made._outcomes.total()
        return made

    # Below

    def _take_in(self, other: Self, offset: float) -> None:
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._told, self._cuts_known = self._told and other._told, self._cuts_known and other._cuts_known
        self._cut_short = self._cut_short or other._cut_short
        self._batches.take_in(other._batches, offset)
        self._devices.take_in(other._devices.found(other.seconds))
        self._failures.take_in(other._failures)
