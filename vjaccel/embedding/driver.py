"""What drives the stages of a run: a thread that tokenises, a pool of threads that embed, and results in the texts' order.

While one chunk is embedded by the worker threads, the next is tokenised and its batches wait behind, so that no worker is
idle at a chunk's end; no more than that is held.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from queue import Empty
from typing import Any

import psutil

from vjaccel.embedding.batches import Batch
from vjaccel.embedding.devices import Device, usable
from vjaccel.embedding.gathered import Gathered
from vjaccel.embedding.pool import Begun, Pool
from vjaccel.embedding.reading import LiveReader, Reader
from vjaccel.embedding.result import DeviceStatistics, EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.run import Chunk, Interrupted, Known, embedded, left_over, planned, prepared, said
from vjaccel.embedding.tally import ByDevice, Tally
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

    def give_up(self, exc: BaseException) -> None:
        """Begin no more batches, because of what one has raised."""
        self.failure = self.failure or exc
        self.stop.set()

    def embed(self, device: Device, chunk: Chunk, batch: Batch) -> int:
        """Embed a batch, and say how many texts that were."""
        return embedded(chunk, batch, self.prompt, device, self.known.lookup, partial(self.stopped, chunk.gathered))

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
        found = self.tally.statistics(self.began, self._seconds(), self.peak_memory_bytes, self._used(), latencies)
        out = {name: did.taken_out for name, did in self.recording.devices.items() if did.taken_out is not None}
        if not out:
            return found
        failed = ByDevice({name: DeviceStatistics(0, 0, 0, 0.0, why) for name, why in out.items()})
        return replace(found, devices=dict(self.tally.devices + failed))

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


def inline(device: Device, texts: list[Any], run: Run, gathering: Gathering) -> Gathered:
    """What is gathered for texts of one chunk, in the calling thread: what `driven` does, without what it costs."""
    provider, gathered = device.provider, gathering(0, len(texts))
    run.recording.read(len(texts))
    provider.begun()
    failure: BaseException | None = None
    try:
        provider.started()
        chunk: Chunk | None = prepared(texts, run.prompt, provider, gathered, run.known, last=True)
        if gathered.set_aside:
            run.advance(gathered.set_aside, gathered.tally)
        while chunk is not None:
            for batch in planned(chunk, device):
                run.advance(_embedded(device, chunk, batch, run), gathered.tally)
                run.check(gathered)
            chunk = _left_over(chunk, device, run)
        return run.finished(gathered)
    except BaseException as exc:
        failure = exc
        raise
    finally:
        provider.ended()
        run.ended(failure)


def _embedded(device: Device, chunk: Chunk, batch: Batch, run: Run) -> int:
    try:
        return run.embed(device, chunk, batch)
    except Interrupted as exc:
        raise exc.reason from None  # there is no other device


def driven(
    devices: Sequence[Device],
    reader: Reader | LiveReader,
    run: Run,
    gathering: Gathering,
    *,
    ordered: bool = True,
) -> Generator[Gathered]:
    """What is gathered for each of the reader's pieces, each when all its batches are done.

    Closing the iterator cancels what waits, lets what runs end, and leaves no thread. When reading fails, what was read before
    is given out, and then that error is raised.

    Parameters
    ----------
    devices : sequence of Device
        The first one's provider prepares the texts for all.
    reader : Reader or LiveReader
        Gives the pieces.
    run : Run
        What it was asked, and where it is counted.
    gathering : callable
        Makes what gathers the vectors of a piece.
    ordered : bool
        In their order; otherwise as they are done.
    """
    read, live = 0, isinstance(reader, LiveReader)
    given, devices = devices, usable(devices)
    if len(given) > 1:
        run.recording.on_devices(device.name for device in devices)
        for device in given:
            if device.failed:
                run.recording.taken_out(device.name, device.failed, earlier=True)
    # A chunk may be no more than a batch of one of them.
    most = AHEAD + len(devices) - 1 + (sum(device.provider.workers for device in devices) if live else 0)
    pieces: list[Future[Begun]] = []
    for device in devices:
        device.provider.begun()
    preparing = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-prepare")
    pool = Pool(devices, run.embed, run.stop, run.give_up)
    failure: BaseException | None = None
    try:
        while not reader.ended or pieces:
            items = [] if reader.ended or len(pieces) > most else reader.next(wait=not pieces)
            if items:
                run.recording.read(len(items))
                gathered = gathering(read, len(items))
                pieces.append(preparing.submit(_begun, items, devices[0], gathered, run, reader.ended, pool))
                read += len(items)
            if pieces and (len(pieces) > most or not items):
                place = _done(pieces, ordered=ordered)
                if place is not None or reader.ended or not live:
                    first = _first_done(pieces, run) if place is None and not ordered else place or 0
                    yield _finished(_prepared(pieces.pop(first), run), devices[0], run, pool)
                else:
                    _wait(pieces, run, LOOK)  # and then see whether more has come
    except BaseException as exc:
        failure = exc
        raise
    finally:
        run.stop.set()
        for device in devices:
            device.provider.halt()
        reader.close()
        preparing.shutdown(wait=True, cancel_futures=True)
        pool.close()
        for device in devices:
            device.provider.ended()
        run.ended(failure or reader.error)
    if reader.error is not None:
        raise reader.error


def _begun(items: list[Any], device: Device, gathered: Gathered, run: Run, last: bool, pool: Pool) -> Begun:
    return pool.add(prepared(items, run.prompt, device.provider, gathered, run.known, last=last))


def _done(pieces: list[Future[Begun]], *, ordered: bool) -> int | None:
    """Which of them can be given out without waiting."""
    for place, piece in enumerate(pieces[:1] if ordered else pieces):
        if piece.done() and piece.result().finished.done():
            return place
    return None


def _first_done(pieces: list[Future[Begun]], run: Run) -> int:
    """Which of them is done first."""
    while (place := _done(pieces, ordered=False)) is None:
        _wait(pieces, run, BEAT)
    return place


def _wait(pieces: list[Future[Begun]], run: Run, seconds: float) -> None:
    """Wait until something is done, or those seconds are over."""
    futures: list[Future[Any]] = [piece.result().finished if piece.done() else piece for piece in pieces]
    waiting = [future for future in futures if not future.done()]
    if waiting:
        wait(waiting, timeout=seconds, return_when=FIRST_COMPLETED)
    if time.perf_counter() - run.looked > BEAT:
        run.advance(0, Tally())


def _prepared(piece: Future[Begun], run: Run) -> Begun:
    """A chunk once it is prepared, however long that takes."""
    while wait([piece], timeout=BEAT).not_done:
        run.advance(0, Tally())
    return piece.result()


def _finished(begun: Begun, device: Device, run: Run, pool: Pool) -> Gathered:
    gathered = begun.chunk.gathered
    if gathered.set_aside:
        run.advance(gathered.set_aside, gathered.tally)
    _followed(begun, run)
    if run.failure is not None and not gathered.settled(begun.chunk.valid):
        raise run.failure  # of another chunk, because of which batches of this one were not begun
    while (rest := _left_over(begun.chunk, device, run)) is not None:
        _followed(pool.add(rest), run)
    return run.finished(gathered)


def _followed(begun: Begun, run: Run) -> None:
    """Take batches into account as they are done, until all of them are."""
    gathered = begun.chunk.gathered
    while True:
        try:
            told = begun.told.get(timeout=BEAT)
        except Empty:
            run.advance(0, gathered.tally)
            continue
        if told is None:
            return
        if isinstance(told, BaseException):
            raise told
        run.advance(told, gathered.tally)
        run.check(gathered)


def _left_over(chunk: Chunk, device: Device, run: Run) -> Chunk | None:
    """What of a chunk another run was to embed, and has not; None where there is no more to wait for."""
    gathered = chunk.gathered
    while run.known.lookup is not None and run.known.lookup.waits(gathered):
        before = gathered.looked_up
        rest = left_over(chunk.texts, run.prompt, device.provider, gathered, run.known, run.stop)
        if gathered.looked_up > before:
            run.advance(gathered.looked_up - before, gathered.tally)
        if rest is not None:
            return rest
    return None
