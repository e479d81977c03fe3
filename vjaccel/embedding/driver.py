"""What drives the stages of a run: a thread that tokenises, threads that embed, and results in the texts' order.

While one chunk is embedded by the worker threads, the next is tokenised and its batches wait behind, so that no worker is
idle at a chunk's end; no more than that is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import psutil

from vjaccel.embedding.gathered import Gathered
from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.reading import LiveReader, Reader
from vjaccel.embedding.result import EmbeddingStatistics, Progress
from vjaccel.embedding.run import Chunk, Known, embedded, left_over, planned, prepared
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
    known: Known = field(default_factory=lambda: Known(Window(), None))
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
        """Note what of a chunk has failed, or was cached, before any of it was embedded."""
        if gathered.errors or gathered.looked_up:
            self.advance(len(gathered.errors) + gathered.looked_up, gathered.tally)

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
        chunk = prepared(texts, run.prompt, provider, gathered, run.known, last=True)
        run.set_aside(gathered)
        _embedded_here(chunk, provider, run)
        _left_over(chunk, provider, run)
    finally:
        provider.ended()
    return run.finished(gathered)


def driven(
    provider: Provider, reader: Reader | LiveReader, run: Run, gathering: Gathering, *, ordered: bool = True
) -> Generator[Gathered]:
    """What is gathered for each of the reader's pieces, each when all its batches are done.

    Closing the iterator cancels what waits, lets what runs end, and leaves no thread. When reading fails, what was read before
    is given out, and then that error is raised.

    Parameters
    ----------
    ordered : bool
        In their order; otherwise as they are done.
    """
    read = 0
    tokenising: Future[Chunk] | None = None
    ahead: list[_Ahead] = []
    provider.begun()
    preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
    workers = ThreadPoolExecutor(provider.workers, thread_name_prefix="vjaccel-embed", initializer=provider.started)
    try:
        while not reader.ended or tokenising is not None or ahead:
            items = [] if reader.ended else reader.next(wait=tokenising is None and not ahead)
            following: Future[Chunk] | None = None
            if items:
                gathered = gathering(read, len(items))
                following = preparing.submit(
                    prepared, items, run.prompt, provider, gathered, run.known, last=reader.ended
                )
                read += len(items)
            if tokenising is not None:
                chunk = tokenising.result()
                task = partial(_embedded, chunk, provider, run)
                ahead.append(_Ahead(chunk, [workers.submit(task, batch) for batch in planned(chunk, provider)]))
            tokenising = following
            while ahead and (len(ahead) > 1 or following is None):
                yield _finished(ahead.pop(0 if ordered else _first_done(ahead)), provider, run, workers)
                if not reader.ended:
                    break  # more may have come meanwhile
    finally:
        run.stop.set()
        if hasattr(provider, "halt"):
            provider.halt()  # whoever waits for a service, rather than for a device, is not waited for
        reader.close()
        preparing.shutdown(wait=True, cancel_futures=True)
        workers.shutdown(wait=True, cancel_futures=True)
        provider.ended()
    if reader.error is not None:
        raise reader.error


class _Ahead(NamedTuple):
    """A chunk whose batches wait, are run, or are done."""

    chunk: Chunk
    batches: list[Future[int]]


def _first_done(ahead: list[_Ahead]) -> int:
    """Which of them is done; if none is, the first that will be."""
    while True:
        for place, (_, batches) in enumerate(ahead):
            if all(batch.done() for batch in batches):
                return place
        wait([batch for _, batches in ahead for batch in batches if not batch.done()], return_when=FIRST_COMPLETED)


def _finished(ahead: _Ahead, provider: Provider, run: Run, workers: ThreadPoolExecutor) -> Gathered:
    gathered = ahead.chunk.gathered
    run.set_aside(gathered)
    for batch in as_completed(ahead.batches):
        run.advance(batch.result(), gathered.tally)
        run.check(gathered.tally)
    if run.known.lookup is not None:
        # In a worker's thread, since it may have batches to embed.
        workers.submit(_left_over, ahead.chunk, provider, run).result()
    return run.finished(gathered)


def _embedded(chunk: Chunk, provider: Provider, run: Run, batch: np.ndarray) -> int:
    return embedded(chunk, batch, run.prompt, provider, run.known.lookup, run.stop)


def _embedded_here(chunk: Chunk, provider: Provider, run: Run) -> None:
    for batch in planned(chunk, provider):
        run.advance(_embedded(chunk, provider, run, batch), chunk.gathered.tally)
        run.check(chunk.gathered.tally)


def _left_over(chunk: Chunk, provider: Provider, run: Run) -> None:
    """Embed what another run was to, and has not."""
    if run.known.lookup is not None:
        before = chunk.gathered.looked_up
        rest = left_over(chunk.texts, run.prompt, provider, chunk.gathered, run.known, run.stop)
        if chunk.gathered.looked_up > before:
            run.advance(chunk.gathered.looked_up - before, chunk.gathered.tally)
        if rest is not None:
            _embedded_here(rest, provider, run)
