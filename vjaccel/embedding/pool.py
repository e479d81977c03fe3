"""Who works on a run: for each device some threads, which take the next batch of the earliest chunk that has one.

A thread that finds none ends its work, and is called again when there is more: none waits while it holds anything, so that a
stream that nobody closes keeps no process from ending.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np

from vjaccel.embedding.batches import Batch, Cutter
from vjaccel.embedding.devices import Device, Pace, pays
from vjaccel.embedding.run import Chunk, Interrupted, cutter_of, said

__all__ = ["Begun", "Pool"]

logger = logging.getLogger("vjaccel.embedding")


@dataclass(eq=False)
class Begun:
    """A chunk whose batches wait, are run, or are done.

    Attributes
    ----------
    told : queue
        How many texts each batch had that is done, or what it has raised; None when there will be no more.
    finished : Future
        Done then.
    """

    chunk: Chunk
    cutter: Cutter
    told: SimpleQueue[int | BaseException | None] = field(default_factory=SimpleQueue)
    finished: Future[None] = field(default_factory=Future)
    running: int = 0


class Pool:
    """The threads of a run.

    Parameters
    ----------
    devices : sequence of Device
    embed : callable
        Embeds a batch of a chunk on a device, and says how many texts that were.
    stop : Event
        When it is set, no batch is begun any more.
    give_up : callable
        Told what a batch has raised; sets `stop`.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        embed: Callable[[Device, Chunk, Batch], int],
        stop: threading.Event,
        give_up: Callable[[BaseException], object],
    ) -> None:
        self._embed = embed
        self._stop = stop
        self._give_up = give_up
        self._lock = threading.Lock()
        self._begun: list[Begun] = []
        self._crews = [_Crew(device) for device in devices]

    def add(self, chunk: Chunk) -> Begun:
        """Have the batches of a chunk run, whether anybody asks for it or not, since others may wait for them."""
        first = self._crews[0].device
        begun = Begun(chunk, cutter_of(chunk, first))
        needed = len(begun.cutter)
        if needed:
            # Here and now, so that no worker waits for that when it comes to this chunk.
            batches = begun.cutter.plan(first.best(begun.cutter.longest))
            needed = batches if first.tuner is None else needed
        with self._lock:
            self._begun.append(begun)
            self._settle()
            for crew in self._crews:
                self._call(crew, needed)
        return begun

    def close(self) -> None:
        """Let what runs end, once no more is to be begun."""
        with self._lock:
            self._settle()
        for crew in self._crews:
            crew.threads.shutdown(wait=True, cancel_futures=True)

    def _call(self, crew: _Crew, needed: int) -> None:
        """Have as many of a crew work as there are batches for, with the lock held."""
        for _ in range(min(crew.device.provider.workers - crew.working, needed)):
            crew.working += 1
            crew.threads.submit(self._work, crew)

    def _work(self, crew: _Crew) -> None:
        while (taken := self._take(crew)) is not None:
            begun, batch = taken
            told: int | BaseException
            left: np.ndarray | None = None
            before = time.perf_counter()
            try:
                told = self._embed(crew.device, begun.chunk, batch)
            except Interrupted as exc:
                left, told = exc.left, exc.reason
            except BaseException as exc:
                self._give_up(exc)
                told = exc
            with self._lock:
                if left is not None and isinstance(told, BaseException):
                    told = self._taken_over(crew, begun, left, told, len(batch.places))
                crew.seconds += time.perf_counter() - before
                crew.tokens += int(begun.chunk.prepared.lengths[batch.places].sum())
                begun.running -= 1
                begun.told.put(told)
                self._settle()

    def _take(self, crew: _Crew) -> tuple[Begun, Batch] | None:
        with self._lock:
            idle = self._stop.is_set() or crew.device.failed or not self._worth(crew)
            for begun in () if idle else self._begun:
                if not len(begun.cutter):
                    continue
                try:
                    batch = self._cut(crew.device, begun.cutter)
                except BaseException as exc:
                    self._give_up(exc)
                    begun.told.put(exc)
                    self._settle()
                    break
                begun.running += 1
                return begun, batch
            # Not later: whoever adds a chunk from now on calls for another.
            crew.working -= 1
            return None

    def _taken_over(
        self, crew: _Crew, begun: Begun, left: np.ndarray, reason: BaseException, texts: int
    ) -> int | BaseException:
        """Have what a failed device has left done by the others, with the lock held; how many texts it has done."""
        known = crew.device.failed
        crew.device.failed = known or said(reason)
        if crew.device.name and not known:
            begun.chunk.gathered.recording.taken_out(crew.device.name, crew.device.failed)
        others = [other for other in self._crews if not other.device.failed]
        if not others:
            self._give_up(reason)
            return reason
        if not known:
            logger.warning(
                "the device %s has failed (%s): the others do its work", crew.device.name, crew.device.failed
            )
        begun.cutter.give_back(left)
        for other in others:
            # Those that have left the last batches to this device are needed again.
            self._call(other, sum(len(each.cutter) for each in self._begun))
        return texts - len(left)

    def _worth(self, crew: _Crew) -> bool:
        """Whether it pays that one of a crew takes a batch, with the lock held."""
        left = [begun.cutter for begun in self._begun if len(begun.cutter)]
        if len(self._crews) < 2 or not left:
            return True
        others = [other.pace(other.working) for other in self._crews if other is not crew and not other.device.failed]
        size = crew.device.best(left[0].longest)
        return pays(size, crew.pace(crew.working), others, sum(cutter.tokens for cutter in left))

    def _cut(self, device: Device, cutter: Cutter) -> Batch:
        budget, lesson = device.budget(cutter.longest)
        places = cutter.take(budget)
        # The last one is as small as what is left, whatever its budget.
        return Batch(places, lesson if len(cutter) else None)

    def _settle(self) -> None:
        """Say of chunks that no batch of them will run any more, with the lock held."""
        for begun in list(self._begun):
            if not begun.running and (self._stop.is_set() or not len(begun.cutter)):
                self._begun.remove(begun)
                begun.told.put(None)
                begun.finished.set_result(None)


class _Crew:
    """The threads of one device, and how many of them are at work."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.working = 0
        self.tokens = 0
        self.seconds = 0.0
        self.threads = ThreadPoolExecutor(
            device.provider.workers, thread_name_prefix="vjaccel-embed", initializer=device.provider.started
        )

    def pace(self, at_once: int) -> Pace:
        """How fast it has been, with so many of its batches at once."""
        return Pace(self.tokens / self.seconds if self.seconds else 0.0, at_once)
