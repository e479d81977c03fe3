"""A run on a cluster, event by event: workers that start, fail and are slow, one driver, and a limit that they may share.

What the library decides is asked of the library: the size of shards, the groups of rows after deaths, when a run is given up,
each worker's share of a limit, and when a request may be sent. How Ray Data deals is modelled: shards in their order, each
worker has up to `AHEAD` of them, and those of a worker that dies wait until it is back; where `Pace` lets shards go, one more
worker when all have so many, and one fewer when there are not enough for all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import simpy

from benchmarks.scale.limited import Limit, OfAll, SharedLog, begun
from vjaccel.cluster import Workers
from vjaccel.embedding.limits import Rates, RatesPerMinute, Use
from vjaccel.engines.dealing import Absence, dealt, groups_of
from vjaccel.engines.ray_model import CLUSTER_SECONDS
from vjaccel.engines.ray_pace import AHEAD, IDLE, Pace

__all__ = ["Outcome", "Plan", "simulated"]

Events = Generator[simpy.Event, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run; rates are of tokens or rows a second, times are seconds.

    Attributes
    ----------
    tokens : float
        Of each text.
    speed : float
        Tokens a second of a worker; where there is a limit, of one request.
    spread : float
        Standard deviation of the logarithm of the workers' speeds.
    slow, slowness : float
        The share of workers that are so many times slower, for as long as the run takes.
    start : float
        Until a worker works.
    failure, away : float
        The mean time between failures of one worker, and for how long it is gone then.
    killed : tuple of float
        When the first worker fails besides, counted from the first worker's start.
    batch : int
        Tokens of a batch: what is done of one that a failure ends is lost.
    shard_rows : int or None
        By default what the library has.
    begin, read : float
        Until rows are read, and rows a second that are.
    take_in, merge : float
        Rows a second that the driver takes in of shards that are done, and that it puts together at the end.
    least : int or None
        Workers at first, where there are more, up to `workers`, only as long as a shared limit feeds them; None where all are
        there from the first.
    """

    texts: int
    tokens: float
    workers: int
    speed: float
    spread: float = 0.0
    slow: float = 0.0
    slowness: float = 4.0
    start: float = 0.0
    failure: float = math.inf
    away: float = 0.0
    killed: tuple[float, ...] = ()
    batch: int = 2048
    shard_rows: int | None = None
    begin: float = 0.0
    read: float = math.inf
    take_in: float = math.inf
    merge: float = math.inf
    limit: Limit | None = None
    least: int | None = None
    seed: int = 0


class Outcome(NamedTuple):
    """What became of a run.

    Attributes
    ----------
    seconds, embedding, merging : float
        Of all, from the first worker's start until all shards were taken in, and of putting the output together.
    worker_seconds : float
        For which workers were there while there was embedding, all together.
    utilisation : float
        The share of that which brought vectors that were kept.
    repeated : float
        Work that was lost and done again, as a share of all that was asked.
    failures : int
        Of workers.
    given_up : int
        Texts that were taken for what kills workers.
    finished : bool
        False where it ended as no worker was there for too long.
    asks : int
        Questions to the limit.
    driver : float
        The share of the embedding's time in which the driver took shards in.
    """

    seconds: float
    embedding: float
    merging: float
    worker_seconds: float
    utilisation: float
    repeated: float
    failures: int
    given_up: int
    finished: bool
    asks: int
    driver: float


@dataclass(slots=True, eq=False)
class _Shard:
    settled: np.ndarray
    deaths: int = 0
    in_hand: np.ndarray | None = None
    waited: float = 0.0
    busy: float = 0.0


@dataclass(slots=True, eq=False)
class _Worker:
    speed: float
    rng: np.random.Generator
    fails_at: float = math.inf
    shards: deque[_Shard] = field(default_factory=deque)
    there: bool = False
    begun: float = 0.0
    more: simpy.Event | None = None
    rates: Rates | None = None
    limits: RatesPerMinute = field(default_factory=RatesPerMinute)


def simulated(plan: Plan) -> Outcome:
    """What becomes of a run that is as planned; the same for the same seed."""
    if plan.least is None:
        return _Run(plan).outcome()
    with TemporaryDirectory() as folder:
        return _Following(plan, plan.least, Path(folder)).outcome()


