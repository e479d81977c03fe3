"""How many workers are worth having where they share a limit: who waits for it is not served by another who waits.

Shards are let go as many at a time as keep so many workers busy, and Ray Data's pool of workers follows what it sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from vjaccel.cluster import Workers
from vjaccel.engines.exchange import FILE_SECONDS, Exchange
from vjaccel.engines.shards import STOP
from vjaccel.io import whole_file

__all__ = ["AHEAD", "RELEASED", "Pace", "held_back", "wanted"]

LITTLE = 0.5
"""Seconds that batches may wait for each that they take, where more workers still bring something: a worker's own requests at
once, which begin with one, have some of them wait too."""

EVIDENCE = 30.0
"""Seconds of batches, for each worker, by which it is judged."""

WINDOW = 60.0
"""Seconds by which workers who share a limit are judged: one that is spent at once lets all go, and then none."""

AGAIN = 120.0
"""Seconds without waiting for limits before there are more workers again: limits are of minutes, and let go in bursts."""

RELEASED = "released"
"""A file among the shards' journals: how many of them may go."""

AHEAD = 2
"""Shards that a worker may have: the one in hand, and the next."""

IDLE = 0.75
"""The share of workers that have something to do, up to which one is let go."""


def wanted(now: int, workers: Workers, waited: float, busy: float) -> int:
    """How many workers are worth having, of what they did since `now` of them were.

    Parameters
    ----------
    waited, busy : float
        Seconds that their batches waited for limits, and took beside that.

    Examples
    --------
    >>> wanted(2, Workers(1, 8), waited=1.0, busy=50.0)
    4
    >>> wanted(4, Workers(1, 8), waited=50.0, busy=1.0)
    2
    """
    if waited > busy:
        return max(workers.least, now // 2)
    if waited <= LITTLE * busy:
        return 2 * now if workers.most is None else min(workers.most, 2 * now)
    return now


class Pace:
    """Lets shards go: how many, is written into a file in `folder`, which all nodes see.

    Attributes
    ----------
    path : Path
        That file.
    """

    def __init__(
        self, folder: Path, workers: Workers, shards: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = folder / RELEASED
        self._workers = workers
        self._shards = shards
        self._wanted = workers.least
        self._clock = clock
        self._held: float | None = None
        self._more = True
        self._waited = self._busy = self._marked = 0.0
        self._released = self._before = 0
        self._release(0)

    def look(self, done: int, waited: float, busy: float) -> None:
        """Let go what is to follow, when `done` shards are, and all batches have `waited` and been `busy` so many seconds."""
        if done < self._before:
            self._mark(waited, busy)
        since = waited - self._waited, busy - self._busy
        whole = self._held is None or self._clock() - self._marked >= WINDOW
        if sum(since) >= EVIDENCE * self._wanted and whole:
            now = wanted(self._wanted, self._workers, *since)
            if since[0] > since[1]:
                self._held = self._clock()
            if self._held is not None and self._clock() - self._held < AGAIN:
                now = min(now, self._wanted)
                self._more = False
            else:
                self._more = True
            if now != self._wanted and self._held is not None:
                # Shards that were let go before tell of as many workers as there were then.
                self._before = self._released
            self._wanted = now
            self._mark(waited, busy)
        self._release(done)

    def _mark(self, waited: float, busy: float) -> None:
        """Judge by what comes from now on."""
        self._waited, self._busy, self._marked = waited, busy, self._clock()

    def _release(self, done: int) -> None:
        ahead = AHEAD * self._wanted - 1 if self._more else self._wanted
        self._released = max(self._released, min(self._shards, done + ahead))
        with whole_file(self.path) as file:
            file.write(str(min(self._shards, done + ahead)).encode())


def held_back(ray: Any, dataset: Any, exchange: Exchange, path: Path) -> Any:
    """`dataset`, a row a shard, each held back until `path` says that it may go.

    The pool is then to have one more worker when all have two shards, and one fewer when not each has one.
    """
    context = ray.data.DataContext.get_current().autoscaling_config
    context.actor_pool_util_upscaling_threshold = float(AHEAD)
    context.actor_pool_util_downscaling_threshold = IDLE
    return dataset.map_batches(
        partial(_held_back, exchange=exchange, path=path),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0,
        concurrency=1,
    )


def _held_back(batch: Any, exchange: Exchange, path: Path) -> Any:
    """`batch`, the one of a shard, when that is let go."""
    number = batch["number"][0].as_py()
    # The first goes at once: whoever has it says why it cannot do it. What a call that was stopped has left at `path` is gone
    # when there is something to do.
    if number and exchange.waited_for() is not None:
        while number >= _released(path) and not path.with_name(STOP).exists():
            time.sleep(FILE_SECONDS)
    return batch


def _released(path: Path) -> int:
    try:
        return int(path.read_text())
    except OSError:
        return 0
