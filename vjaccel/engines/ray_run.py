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
from vjaccel.engines.shards import Shard, cut, shard_path, take_in
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
    shards = cut(wanted, pool.starts)
    if not shards:
        pool.close()
        return None, under_way.before
    pool.folder.mkdir(exist_ok=True)
    pool.give(under_way.described, under_way.asked.max_errors, shards)
    followed = _Followed(pool, shards, under_way, show, copies)
    failure: BaseException | None = None
    try:
        followed.to_the_end()
    except BaseException as exc:
        failure = exc
        raise
    finally:
        pool.close()
        followed.ended(failure)
    return followed.statistics(), followed.recording()


class _Followed:
    """What is known of a run while workers embed its shards, and kept in its journal."""

    def __init__(
        self, pool: Pool, shards: list[Shard], under_way: UnderWay, show: Callable[[Progress, int], object], copies: int
    ) -> None:
        self._pool, self._under_way, self._show = pool, under_way, show
        self._sizes = {shard.start: len(shard.rows) for shard in shards}
        self._rows = sum(self._sizes.values())
        self._began, self._clock = datetime.now(UTC), time.perf_counter()
        workers, model, inputs = pool.spread.workers, pool.model, under_way.inputs
        at_once = model.workers * (workers.most or workers.least)
        # What is kept is of shards that are done; what is shown has the others too, which a run that goes on takes in itself.
        self._kept, self._live = Recording(model.model, at_once, tells=False), Recording(model.model, at_once)
        for recording in (self._kept, self._live):
            recording.expects(inputs.rows, under_way.settled)
        self._live.began()
        for recording in (self._kept, self._live):
            recording.read(self._rows)
            recording.repeated(copies)
        self._shown = Shown(pool.folder, self._sizes, self._live, JOURNALS_SECONDS)
        shared = pool.options.get("shared_limits") is not None
        self._pace = Pace(pool.folder, workers, len(shards)) if shared else None
        self._failures = Counter[str]()
        self._taken = set[int]()
        self._last: str | None = None

    def to_the_end(self) -> None:
        """Take in what workers have done, until that is all."""
        self._under_way.journal.record(self.recording())
        self._tell()
        for each in self._pool.done():
            if self._shown.look():
                self._tell()
            if each is None:
                continue
            if each.failure is not None:
                raise _named(each, self._failures)
            if each.start not in self._taken:  # or Ray had lost that it was done
                self._take(each)
            if len(self._taken) == len(self._sizes):
                return
        raise ClusterError(
            f"workers have ended with {len(self._sizes) - len(self._taken):,} shards not done: {GOES_ON}"
        )

    def _take(self, each: Done) -> None:
        self._taken.add(each.start)
        part = None if each.recording is None else Recording.from_dict(each.recording)
        own = shard_path(self._pool.folder, each.start)
        journal, most = self._under_way.journal, self._under_way.asked.max_errors
        self._failures.update(take_in(journal, own, partial(self._with_part, own.name, part)))
        self._shown.ended(each.start, part)
        if most is not None and self._failures.total() > most:
            raise TooManyErrors(self._failures, most, _first(journal))
        self._tell()

    def _with_part(self, name: str, part: Recording | None) -> Recording:
        self._last = name
        if part is not None:
            self._kept.take_in(part)
        return self.recording()

    def _tell(self) -> None:
        live = self._live
        if self._pace is not None:
            values = live.timeline.values
            self._pace.look(len(self._taken), values["waited"].sum(), values["batch_seconds"].sum())
        rows, seconds = self._under_way.inputs.rows, time.perf_counter() - self._clock
        self._show(Progress(self._shown.done, rows, live.tokens_at_least, seconds, live), rows - self._rows)

    def ended(self, failure: BaseException | None) -> None:
        """Note that it is over, and why where all is not done."""
        why = None if failure is None else stopping(failure)
        for recording in (self._kept, self._live):
            recording.ended(failed=isinstance(failure, Exception), stopped=failure is not None, stopped_by=why)
        if failure is not None:
            with suppress(OutputError):  # nobody's vectors depend on it
                self._under_way.journal.record(self.recording(), self._last)

    def recording(self) -> Recording:
        """What the run was like, with that before."""
        before = self._under_way.before
        return self._kept if before is None else before.followed_by(self._kept)

    def statistics(self) -> EmbeddingStatistics:
        """Of this call."""
        used, seconds = self._kept.timeline.values, time.perf_counter() - self._clock
        peak, cpu = int(np.nan_to_num(used["memory_bytes"]).max(initial=0.0)), float(used["cpu_seconds"].sum())
        tally = Tally.of(self._kept, self._rows, self._failures)
        return tally.statistics(self._began, seconds, peak, cpu, self._kept.latencies)


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
