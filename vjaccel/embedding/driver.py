"""What drives the stages of a run: a thread that tokenises, threads that embed, and results in the texts' order.

While one chunk is embedded by the worker threads, the next is tokenised and its batches wait behind, so that no worker is
idle at a chunk's end; no more than that is held.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import psutil

from vjaccel.embedding.gathered import Gathered
from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.result import EmbeddingStatistics, Progress
from vjaccel.embedding.run import Chunk, embedded, planned, prepared
from vjaccel.embedding.tally import Tally
from vjaccel.embedding.window import Window
from vjaccel.errors import TooManyErrors

__all__ = ["CHUNK", "Run", "driven", "inline"]

CHUNK = 4096
"""Texts that are planned together: enough to find neighbours of one length."""


@dataclass
class Run:
    """One run: what it was asked, what it has counted, and whom it tells."""

    prompt: str
    total: int | None
    progress: Callable[[Progress], object] | None
    window: Window | None = field(default_factory=Window)
    max_errors: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.perf_counter)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    process: psutil.Process = field(default_factory=psutil.Process)
    peak_memory_bytes: int = 0
    cpu_before: float = 0.0
    done: int = 0

    def __post_init__(self) -> None:
        self.cpu_before = self._cpu()
        self._look()

    def advance(self, texts: int, under_way: Tally) -> None:
        """Note that `texts` more are done; `under_way` is the tally of their chunk."""
        self.done += texts
        self._look()
        if self.progress is not None:
            known = self.tally.told and under_way.told
            tokens = self.tally.tokens + under_way.tokens if known else None
            self.progress(Progress(self.done, self.total, tokens, self._seconds()))

    def set_aside(self, gathered: Gathered) -> None:
        """Note what of a chunk has failed before any of it was embedded."""
        if gathered.errors:
            self.advance(len(gathered.errors), gathered.tally)

    def check(self, under_way: Tally) -> None:
        """Raise TooManyErrors if there are."""
        failed = self.tally.failed + under_way.failed
        if self.max_errors is not None and failed > self.max_errors:
            worst = ", ".join(f"{code} {n}" for code, n in (self.tally.failures + under_way.failures).most_common())
            raise TooManyErrors(f"stopped: {failed} texts have failed, and max_errors is {self.max_errors} ({worst})")

    def finished(self, gathered: Gathered) -> Gathered:
        """Take a chunk into account all of whose batches are done, and those before it."""
        gathered.copied()
        if gathered.copies:
            self.advance(len(gathered.copies), gathered.tally)
        self.tally.add(gathered.tally)
        self.check(Tally())
        return gathered

    def statistics(self) -> EmbeddingStatistics:
        """Of the chunks that are finished."""
        used = self._cpu() - self.cpu_before
        return self.tally.statistics(self.began, self._seconds(), self.peak_memory_bytes, used)

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def _look(self) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, self.process.memory_info().rss)


Gathering = Callable[[int, int], Gathered]
"""From the number of a chunk's first text in the run, and how many texts it has, to what gathers its vectors."""


def inline(provider: Provider, texts: list[Any], run: Run, gathering: Gathering) -> Gathered:
    """What is gathered for texts of one chunk, in the calling thread: what `driven` does, without what it costs."""
    gathered = gathering(0, len(texts))
    provider.begun()
    try:
        provider.started()
        chunk = prepared(texts, run.prompt, provider, gathered, run.window, last=True)
        run.set_aside(gathered)
        for batch in planned(chunk, provider):
            run.advance(embedded(chunk, batch, run.prompt, provider, run.stop), gathered.tally)
            run.check(gathered.tally)
    finally:
        provider.ended()
    return run.finished(gathered)


def driven(provider: Provider, texts: Iterable[Any], size: int, run: Run, gathering: Gathering) -> Generator[Gathered]:
    """What is gathered for each `size` texts, in their order, each when all its batches are done.

    Closing the iterator cancels what waits, lets what runs end, and leaves no thread. When reading `texts` fails, what was
    read before is given out, and then that error is raised.
    """
    reader = _Reader(texts)
    read = 0
    tokenising: Future[Chunk] | None = None
    ahead: deque[tuple[Chunk, list[Future[int]]]] = deque()
    provider.begun()
    preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
    workers = ThreadPoolExecutor(provider.workers, thread_name_prefix="vjaccel-embed", initializer=provider.started)
    try:
        while True:
            items = reader.next(size)
            following: Future[Chunk] | None = None
            if items:
                gathered = gathering(read, len(items))
                following = preparing.submit(
                    prepared, items, run.prompt, provider, gathered, run.window, last=len(items) < size
                )
                read += len(items)
            if tokenising is not None:
                chunk = tokenising.result()
                task = partial(embedded, chunk, prompt=run.prompt, provider=provider, stop=run.stop)
                ahead.append((chunk, [workers.submit(task, batch) for batch in planned(chunk, provider)]))
            tokenising = following
            while ahead and (len(ahead) > 1 or following is None):
                yield _finished(*ahead.popleft(), run)
            if following is None:
                break
    finally:
        run.stop.set()
        preparing.shutdown(wait=True, cancel_futures=True)
        workers.shutdown(wait=True, cancel_futures=True)
        provider.ended()
    if reader.error is not None:
        raise reader.error


def _finished(chunk: Chunk, batches: list[Future[int]], run: Run) -> Gathered:
    gathered = chunk.gathered
    run.set_aside(gathered)
    for batch in as_completed(batches):
        run.advance(batch.result(), gathered.tally)
        run.check(gathered.tally)
    return run.finished(gathered)


class _Reader:
    """Reads some items at a time; an error ends the items, and is kept."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.error: Exception | None = None

    def next(self, size: int) -> list[Any]:
        found: list[Any] = []
        if self.error is None:
            try:
                for item in islice(self._items, size):
                    found.append(item)  # one by one: list() would lose what came before an error
            except Exception as exc:
                self.error = exc
        return found
