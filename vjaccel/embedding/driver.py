"""What drives the stages of a run: a thread that tokenises, threads that embed, and results in the texts' order.

While one chunk is embedded by the worker threads, the next is tokenised and its batches wait behind, so that no worker is
idle at a chunk's end; no more than that is held.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import chain, islice
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import psutil

from vjaccel.embedding.batches import Batch, Shared
from vjaccel.embedding.gathered import Gathered
from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.reading import LiveReader, Reader
from vjaccel.embedding.result import EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.run import Chunk, Known, embedded, left_over, planned, prepared, said
from vjaccel.embedding.tally import Tally
from vjaccel.embedding.tuner import Tuner
from vjaccel.embedding.window import Window
from vjaccel.errors import TooManyErrors, VjaccelError
from vjaccel.telemetry import Recording

__all__ = ["CHUNK", "Run", "driven", "inline", "stopping"]

CHUNK = 4096
"""Texts that are planned together: enough to find neighbours of one length."""

AHEAD = 2
"""Chunks that are read beyond the one that is given out."""

RECENT = 0.1
"""Seconds in which what was seen of the machine is still true at the end of a run."""

NAMED = 5
"""Texts that are named where too many have failed."""

LOOK = 0.01
"""Seconds after which one who waits for a batch looks whether a live source has more."""

BEAT = 1.0
"""Seconds without a batch after which how far the run is is told again, with what the machine does meanwhile."""


@lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    """This process: kept, since to find it takes longer than a small run may; by its number, which is another after a fork."""
    return psutil.Process(pid)


@dataclass
class Run:
    """One run: what it was asked, what it has counted, and whom it tells."""

    prompt: str
    total: int | None
    recording: Recording
    progress: Callable[[Progress], object] | None
    known: Known = field(default_factory=lambda: Known(Window(), None))
    max_errors: int | None = None
    tuner: Tuner | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None
    failed: list[ItemError] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.perf_counter)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    process: psutil.Process = field(default_factory=lambda: _process(os.getpid()))
    device_memory: Callable[[], int | None] = field(default=lambda: None)
    peak_memory_bytes: int = 0
    looked: float = 0.0
    cpu_before: float = 0.0
    done: int = 0

    def __post_init__(self) -> None:
        self.cpu_before = time.process_time()
        self._look()
        self.recording.began()

    def advance(self, texts: int, under_way: Tally) -> None:
        """Note that `texts` more are done, or that some time has passed; `under_way` is the tally of their chunk."""
        self.done += texts
        self._look()
        if self.progress is not None:
            known = self.tally.told and under_way.told
            tokens = self.tally.tokens + under_way.tokens if known else None
            self.progress(Progress(self.done, self.total, tokens, self._seconds(), self.recording))

    def stopped(self, under_way: Gathered) -> bool:
        """Whether no more is to be begun of a chunk: all is over, or too much of it has failed."""
        if self.stop.is_set() or self.max_errors is None:
            return self.stop.is_set()
        return self.tally.failures.total() + under_way.failures().total() > self.max_errors

    def check(self, under_way: Gathered | None = None) -> None:
        """Raise TooManyErrors if there are, with those of a chunk that is under way."""
        if self.max_errors is None:
            return
        failures = self.tally.failures if under_way is None else self.tally.failures + under_way.failures()
        if failures.total() > self.max_errors:
            errors = self.failed + ([] if under_way is None else under_way.first_errors(NAMED))
            raise TooManyErrors(failures, self.max_errors, errors[:NAMED])

    def finished(self, gathered: Gathered) -> Gathered:
        """Take a chunk into account all of whose batches are done, and those before it."""
        gathered.copied()
        if gathered.copies:
            self.advance(len(gathered.copies), gathered.tally)
        self.tally.add(gathered.tally)
        self.failed += gathered.first_errors(NAMED - len(self.failed))
        self.check()
        return gathered

    def statistics(self) -> EmbeddingStatistics:
        """Of the chunks that are finished."""
        latencies = self.recording.latencies
        return self.tally.statistics(self.began, self._seconds(), self.peak_memory_bytes, self._used(), latencies)

    def ended(self, exc: BaseException | None) -> None:
        """Note that it is over: by an exception, or since all is done or nobody wants the rest."""
        if time.perf_counter() - self.looked > RECENT:
            self._look()
        # What is no Exception, as KeyboardInterrupt, says that somebody has stopped it.
        failed, stopped = isinstance(exc, Exception), not isinstance(exc, GeneratorExit | None)
        why = None if exc is None or not stopped else stopping(exc)
        self.recording.ended(failed=failed, stopped=stopped, stopped_by=why, cpu_seconds=self._used())

    def _used(self) -> float:
        return time.process_time() - self.cpu_before

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    def _look(self) -> None:
        resident = self.process.memory_info().rss
        self.looked = time.perf_counter()
        self.peak_memory_bytes = max(self.peak_memory_bytes, resident)
        self.recording.look(resident, self._used, self.device_memory)


def stopping(exc: BaseException) -> str:
    """Why a run was stopped, of the exception that did it."""
    if isinstance(exc, KeyboardInterrupt):
        return "by Ctrl-C, or a signal"
    found = str(exc) if isinstance(exc, VjaccelError) else said(exc)
    return f"by an error: {found.removeprefix('stopped: ')}"


Gathering = Callable[[int, int], Gathered]
"""From the number of a chunk's first text in the run, and how many texts it has, to what gathers its vectors."""


