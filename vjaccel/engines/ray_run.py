"""A run over files on a Ray cluster: Ray Data hands its shards to a pool of workers, and what they have done is taken in.

The journal, the output and its manifest are those of a run on one machine: this process writes them.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel import __version__
from vjaccel.cluster import Resources, Workers, alive, may_grow, on_every_node, said
from vjaccel.embedding import EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.driver import NAMED, stopping
from vjaccel.embedding.journal import Journal
from vjaccel.embedding.spread import options_of_one
from vjaccel.embedding.tally import Tally
from vjaccel.engines.dealing import GONE_SECONDS, Absence
from vjaccel.engines.files import Report, UnderWay, run_over, unsettled
from vjaccel.engines.ray_pace import Pace
from vjaccel.engines.ray_shown import Shown
from vjaccel.engines.ray_stream import ShardStream, done_shards
from vjaccel.engines.ray_worker import Done, RemoteModel, Work, check_node, described_model
from vjaccel.engines.shards import cut, shard_path, shards_path, stop_shards, take_in
from vjaccel.engines.standing import FileRun
from vjaccel.errors import ClusterError, OutputError, TooManyErrors
from vjaccel.io import Inputs
from vjaccel.telemetry import Recording

__all__ = ["RayRun", "embed_files_on_ray", "embedded_there", "known_model", "ready"]

LOOK_SECONDS = 1.0
"""After which the cluster is looked at where nothing comes."""

STOP_SECONDS = 8.0
"""How long workers may take to come to the end of their batches when the run is stopped."""

LOADING_SECONDS = 30.0
"""After which it is said that the model is waited for."""

GROWN_SECONDS = 900.0
"""How long an autoscaler may take to add a node."""

logger = logging.getLogger("vjaccel.engines")


class RayRun(NamedTuple):
    """How a run is spread.

    Attributes
    ----------
    shard_rows : int or None
        Rows that a worker does at once; by default by how many there are.
    """

    workers: Workers
    resources: Resources
    shard_rows: int | None = None


def embed_files_on_ray(
    ray: Any,
    inputs: Inputs,
    options: dict[str, Any],
    asked: FileRun,
    spread: RayRun,
    show: Callable[[Progress, int], object],
    begun: Callable[[int], object],
) -> Report:
    """What `embed_files` does, by workers in the cluster that `ray` is connected to, each with an `Embedder` of `options`.

    Raises
    ------
    ClusterError
        Nodes have not what is needed, or a worker has ended where none may.
    """
    own, model = ready(ray, inputs, options, asked.output, spread)

    def embed(under_way: UnderWay) -> tuple[EmbeddingStatistics | None, Recording | None]:
        wanted, copies = np.zeros(inputs.rows, np.bool_), 0
        for some in unsettled(under_way):
            wanted[some.start + some.wanted] = True
            copies += some.copies
        return embedded_there(ray, model, own, spread, show, under_way, wanted, copies)

    return run_over(inputs, model, asked, begun, embed)


def ready(
    ray: Any, inputs: Inputs, options: dict[str, Any], output: Path, spread: RayRun
) -> tuple[dict[str, Any], RemoteModel]:
    """The options of each worker's `Embedder`, and what is known of its model, once all nodes have what is needed.

    Raises
    ------
    ClusterError
        One has not, or the model cannot be loaded.
    """
    amounts = spread.resources.amounts
    own = options_of_one(options, spread.workers.most, amounts["CPU"], amounts.get("GPU", 0.0))
    with _probe(output) as probe:
        checks = (check_node, __version__, inputs, output.absolute(), probe)
        there: list[None] = []
        model = known_model(
            ray, own, spread.resources, lambda: there.extend(on_every_node(ray, spread.resources, *checks))
        ).asked_as(options["model"])
        if not there:  # a node has come for the model
            on_every_node(ray, spread.resources, *checks)
    return own, model


@contextmanager
def _probe(output: Path) -> Iterator[Path]:
    """A file beside the output, by which a node shows that it sees that folder."""
    path = output.absolute().with_name(f".{output.name}.{os.getpid()}.probe")
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def known_model(
    ray: Any, options: dict[str, Any], resources: Resources, meanwhile: Callable[[], object]
) -> RemoteModel:
    """What a worker knows of the model: once, so that one that cannot be loaded is said once.

    Where no node has `resources`, this is what makes an autoscaler add one. `meanwhile` is called while it is loaded, which
    takes seconds; what that raises goes first.

    Raises
    ------
    ClusterError
        The cluster has gone, or for too long no node has had room, or the worker has ended.
    VjaccelError
        What the worker has raised.
    """
    task = ray.remote(max_retries=0, **resources.options())(described_model)
    reference = task.remote(options)
    meanwhile()
    if not _somewhere(ray, resources):
        logger.warning("no node of the cluster has %s yet: waiting for its autoscaler to add one", resources)
    try:
        _wait_for(ray, reference, options["model"], resources)
        found = ray.get(reference)
    except ClusterError:
        raise
    except Exception as exc:
        raise ClusterError(f"a worker ended while it loaded {options['model']}: {said(exc)}") from exc
    if isinstance(found, RemoteModel):
        return found
    raise found


def _wait_for(ray: Any, reference: Any, model: str, resources: Resources) -> None:
    """Wait until a worker that loads the model has ended.

    Raises
    ------
    ClusterError
        The cluster has gone, or no node has room.
    """
    began, told = time.monotonic(), False
    absence = Absence(began)
    # By the second: where the cluster has gone, Ray would end this process without a word.
    while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
        now, there = time.monotonic(), _somewhere(ray, resources)
        patience = GROWN_SECONDS if may_grow(ray) else GONE_SECONDS
        if absence.too_long(now, there=there, patience=patience):
            ray.cancel(reference)
            raise ClusterError(f"no node with {resources} was there, or added to the cluster, within {patience:g} s")
        if there and not told and now - began > LOADING_SECONDS:
            told = True
            logger.warning(
                "no worker has %s yet: it is still being loaded, or waits for others to leave %s", model, resources
            )


def _somewhere(ray: Any, resources: Resources) -> bool:
    """Whether a node has room for a worker when it does nothing else."""
    return any(resources.fit(node["Resources"]) for node in alive(ray))


def embedded_there(
    ray: Any,
    model: RemoteModel,
    options: dict[str, Any],
    spread: RayRun,
    show: Callable[[Progress, int], object],
    under_way: UnderWay,
    wanted: np.ndarray,
    copies: int,
) -> tuple[EmbeddingStatistics | None, Recording | None]:
    """Have the rows that are `wanted`, bool (rows,), embedded into the run's journal; `copies` other rows have their texts.

    Raises
    ------
    ClusterError, TooManyErrors, and those of the workers
    """
    inputs, asked, run, journal, _, before = under_way
    shards = cut(wanted, spread.shard_rows)
    if not shards:
        return None, before
    folder = shards_path(asked.output.absolute())
    folder.mkdir(exist_ok=True)
    work = Work(options, inputs, folder, run, asked.max_errors, __version__)
    count, beside = int(wanted.sum()), inputs.rows - int(wanted.sum())
    failures = Counter[str]()
    began, clock = datetime.now(UTC), time.perf_counter()
    at_once = model.workers * (spread.workers.most or spread.workers.least)
    # What is kept is of shards that are done; what is shown has the others too, which a run that goes on takes in by itself.
    recording, live = Recording(model.model, at_once, count, tells=False), Recording(model.model, at_once, count)
    live.began()
    for each_of in (recording, live):
        each_of.read(count)
        each_of.repeated(copies)
        each_of.expects(inputs.rows, under_way.settled)
    failure: BaseException | None = None
    held, taken = ExitStack(), set[int]()
    last: str | None = None

    def so_far() -> Recording:
        return recording if before is None else before.followed_by(recording)

    def with_part(name: str, part: Recording | None) -> Recording:
        nonlocal last
        last = name
        if part is not None:
            recording.take_in(part)
        return so_far()

    try:
        pace = Pace(folder, spread.workers, len(shards)) if options.get("shared_limits") is not None else None
        shown = Shown(folder, {shard.start: len(shard.rows) for shard in shards}, live, LOOK_SECONDS)

        def tell() -> None:
            if pace is not None:
                values = live.timeline.values
                pace.look(len(taken), values["waited"].sum(), values["batch_seconds"].sum())
            seconds = time.perf_counter() - clock
            show(Progress(shown.done, inputs.rows, live.tokens_at_least, seconds, live), beside)

        journal.record(so_far())
        tell()
        stream = ShardStream(shards, work, spread.workers, spread.resources, None if pace is None else pace.path)
        results = held.enter_context(closing(_results(ray, stream)))
        for each in results:
            if shown.look():
                tell()
            if each is None:
                continue
            if each.failure is not None:
                raise _named(each, failures)
            if each.start in taken:
                continue  # it was done again, as Ray had lost that it was
            taken.add(each.start)
            part = None if each.recording is None else Recording.from_dict(each.recording)
            own = shard_path(folder, each.start)
            failures.update(take_in(journal, own, partial(with_part, own.name, part)))
            shown.ended(each.start, part)
            if asked.max_errors is not None and failures.total() > asked.max_errors:
                raise TooManyErrors(failures, asked.max_errors, _first(journal))
            tell()
    except BaseException as exc:
        failure = exc
        raise
    finally:
        held.close()
        why = None if failure is None else stopping(failure)
        for each_of in (recording, live):
            each_of.ended(failed=isinstance(failure, Exception), stopped=failure is not None, stopped_by=why)
        if failure is not None:
            with suppress(OutputError):  # nobody's vectors depend on it
                journal.record(so_far(), last)
    used, seconds = recording.timeline.values, time.perf_counter() - clock
    peak, cpu = int(np.nan_to_num(used["memory_bytes"]).max(initial=0.0)), float(used["cpu_seconds"].sum())
    tally = Tally.of(recording, count, failures)
    return tally.statistics(began, seconds, peak, cpu, recording.latencies), so_far()


def _results(ray: Any, stream: ShardStream) -> Generator[Done | None]:
    """What becomes of the shards, as they are done; None now and then while none is."""
    found: queue.SimpleQueue[Done | Exception | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def read() -> None:
        try:
            with closing(done_shards(ray, stream)) as done:
                for one in done:
                    found.put(pickle.loads(one))  # noqa: S301  # our own
                    if stopped.is_set():
                        return
            found.put(None)
        except Exception as exc:
            found.put(exc)

    # In a thread: whoever waits for Ray here could not be interrupted, and not look whether there is anybody left.
    reading = threading.Thread(target=read, name="vjaccel-ray", daemon=True)
    reading.start()
    try:
        absence = Absence(time.monotonic())
        while True:
            try:
                each = found.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                try:
                    there = _somewhere(ray, stream.resources)
                    patience = GROWN_SECONDS if may_grow(ray) else GONE_SECONDS
                except ClusterError as exc:
                    raise ClusterError(f"{exc}; {GOES_ON}") from exc
                if absence.too_long(time.monotonic(), there=there, patience=patience):
                    raise ClusterError(f"no node of the cluster has {stream.resources} any more: {GOES_ON}") from None
                yield None
                continue
            if each is None:
                return
            if isinstance(each, Exception):
                raise ClusterError(f"the cluster has failed: {said(each)}; {GOES_ON}") from each
            yield each
    finally:
        stopped.set()
        if reading.is_alive():
            stop_shards(stream.work.folder)
            reading.join(STOP_SECONDS)


GOES_ON = "what is done is kept, and the same command goes on"


def _named(each: Done, failures: Counter[str]) -> Exception:
    """What a worker has raised; of too many errors all that there were, and rows of the files."""
    exc = each.failure
    assert exc is not None
    if not isinstance(exc, TooManyErrors):
        return exc
    errors = [replace(error, index=each.start + error.index) for error in exc.errors]
    return TooManyErrors(failures + exc.failures, exc.max_errors, errors)


def _first(journal: Journal) -> list[ItemError]:
    return [ItemError(row, *why) for row, why in sorted(journal.errors().items())[:NAMED]]
