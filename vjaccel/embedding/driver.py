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

from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.result import EmbeddingStatistics, Progress
from vjaccel.embedding.run import Chunk, Gathered, Tally, embedded, planned, prepared

__all__ = ["CHUNK", "Run", "driven"]

CHUNK = 4096
"""Texts that are planned together: enough to find neighbours of one length."""


@dataclass
class Run:
    """One run: what it was asked, what it has counted, and whom it tells."""

    prompt: str
    total: int | None
    progress: Callable[[Progress], object] | None
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


def driven(
    provider: Provider, texts: Iterable[Any], size: int, run: Run, gathering: Callable[[int, int], Gathered]
) -> Generator[Gathered]:
    """What is gathered for each `size` texts, in their order, each when all its batches are done.

    Closing the iterator cancels what waits, lets what runs end, and leaves no thread. When reading `texts` fails, what was
    read before is given out, and then that error is raised.

    Parameters
    ----------
    gathering : callable
        From the index of a chunk's first text and the number of its texts to what gathers its vectors.
    """
    reader = _Reader(texts)
    read = 0
    tokenising: Future[Chunk] | None = None
    ahead: deque[tuple[Chunk, list[Future[int]]]] = deque()
    stop = threading.Event()
    provider.begun()
    preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
    workers = ThreadPoolExecutor(provider.workers, thread_name_prefix="vjaccel-embed", initializer=provider.started)
    try:
        while True:
            items = reader.next(size)
            following: Future[Chunk] | None = None
            if items:
                gathered = gathering(read, len(items))
                following = preparing.submit(prepared, items, read, run.prompt, provider, gathered)
                read += len(items)
            if tokenising is not None:
                chunk = tokenising.result()
                task = partial(embedded, chunk, prompt=run.prompt, provider=provider, stop=stop)
                ahead.append((chunk, [workers.submit(task, batch) for batch in planned(chunk, provider)]))
            tokenising = following
            while ahead and (len(ahead) > 1 or following is None):
                yield _finished(*ahead.popleft(), run)
            if following is None:
                break
    finally:
        stop.set()
        preparing.shutdown(wait=True, cancel_futures=True)
        workers.shutdown(wait=True, cancel_futures=True)
        provider.ended()
    if reader.error is not None:
        raise reader.error


def _finished(chunk: Chunk, batches: list[Future[int]], run: Run) -> Gathered:
    gathered = chunk.gathered
    if len(chunk.valid) < gathered.size:
        run.advance(gathered.size - len(chunk.valid), gathered.tally)
    for batch in as_completed(batches):
        run.advance(batch.result(), gathered.tally)
    run.tally.add(gathered.tally)
    return gathered


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