def inline(provider: Provider, texts: list[Any], run: Run, gathering: Gathering) -> Gathered:
    """What is gathered for texts of one chunk, in the calling thread: what `driven` does, without what it costs."""
    gathered = gathering(0, len(texts))
    run.recording.read(len(texts))
    provider.begun()
    failure: BaseException | None = None
    try:
        provider.started()
        chunk = prepared(texts, run.prompt, provider, gathered, run.known, last=True)
        if gathered.set_aside:
            run.advance(gathered.set_aside, gathered.tally)
        _embedded_here(chunk, provider, run)
        _left_over(chunk, provider, run)
        return run.finished(gathered)
    except BaseException as exc:
        failure = exc
        raise
    finally:
        provider.ended()
        run.ended(failure)


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
    read, live = 0, isinstance(reader, LiveReader)
    most = AHEAD + (provider.workers if live else 0)
    pieces: list[Future[_Begun]] = []
    provider.begun()
    preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
    workers = ThreadPoolExecutor(provider.workers, thread_name_prefix="vjaccel-embed", initializer=provider.started)
    failure: BaseException | None = None
    try:
        while not reader.ended or pieces:
            items = [] if reader.ended or len(pieces) > most else reader.next(wait=not pieces)
            if items:
                run.recording.read(len(items))
                gathered = gathering(read, len(items))
                pieces.append(preparing.submit(_begun, items, provider, gathered, run, reader.ended, workers))
                read += len(items)
            if pieces and (len(pieces) > most or not items):
                place = _done(pieces, ordered=ordered)
                if place is not None or reader.ended or not live:
                    first = _first_done(pieces, run) if place is None and not ordered else place or 0
                    yield _finished(_prepared(pieces.pop(first), run), provider, run, workers)
                else:
                    _wait(pieces, run, LOOK)  # and then see whether more has come
    except BaseException as exc:
        failure = exc
        raise
    finally:
        run.stop.set()
        provider.halt()
        reader.close()
        preparing.shutdown(wait=True, cancel_futures=True)
        workers.shutdown(wait=True, cancel_futures=True)
        provider.ended()
        run.ended(failure or reader.error)
    if reader.error is not None:
        raise reader.error


class _Begun(NamedTuple):
    """A chunk whose batches wait, are run, or are done.

    Attributes
    ----------
    done : queue
        How many texts each batch had that is done; from each worker, last, None, or what it has raised.
    workers : list of Future
        Each takes batches until there are no more.
    """

    chunk: Chunk
    done: SimpleQueue[int | BaseException | None]
    workers: list[Future[None]]