class _Run:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._env = env = simpy.Environment()
        starts = dealt(plan.texts, Workers(plan.workers, plan.workers), plan.shard_rows)
        self._waiting: deque[int] = deque(np.diff(starts).tolist())
        self._left = len(self._waiting)
        self._done: simpy.Store = simpy.Store(env)
        self._all_taken, self._ended = env.event(), False
        self._useful = self._lost = self._driver = 0.0
        self._failures = self._given_up = 0
        rng = np.random.default_rng(plan.seed)
        speeds = plan.speed * np.exp(plan.spread * rng.standard_normal(plan.workers) - plan.spread**2 / 2)
        speeds[: round(plan.slow * plan.workers)] /= plan.slowness
        self._speeds: list[float] = speeds.tolist()
        self._log = None if plan.limit is None else SharedLog(plan.limit.ask)
        self._there: list[_Worker] = []
        self._count, self._held = 0, 0.0

    def outcome(self) -> Outcome:
        plan, env = self._plan, self._env
        read = plan.texts / plan.read
        if self._left:
            self._begin()
            env.run(until=self._all_taken)
        for worker in self._there:
            self._left_by(worker)
        embedding, merging = env.now, plan.texts / plan.merge
        return Outcome(
            plan.begin + read + embedding + merging, embedding, merging,
            self._held, self._useful / self._held if embedding else 1.0,
            self._lost / (plan.texts * plan.tokens) if plan.texts else 0.0,
            self._failures, self._given_up, not self._ended,
            0 if self._log is None else self._log.asks,
            self._driver / embedding if embedding else 0.0,
        )  # fmt: skip

    def _begin(self) -> None:
        for _ in range(self._at_first):
            self._comes()
        self._deal_first()
        self._env.process(self._drives())
        self._env.process(self._looks())

    def _comes(self) -> None:
        """One more worker begins."""
        plan, env, limit = self._plan, self._env, self._plan.limit
        number = self._count
        worker = _Worker(self._speeds[number % plan.workers], np.random.default_rng([plan.seed, number]), begun=env.now)
        if limit is not None and self._log is not None:
            worker.rates = OfAll(self._log, lambda: env.now) if limit.shared else Rates(lambda: env.now)
            worker.limits = limit.of_one(plan.workers)
        self._count += 1
        self._there.append(worker)
        env.process(self._works(worker))

    def _left_by(self, worker: _Worker) -> None:
        self._held += self._env.now - worker.begun

    # Dealing

    @property
    def _at_first(self) -> int:
        return self._plan.workers

    def _deal_first(self) -> None:
        for _ in range(AHEAD):
            for worker in self._there:
                self._deal(worker)

    def _deal(self, worker: _Worker) -> None:
        if self._waiting:
            worker.shards.append(_Shard(np.zeros(self._waiting.popleft(), np.bool_)))

    # The driver

    def _drives(self) -> Events:
        for _ in range(self._left):
            shard = yield self._done.get()
            seconds = len(shard.settled) / self._plan.take_in
            self._driver += seconds
            yield self._env.timeout(seconds)
            self._taken(shard)
        self._all_taken.succeed()

    def _taken(self, shard: _Shard) -> None:
        """The driver has taken in a shard."""

    def _look(self) -> None:
        """A second has gone by."""

    def _looks(self) -> Events:
        absence = Absence(self._env.now)
        while not self._all_taken.triggered:
            yield self._env.timeout(CLUSTER_SECONDS)
            # Where workers are still to come there are nodes for them.
            there = self._env.now <= self._plan.start or any(worker.there for worker in self._there)
            if absence.too_long(self._env.now, there=there) and not self._all_taken.triggered:
                self._ended = True
                self._all_taken.succeed()
            self._look()

    # Workers

    def _works(self, worker: _Worker) -> Events:
        yield self._env.timeout(self._plan.start)
        self._back(worker)
        while True:
            if not worker.shards:
                worker.more = self._env.event()
                yield worker.more
            shard = worker.shards[0]
            whole = yield from self._embeds(worker, shard)
            if not whole:
                worker.there = False
                self._failures += 1
                yield self._env.timeout(self._plan.away)
                self._back(worker)
                continue
            worker.shards.popleft()
            self._deal(worker)
            self._done.put(shard)

    def _back(self, worker: _Worker) -> None:
        worker.there = True
        failure, now = self._plan.failure, self._env.now
        worker.fails_at = now + worker.rng.exponential(failure) if failure < math.inf else math.inf
        if worker is self._there[0]:
            worker.fails_at = min([worker.fails_at, *(at for at in self._plan.killed if at > now)])

    def _embeds(self, worker: _Worker, shard: _Shard) -> Events:
        """Whether the shard has come to its end; False where the worker has failed before."""
        deaths, suspects = 0, None
        if shard.in_hand is not None:
            deaths, suspects = shard.deaths + 1, shard.in_hand[~shard.settled[shard.in_hand]]
        failed, shard.deaths, groups = groups_of(np.flatnonzero(~shard.settled), deaths, suspects)
        if failed is not None:
            shard.settled[failed] = True
            self._given_up += 1
        embed = self._at_its_speed if worker.rates is None else self._by_requests
        for rows in groups:
            if len(rows):
                shard.in_hand = rows
                kept = yield from embed(worker, len(rows))
                shard.settled[rows[kept]] = True
                if not kept.all():
                    return False
                shard.in_hand = None
        return True

    def _at_its_speed(self, worker: _Worker, rows: int) -> Events:
        """Which of so many rows were embedded, bool (rows,), until all were or the worker failed."""
        plan, tokens = self._plan, rows * self._plan.tokens
        seconds = tokens / worker.speed
        if self._env.now + seconds <= worker.fails_at:
            yield self._env.timeout(seconds)
            self._useful += seconds
            return np.ones(rows, np.bool_)
        made = (worker.fails_at - self._env.now) * worker.speed
        yield self._env.timeout(worker.fails_at - self._env.now)
        done = min(rows - 1, int(made // plan.batch * plan.batch / plan.tokens))
        self._useful += done * plan.tokens / worker.speed
        self._lost += made - done * plan.tokens
        return np.arange(rows) < done

    def _by_requests(self, worker: _Worker, rows: int) -> Events:
        """The same, by several requests at once."""
        assert self._plan.limit is not None
        each = max(1, int(self._plan.batch / self._plan.tokens))
        batches, kept = deque(range(0, rows, each)), np.zeros(rows, np.bool_)
        at_once = self._plan.limit.at_once
        yield simpy.AllOf(
            self._env, [self._env.process(self._sends(worker, batches, each, kept)) for _ in range(at_once)]
        )
        return kept

    def _sends(self, worker: _Worker, batches: deque[int], each: int, kept: np.ndarray) -> Events:
        rates, limit = worker.rates, self._plan.limit
        assert rates is not None
        assert limit is not None
        while batches and self._env.now < worker.fails_at:
            first = batches.popleft()
            stop = min(first + each, len(kept))
            tokens = round((stop - first) * self._plan.tokens)
            asked = self._env.now
            use = yield from begun(self._env, rates, tokens, worker.limits, worker.fails_at)
            worker.shards[0].waited += self._env.now - asked
            if use is None:
                return
            seconds = tokens / worker.speed
            if self._env.now + seconds > worker.fails_at:
                self._lost += (worker.fails_at - self._env.now) * worker.speed
                self._env.process(self._forgotten(rates, use, limit.longest))
                yield self._env.timeout(worker.fails_at - self._env.now)
                return
            yield self._env.timeout(seconds)
            rates.ended(use, tokens)
            worker.shards[0].busy += seconds
            self._useful += seconds / limit.at_once
            kept[first:stop] = True

    def _forgotten(self, rates: Rates, use: Use, longest: float) -> Events:
        """A use of which nobody tells that it has ended."""
        yield self._env.timeout(longest)
        rates.ended(use, None)


class _Following(_Run):
    """A run whose workers follow a limit that they share, as `Pace` lets shards go and Ray Data's pool follows these."""

    def __init__(self, plan: Plan, least: int, folder: Path) -> None:
        super().__init__(plan)
        self._least = least
        self._pace = Pace(folder, Workers(least, plan.workers), self._left, lambda: self._env.now)
        self._dealt = self._taken_in = 0
        self._waited = self._busy = 0.0

    @property
    def _at_first(self) -> int:
        return self._least

    def _deal_first(self) -> None:
        released = int(self._pace.path.read_text())
        while self._waiting and self._dealt < released:
            worker = min(self._there, key=lambda worker: len(worker.shards))
            if len(worker.shards) >= AHEAD:
                return
            super()._deal(worker)
            self._dealt += 1
            if worker.more is not None and not worker.more.triggered:
                worker.more.succeed()

    def _deal(self, worker: _Worker) -> None:
        self._deal_first()

    def _taken(self, shard: _Shard) -> None:
        self._taken_in += 1
        self._waited, self._busy = self._waited + shard.waited, self._busy + shard.busy
        self._pace.look(self._taken_in, self._waited, self._busy)
        self._deal_first()

    def _look(self) -> None:
        tasks, there = sum(len(worker.shards) for worker in self._there), len(self._there)
        if tasks >= AHEAD * there and there < self._plan.workers and self._waiting:
            self._comes()
        elif tasks <= IDLE * there and there > self._least:
            idle = next((worker for worker in reversed(self._there) if not worker.shards), None)
            if idle is not None:
                self._there.remove(idle)
                self._left_by(idle)
        self._deal_first()
