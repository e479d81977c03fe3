"""What a run was like: how fast when, with which batches, what failed and why. It takes no more room for an endless run."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self
from uuid import uuid4

import numpy as np

from vjaccel.telemetry.attempts import Attempts
from vjaccel.telemetry.batches import Batches, OfBudget, Try
from vjaccel.telemetry.events import (
    BatchEnded,
    BatchesEnded,
    CacheLookedUp,
    Event,
    RunBegan,
    RunEnded,
    TextsSettled,
    TriedAgain,
    tell,
)
from vjaccel.telemetry.failures import Example, Failures
from vjaccel.telemetry.latencies import Latencies
from vjaccel.telemetry.timeline import SUMMED, Timeline

__all__ = ["RUN", "Recording", "Stages", "running"]

CALLS = 50
"""Calls of one run, each after the one before was stopped, that are told of."""

ADDED = ("_tokens", "_truncated", "_tokens_lost", "_unrecorded", "_hits", "_misses", "_failed_batches")
"""What is the sum of what the parts of a run have."""

RUN: ContextVar[str | None] = ContextVar("vjaccel_run", default=None)
"""The id that runs are to have, where whoever begins them says so: that of a command, which its log has in each line."""

logger = logging.getLogger("vjaccel.embedding")


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


class Recording:
    """Written to by the threads of a run, read by whoever wants to know.

    Parameters
    ----------
    model : str
        ``provider:name``.
    workers : int
        Batches at once, at most.
    total : int or None
        Texts that are to come, where that is known.
    clock : callable
        Seconds.
    tells : bool
        Whether those who listen hear of it, and the log.

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
        self, model: str, workers: int, total: int | None = None, clock: Callable[[], float] = time.perf_counter,
        *, tells: bool = True,
    ) -> None:  # fmt: skip
        self.model = model
        self._tells = tells
        self._id = RUN.get()
        self.started = datetime.now(UTC)
        self._timeline = Timeline()
        self.latencies = Latencies()
        self._batches = Batches()
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

    # Written to

    def began(self) -> None:
        """The run begins."""
        if self._tells and logger.isEnabledFor(logging.INFO):
            fields = {"run": self.id, "model": self.model, "workers": self._workers, "total": self._total}
            logger.info("the run begins, with %s", self.model, extra={"fields": fields})
        if self._tells:
            with _lock:
                _running.add(self)
        self._tell(RunBegan(self._workers, self._total))

    def ended(
        self, *, failed: bool, stopped: bool = False, stopped_by: str | None = None, cpu_seconds: float | None = None
    ) -> None:
        """The run is over.

        Parameters
        ----------
        failed : bool
            By an error.
        stopped : bool
            By somebody.
        stopped_by : str, optional
            Why it did not come to its end, as the rest of "it was stopped".
        cpu_seconds : float, optional
            What it has used since it began.
        """
        self._ended, self._stopped_by = self.seconds, stopped_by
        if cpu_seconds is not None:
            with self._lock:
                self._timeline.add(self._ended, cpu_seconds=cpu_seconds - self._cpu_seconds)
                self._cpu_seconds = cpu_seconds
        if self._tells and logger.isEnabledFor(logging.INFO):
            failures = {code: texts for code, (texts, _) in self.failures.items()}
            fields = {"run": self.id, "seconds": round(self._ended, 3), **self.outcomes, "failures": failures}
            how = "is stopped by an error" if failed else "is stopped" if stopped else "is over"
            logger.info("the run %s, after %.1f s", how, self._ended, extra={"fields": fields})
        with _lock:
            _running.discard(self)
        self._tell(RunEnded(failed))

    def read(self, texts: int) -> None:
        """So many texts more were read."""
        if self._read == self._outcomes.total():
            self._moved = self._clock()  # until now there was nothing to do
        self._read += texts

    def prepared(self, texts: int) -> None:
        """So many texts more were looked up and tokenised."""
        with self._lock:
            self._prepared += texts
            self._moved = self._clock()

    def expects(self, rows: int, settled: int) -> None:
        """The run is of so many rows, of which calls before this one have settled some."""
        self._total, self._settled_before = rows, settled

    def repeated(self, texts: int) -> None:
        """So many texts more were read that are the same as earlier ones, and need nothing of their own."""
        if texts > 0:
            self.read(texts)
            self.prepared(texts)
            self.settled("duplicate", texts)

    def looked_up(self, hits: int, misses: int) -> None:
        """Texts were looked up in the cache."""
        with self._lock:
            self._hits, self._misses = self._hits + hits, self._misses + misses
        self._tell(CacheLookedUp(hits, misses))

    def cut_off(self, texts: int, tokens: int, *, known: bool) -> None:
        """So many texts were too long, and have lost so many tokens; `known` is whether anybody knows."""
        with self._lock:
            self._truncated, self._tokens_lost = self._truncated + texts, self._tokens_lost + tokens
            self._cuts_known = self._cuts_known and known

    def settled(self, outcome: Literal["embedded", "cached", "duplicate"], texts: int) -> None:
        """So many texts more have their vector."""
        if texts:
            with self._lock:
                self._outcomes[outcome] += texts
                self._moved = self._clock()
                self._timeline.add(self.seconds, **{outcome: texts})
            self._tell(TextsSettled(outcome, texts))

    def failed(self, index: int, code: str, message: str) -> None:
        """A text has failed."""
        fields = {"run": self.id, "index": index, "code": code}
        # Not the message: a service may repeat the text in it.
        logger.debug("text %d has failed: %s", index, code, extra={"fields": fields})
        with self._lock:
            self._outcomes["failed"] += 1
            self._moved = self._clock()
            self._timeline.add(self.seconds, failed=1)
            code = self._failures.add(index, code, message)
        self._tell(TextsSettled("failed", 1, code))

    def batch_began(self, budget: int) -> Attempts:
        """A batch that was cut for a budget is given to the model; within the block of what comes back."""
        with self._lock:
            self._at_work += 1
            self._budget = budget
        return Attempts(self._tried_again)

    def batch_ended(self, batch: BatchEnded, lengths: np.ndarray | None, attempts: Attempts | None = None) -> None:
        """It is back, or has failed; `lengths` are its texts' tokens, int64 (n,), where they are counted.

        Of retries and waits those are counted now that its `attempts` were not told of.
        """
        attempts = attempts or Attempts(self._tried_again)
        attempts.note(max(0, batch.retries - attempts.retries), batch.waited - attempts.waited)
        now = self.seconds
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "a batch of %d texts %s", batch.texts, "has failed" if batch.failed else "is done",
                extra={"fields": {"run": self.id, **batch._asdict()}},
            )  # fmt: skip
        with self._lock:
            self._at_work -= 1
            self._moved = self._clock()
            self._timeline.add(
                now, batches=1, batch_seconds=batch.seconds, tokens=batch.tokens or 0, padded=batch.padded or 0,
            )  # fmt: skip
            if batch.failed:
                self._failed_batches += 1
            else:
                self._tokens, self._told = self._tokens + (batch.tokens or 0), self._told and batch.tokens is not None
                self.latencies.append(batch.seconds)
                self._batches.add(batch, now, lengths)
        self._tell(batch)

    def look(self, memory_bytes: int, cpu_seconds: Callable[[], float], device_bytes: Callable[[], int | None]) -> None:
        """See what is used: `cpu_seconds` since the run began. What takes long to find out is asked once in a span."""
        now = self.seconds
        with self._lock:
            first = self._timeline.is_new(now)
            queued = self._prepared - self._outcomes.total()
            device = device_bytes() if first else None
            self._device_bytes = self._device_bytes if device is None else device
            self._timeline.look(now, memory_bytes=memory_bytes, queued=max(0, queued), device_bytes=device)
            if first:
                used = cpu_seconds()
                self._timeline.add(now, cpu_seconds=used - self._cpu_seconds)
                self._cpu_seconds = used

    # Read

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
        return (self._truncated, self._tokens_lost) if self._cuts_known and self.complete else None

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

    def followed_by(self, other: Recording) -> Recording:
        """A run that was stopped, and what went on with it, as one."""
        both = Recording(other.model, other._workers)
        both._id, both.started, both._budget = other.id, self.started, other._budget
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

    def take_in(self, part: Recording) -> None:
        """A part of this run went on elsewhere at the same time, with texts that this one has read."""
        offset = min(max(0.0, (part.started - self.started).total_seconds()), self.seconds)
        with self._lock:
            self._timeline.take_in(part.timeline, offset)
            self.latencies = self.latencies + part.latencies
            self._outcomes += part._outcomes
            self._prepared += part._prepared
            self._at_work += part._at_work
            self._budget = part._budget or self._budget
            self._take_in(part, offset)
            if part._prepared or part._outcomes or part._batches.sizes() or part._failed_batches:
                self._moved = self._clock()
        if self._tells:
            self._tell_of(part)

    def since(self, before: Recording | None) -> Recording:
        """What is added to it since it was as `before`, for one that has that already; all of it where that is None."""
        if before is None:
            return self
        made = Recording(self.model, self._workers)
        made.started, made._ended, made._budget = self.started, self.seconds, self._budget
        made._timeline = self._timeline.since(before._timeline)
        made.latencies = self.latencies.since(before.latencies)
        made._batches, made._failures = self._batches.since(before._batches), self._failures.since(before._failures)
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
        made = cls(values["model"], values["workers"], tells=False)
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
        made._failures = Failures.from_dict(values["failures"])
        made._prepared = made._read = made._outcomes.total()
        return made

    # Below

    def _tried_again(self, retries: int, waited: float) -> None:
        with self._lock:
            self._timeline.add(self.seconds, retries=retries, waited=waited)
        self._tell(TriedAgain(retries, waited))

    def _tell(self, event: Event) -> None:
        if self._tells:
            tell(event, self.model)

    def _tell_of(self, part: Recording) -> None:
        values = {name: found.sum() for name, found in part.timeline.values.items() if name in SUMMED}
        if values["batches"]:
            tokens, padded = int(values["tokens"]), int(values["padded"])
            durations, sizes = part.latencies.counts(), part._batches.sizes()
            self._tell(BatchesEnded(part._failed_batches, durations, sizes, tokens, padded))
        if values["retries"] or values["waited"]:
            self._tell(TriedAgain(round(values["retries"]), values["waited"]))
        if part._hits or part._misses:
            self._tell(CacheLookedUp(part._hits, part._misses))
        for outcome in ("embedded", "cached", "duplicate"):
            if part._outcomes[outcome]:
                self._tell(TextsSettled(outcome, part._outcomes[outcome]))
        for code, (texts, _) in part.failures.items():
            self._tell(TextsSettled("failed", texts, code))

    def _take_in(self, other: Recording, offset: float) -> None:
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._told, self._cuts_known = self._told and other._told, self._cuts_known and other._cuts_known
        self._cut_short = self._cut_short or other._cut_short
        self._batches.take_in(other._batches, offset)
        self._failures.take_in(other._failures)


_running: weakref.WeakSet[Recording] = weakref.WeakSet()
_lock = threading.Lock()


def running() -> list[Recording]:
    """Those of the runs that are going on in this process."""
    with _lock:
        return list(_running)