def _begun(
    items: list[Any], provider: Provider, gathered: Gathered, run: Run, last: bool, workers: ThreadPoolExecutor
) -> _Begun:
    """Prepare a chunk, and have its batches run: whether anybody asks for it or not, since others may wait for them."""
    chunk = prepared(items, run.prompt, provider, gathered, run.known, last=last)
    batches = planned(chunk, provider, run.tuner)
    rest = iter(batches)
    # The first is cut here and now, so that no worker waits for that when it comes to this chunk.
    shared, done = Shared(chain(list(islice(rest, 1)), rest)), SimpleQueue[int | BaseException | None]()

    def work() -> None:
        ended: BaseException | None = None
        try:
            while not run.stop.is_set() and (batch := shared.take()) is not None:
                done.put(_embedded(chunk, provider, run, batch))
        except BaseException as exc:
            ended = exc
        done.put(ended)

    needed = len(batches) if isinstance(batches, list) else len(chunk.valid)
    return _Begun(chunk, done, [workers.submit(work) for _ in range(min(provider.workers, needed))])


def _done(pieces: list[Future[_Begun]], *, ordered: bool) -> int | None:
    """Which of them can be given out without waiting."""
    for place, piece in enumerate(pieces[:1] if ordered else pieces):
        if piece.done() and all(worker.done() for worker in piece.result().workers):
            return place
    return None


def _first_done(pieces: list[Future[_Begun]], run: Run) -> int:
    """Which of them is done first."""
    while (place := _done(pieces, ordered=False)) is None:
        _wait(pieces, run, BEAT)
    return place


def _wait(pieces: list[Future[_Begun]], run: Run, seconds: float) -> None:
    """Wait until something is done, or those seconds are over."""
    waiting: list[Future[Any]] = [piece for piece in pieces if not piece.done()]
    waiting += [worker for piece in pieces if piece.done() for worker in piece.result().workers if not worker.done()]
    if waiting:
        wait(waiting, timeout=seconds, return_when=FIRST_COMPLETED)
    if time.perf_counter() - run.looked > BEAT:
        run.advance(0, Tally())


def _prepared(piece: Future[_Begun], run: Run) -> _Begun:
    """A chunk once it is prepared, however long that takes."""
    while wait([piece], timeout=BEAT).not_done:
        run.advance(0, Tally())
    return piece.result()


def _finished(begun: _Begun, provider: Provider, run: Run, workers: ThreadPoolExecutor) -> Gathered:
    gathered = begun.chunk.gathered
    if gathered.set_aside:
        run.advance(gathered.set_aside, gathered.tally)
    working = len(begun.workers)
    while working:
        try:
            done = begun.done.get(timeout=BEAT)
        except Empty:
            run.advance(0, gathered.tally)
            continue
        if isinstance(done, BaseException):
            raise done
        if done is None:
            working -= 1
        else:
            run.advance(done, gathered.tally)
            run.check(gathered)
    if run.failure is not None and not gathered.settled(begun.chunk.valid):
        raise run.failure  # of another chunk, because of which batches of this one were not begun
    if run.known.lookup is not None and run.known.lookup.waits(gathered):
        # In a worker's thread, since it may have batches to embed.
        workers.submit(_left_over, begun.chunk, provider, run).result()
    return run.finished(gathered)


def _embedded(chunk: Chunk, provider: Provider, run: Run, batch: Batch) -> int:
    try:
        stopped = partial(run.stopped, chunk.gathered)
        return embedded(chunk, batch, run.prompt, provider, run.tuner, run.known.lookup, stopped)
    except BaseException as exc:
        run.failure = run.failure or exc
        run.stop.set()
        raise


def _embedded_here(chunk: Chunk, provider: Provider, run: Run) -> None:
    for batch in planned(chunk, provider, run.tuner):
        run.advance(_embedded(chunk, provider, run, batch), chunk.gathered.tally)
        run.check(chunk.gathered)


def _left_over(chunk: Chunk, provider: Provider, run: Run) -> None:
    """Embed what another run was to, and has not."""
    gathered = chunk.gathered
    while run.known.lookup is not None and run.known.lookup.waits(gathered):
        before = gathered.looked_up
        rest = left_over(chunk.texts, run.prompt, provider, gathered, run.known, run.stop)
        if gathered.looked_up > before:
            run.advance(gathered.looked_up - before, gathered.tally)
        if rest is not None:
            _embedded_here(rest, provider, run)
