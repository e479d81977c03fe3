"""Threads that take batches as they become free: the one of highest priority first, as many at once as the load allows."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from vjaccel.batch.load import Load, allowed
from vjaccel.batch.waiting import next_of
from vjaccel.errors import InvalidInput

__all__ = ["Job", "Workers"]

LOOK = 0.25
"""Seconds between two readings of the load."""
LIVES = 2
"""Workers that one batch may cost before it counts as failed."""

_log = logging.getLogger("vjaccel.batch")


@dataclass(eq=False)
class Job:
    """The batches of one request.

    Attributes
    ----------
    pieces : sequence of callable
        One a batch; it checks `stopped` where it can.
    at_once : int
        So many of them at most.
    until : float or None
        When the clock says this, nothing of it is begun any more.
    can_be_left : bool
        Whether who asks goes on then, and when it is stopped, though a batch of it is under way.
    context : Context
        Of the thread that asks: what it has set, as a backend, holds in the batches.
    since, order
        When the first batch that waits began to, and the request's number.
    running, most : int
        Batches under way, and how many were at most.
    waiting : deque of int
        Those that are not begun, by their numbers.
    failure : BaseException or None
        What the first batch that raised has raised; after it nothing is begun.
    lives : dict of int to int
        Workers that a batch has cost.
    left : bool
        Whether nobody waits for those that are under way.
    died : dict of int to str
        Batches whose workers died, and of what.
    latencies : list of float
        Seconds that each batch took that has ended.
    ended : Event
        Set when nothing of it runs or waits.
    """

    pieces: Sequence[Callable[[], None]]
    at_once: int
    priority: str
    until: float | None
    stopped: threading.Event
    can_be_left: bool = False
    clock: Callable[[], float] = time.monotonic
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    since: float = 0.0
    order: int = 0
    running: int = 0
    most: int = 0
    failure: BaseException | None = None
    left: bool = False
    died: dict[int, str] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    lives: dict[int, int] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def is_over(self) -> bool:
        """Whether it was stopped, or its time is up."""
        return self.stopped.is_set() or (self.until is not None and self.clock() >= self.until)


class Workers:
    """A pool for the batches of all requests of one kind. Its threads are started when they are needed.

    Parameters
    ----------
    most : int
        Threads.
    name : str
        Of the threads.
    processors : sequence of int
        Those that the threads are pinned to; none is all.
    around : callable
        A context that each batch runs in.
    """

    def __init__(
        self,
        most: int,
        name: str,
        processors: Sequence[int],
        around: Callable[[], AbstractContextManager[object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = self.allowed = most
        self._name = name
        self._processors = processors
        self._around = around
        self._clock = clock
        self._load = Load()
        self._looked = clock()
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._threads: set[threading.Thread] = set()
        self._running = self._count = 0
        self._closed = False
        self._moved = clock()

    def run(self, job: Job) -> None:
        """Do the batches of `job`; return when all are done, or it was stopped or its time is up, and none of them runs.

        Where it can be left, a batch that is under way when its time is up ends by itself, and `close` waits for it.

        Raises
        ------
        Exception
            The first that a batch has raised; the others were not begun any more.
        """
        if not job.pieces:
            return
        with self._changed:
            if self._closed:
                raise InvalidInput("this processor is closed; make another")
            self._count += 1
            job.order, job.since = self._count, self._clock()
            job.waiting.extend(range(len(job.pieces)))
            self._look()
            here = self._running < self.allowed and not self._jobs and not self._processors and _for_one_thread(job)
            self._jobs.append(job)
            if here:
                self._begin(job)
            else:
                self._staff()
                self._changed.notify_all()
        if here:
            self._done_here(job)
        self._wait(job)
        if job.failure is not None:
            raise job.failure

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def dead(self) -> int:
        """Threads that are thought to be there and are not."""
        with self._changed:
            return sum(not thread.is_alive() for thread in self._threads)

    def waiting(self) -> int:
        """Batches that are not begun."""
        with self._changed:
            return sum(len(job.waiting) for job in self._jobs)

    def left(self) -> int:
        """Batches under way that nobody waits for."""
        with self._changed:
            return sum(job.running for job in self._jobs if job.left)

    def still(self) -> float:
        """Seconds since a batch was begun or ended."""
        return self._clock() - self._moved

    # In the thread of the request

    def _wait(self, job: Job) -> None:
        try:
            job.ended.wait(None if job.until is None else max(0.0, job.until - self._clock()))
        finally:  # after Ctrl-C too
            if not job.ended.is_set():
                with self._changed:
                    job.stopped.set()
                    self._settle(job)
                    job.left = job.can_be_left
                if not job.left:
                    job.ended.wait()

    def _done_here(self, job: Job) -> None:
        """The only batch of a job, in the thread that waits for it: handing it over would take longer than a small one."""
        failure = self._done(job, 0)
        if isinstance(failure, KeyboardInterrupt):
            raise failure

    # In the workers

    def _work(self) -> None:
        if self._processors:
            os.sched_setaffinity(0, self._processors)
        while (turn := self._next()) is not None:
            failure = self._done(*turn)
            if failure is not None and not isinstance(failure, Exception):
                return

    def _done(self, job: Job, place: int) -> BaseException | None:
        """Do a batch, and note how that went: what it has raised."""
        started = self._clock()
        failure: BaseException | None = None
        try:
            with self._around():
                job.context.copy().run(job.pieces[place])
        except BaseException as exc:
            failure = exc
        if failure is None or isinstance(failure, Exception | KeyboardInterrupt):
            self._end(job, self._clock() - started, failure)
        else:
            self._lost(job, place, failure)
        return failure

    def _next(self) -> tuple[Job, int] | None:
        with self._changed:
            while True:
                self._look()
                for stopped in [one for one in self._jobs if one.stopped.is_set()]:
                    self._settle(stopped)
                job: Job | None = None
                if self._running < self.allowed:
                    ready = (job for job in self._jobs if job.waiting and job.running < job.at_once)
                    job = next_of(ready, self._clock())
                if job is not None:
                    return job, self._begin(job)
                if self._closed and not self._jobs:
                    self._threads.discard(threading.current_thread())
                    return None
                self._changed.wait(LOOK if self._jobs else None)

    def _lost(self, job: Job, place: int, failure: BaseException) -> None:
        """A batch has raised what ends a thread: it is done by another, which takes the place of this one."""
        _log.warning("a worker died of %s and is replaced; its batch is done by another", type(failure).__name__)
        with self._changed:
            self._threads.discard(threading.current_thread())
            job.lives[place] = job.lives.get(place, 0) + 1
            if job.lives[place] < LIVES and not job.is_over():
                job.waiting.appendleft(place)
            else:
                job.died[place] = f"{type(failure).__name__}: {failure}"
            self._leave(job)
            self._staff()

    # Under the lock

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked >= LOOK:
            self._looked = now
            self.allowed = allowed(self.allowed, self.most, self._load.reading(), self.waiting())

    def _begin(self, job: Job) -> int:
        place = job.waiting.popleft()
        job.since = self._moved = self._clock()
        job.running += 1
        job.most = max(job.most, job.running)
        self._running += 1
        return place

    def _staff(self) -> None:
        """As many threads as there are batches that could run."""
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        beginnable = (min(len(job.waiting), job.at_once - job.running) for job in self._jobs)
        wanted = min(self.most, self._running + sum(beginnable))
        while len(self._threads) < wanted:
            thread = threading.Thread(target=self._work, name=f"vjaccel-{self._name}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _end(self, job: Job, seconds: float, failure: BaseException | None) -> None:
        with self._changed:
            if not job.left:  # who has asked has counted them
                job.latencies.append(seconds)
            if failure is not None and job.failure is None:
                job.failure = failure
                job.stopped.set()
            self._leave(job)

    def _leave(self, job: Job) -> None:
        self._running -= 1
        job.running -= 1
        self._moved = self._clock()
        self._settle(job)
        self._changed.notify_all()

    def _settle(self, job: Job) -> None:
        if job.is_over():
            job.stopped.set()
            job.waiting.clear()
        if not job.waiting and not job.running and job in self._jobs:
            self._jobs.remove(job)
            job.ended.set()


def _for_one_thread(job: Job) -> bool:
    """Whether the thread that asks can do it all: who may have to leave it before it is done cannot."""
    return len(job.pieces) == 1 and (job.until is None or not job.can_be_left)
