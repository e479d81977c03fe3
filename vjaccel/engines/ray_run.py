"""A run over files on a Ray cluster: Ray Data hands its shards to a pool of workers, and what they have done is taken in.

The journal, the output and its manifest are those of a run on one machine: this process writes them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from vjaccel.embedding import EmbeddingStatistics, ItemError, Progress
from vjaccel.embedding.driver import NAMED, stopping
from vjaccel.embedding.journal import Journal
from vjaccel.embedding.tally import Tally
from vjaccel.engines.files import Report, UnderWay, run_over, unsettled
from vjaccel.engines.ray_pace import Pace
from vjaccel.engines.ray_pool import GOES_ON, Pool, RayRun, pool_for
from vjaccel.engines.ray_shown import Shown
from vjaccel.engines.ray_worker import Done
from vjaccel.engines.shards import cut, shard_path, take_in
from vjaccel.engines.standing import FileRun
from vjaccel.errors import ClusterError, OutputError, TooManyErrors
from vjaccel.io import Inputs
from vjaccel.telemetry import Recording

__all__ = ["embed_files_on_ray", "embedded_there"]

JOURNALS_SECONDS = 1.0
"""After which the shards' journals are looked at again."""


def embed_files_on_ray(
    ray: Any,
    inputs: Inputs,
    options: dict[str, Any],
    asked: FileRun,
    spread: RayRun,
    show: Callable[[Progress, int], object],
    when_kept: Callable[[int], object],
) -> Report:
    """What `embed_files` does, by workers in the cluster that `ray` is connected to, each with an `Embedder` of `options`.

    Raises
    ------
    ClusterError
        Nodes have not what is needed, or a worker has ended where none may.
    """
    with pool_for(ray, inputs, options, asked.output, spread) as pool:

        def embed(under_way: UnderWay) -> tuple[EmbeddingStatistics | None, Recording | None]:
            wanted, copies = np.zeros(inputs.rows, np.bool_), 0
            for some in unsettled(under_way):
                wanted[some.start + some.wanted] = True
                copies += some.copies
            return embedded_there(pool, show, under_way, wanted, copies)

        return run_over(inputs, pool.model, asked, when_kept, embed)


def embedded_there(
    pool: Pool,
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
    shards, workers, model = cut(wanted, pool.starts), pool.spread.workers, pool.model
    if not shards:
        pool.close()
        return None, before
    folder = pool.folder
    folder.mkdir(exist_ok=True)
    pool.give(run, asked.max_errors, shards)
    count, beside = int(wanted.sum()), inputs.rows - int(wanted.sum())
    failures = Counter[str]()
    began, clock = datetime.now(UTC), time.perf_counter()
    at_once = model.workers * (workers.most or workers.least)
    # What is kept is of shards that are done; what is shown has the others too, which a run that goes on takes in by itself.
    recording, live = Recording(model.model, at_once, tells=False), Recording(model.model, at_once)
    for each_of in (recording, live):
        each_of.expects(inputs.rows, under_way.settled)
    live.began()
    for each_of in (recording, live):
        each_of.read(count)
        each_of.repeated(copies)
    failure: BaseException | None = None
    taken = set[int]()
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
        pace = Pace(folder, workers, len(shards)) if pool.options.get("shared_limits") is not None else None
        shown = Shown(folder, {shard.start: len(shard.rows) for shard in shards}, live, JOURNALS_SECONDS)

        def tell() -> None:
            if pace is not None:
                values = live.timeline.values
                pace.look(len(taken), values["waited"].sum(), values["batch_seconds"].sum())
            seconds = time.perf_counter() - clock
            show(Progress(shown.done, inputs.rows, live.tokens_at_least, seconds, live), beside)

        journal.record(so_far())
        tell()
        for each in pool.done():
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
            if len(taken) == len(shards):
                break
        else:
            raise ClusterError(f"workers have ended with {len(shards) - len(taken):,} shards not done: {GOES_ON}")
    except BaseException as exc:
        failure = exc
        raise
    finally:
        pool.close()
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
