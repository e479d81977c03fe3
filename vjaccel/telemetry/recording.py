"""The recording of a run that goes on: its threads write to it, and whoever listens is told at once."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self

import numpy as np

from vjaccel.telemetry.attempts import Attempts
from vjaccel.telemetry.events import (
    BatchEnded,
    BatchesEnded,
    CacheLookedUp,
    DeviceTakenOut,
    Event,
    RunBegan,
    RunEnded,
    TextsSettled,
    TriedAgain,
    tell,
)
from vjaccel.telemetry.recorded import Recorded
from vjaccel.telemetry.timeline import SUMMED

__all__ = ["Recording", "running"]

logger = logging.getLogger("vjaccel.embedding")


class Recording(Recorded):
    """Written to by the threads of a run, read by whoever wants to know.

    Parameters
    ----------
    model, workers, total, clock
        As of `Recorded`.
    tells : bool
        Whether those who listen hear of it, and the log.
    """

    def __init__(
        self, model: str, workers: int, total: int | None = None, clock: Callable[[], float] = time.perf_counter,
        *, tells: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(model, workers, total, clock)
        self._tells = tells

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The recording that `to_dict` wrote. It is over, and nobody is told of it again.

        Raises
        ------
        ValueError
            It is none, or another version's.
        """
        made = super().from_dict(values)
        made._tells = False
        return made

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

    def on_devices(self, names: Iterable[str]) -> None:
        """The model is on several devices."""
        with self._lock:
            for name in names:
                self._devices.come(name, self.seconds)

    def taken_out(self, device: str, why: str, *, earlier: bool = False) -> None:
        """One of several devices has failed, and is to have no more; `earlier` than in this run, it has been told of."""
        with self._lock:
            self._devices.taken_out(device, self.seconds, why, earlier=earlier)
        if not earlier:
            self._tell(DeviceTakenOut(device))

    def batch_began(self, budget: int, device: str = "") -> Attempts:
        """A batch that was cut for a budget is given to the model; within the block of what comes back.

        Parameters
        ----------
        device : str
            Of several, the one that has it.
        """
        with self._lock:
            self._at_work += 1
            self._budget = budget
            if device:
                self._devices.began(device, self.seconds)
        return Attempts(self._tried_again)

    def batch_ended(self, batch: BatchEnded, lengths: np.ndarray | None, attempts: Attempts | None = None) -> None:
        """It is back, or has failed; `lengths` are its texts' tokens, int64 (n,), where they are counted.

        Of retries and waits those are counted now that its `attempts` were not told of.
        """
        attempts = attempts or Attempts(self._tried_again)
        attempts.note(max(0, batch.retries - attempts.retries), max(0.0, batch.waited - attempts.waited))
        now = self.seconds
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "a batch of %d texts %s", batch.texts, "has failed" if batch.failed else "is done",
                extra={"fields": {"run": self.id, **batch._asdict()}},
            )  # fmt: skip
        with self._lock:
            self._at_work -= 1
            self._moved = self._clock()
            if batch.device:
                self._devices.ended(batch, now)
            self._timeline.add(
                now, batches=1, batch_seconds=batch.seconds, tokens=batch.tokens or 0, padded=batch.padded or 0,
            )  # fmt: skip
            self._tokens += batch.tokens or 0
            if batch.failed:
                self._failed_batches += 1
            else:
                self._told = self._told and batch.tokens is not None
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
            devices = {name: (one.texts, one.batches, one.seconds) for name, one in part.devices.items()}
            self._tell(BatchesEnded(part._failed_batches, durations, sizes, tokens, padded, devices))
        for name, one in part.devices.items():
            for _ in range(one.failures):
                self._tell(DeviceTakenOut(name))
        if values["retries"] or values["waited"]:
            self._tell(TriedAgain(round(values["retries"]), values["waited"]))
        if part._hits or part._misses:
            self._tell(CacheLookedUp(part._hits, part._misses))
        for outcome in ("embedded", "cached", "duplicate"):
            if part._outcomes[outcome]:
                self._tell(TextsSettled(outcome, part._outcomes[outcome]))
        for code, (texts, _) in part.failures.items():
            self._tell(TextsSettled("failed", texts, code))


_running: weakref.WeakSet[Recording] = weakref.WeakSet()
_lock = threading.Lock()


def running() -> list[Recording]:
    """Those of the runs that are going on in this process."""
    with _lock:
        return list(_running)
