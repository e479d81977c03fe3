"""What is said of a processor's work while it goes on: lines of progress, and warnings where something is wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import psutil

from vjaccel.batch.load import LITTLE_MEMORY
from vjaccel.batch.responses import Health, ProcessorStatistics
from vjaccel.config import MonitoringConfig

__all__ = ["Watch", "judged", "memory_left"]

STANDS_STILL = 60.0
"""Seconds without a batch coming to its end, while some are under way, after which work counts as standing still."""

_log = logging.getLogger("vjaccel.batch")


def judged(*, active: int, still: float, memory_left: float, dead: int) -> Health:
    """What of a processor is wrong, if anything.

    Parameters
    ----------
    active : int
        Requests under way.
    still : float
        Seconds since a batch ended.
    memory_left : float
        The share of the machine's memory.
    dead : int
        Worker threads that ought to be there and are not.

    Examples
    --------
    >>> judged(active=1, still=90.0, memory_left=0.5, dead=0).problems
    ('no batch has ended for 90 s, and 1 requests are under way',)
    """
    problems = []
    if active and still > STANDS_STILL:
        problems.append(f"no batch has ended for {still:.0f} s, and {active} requests are under way")
    if memory_left < LITTLE_MEMORY:
        problems.append(f"{memory_left:.1%} of the memory is left")
    if dead:
        problems.append(f"{dead} worker threads have died and were not replaced")
    return Health(not problems, tuple(problems))


class Watch:
    """A thread that looks now and then, where the configuration wants it."""

    def __init__(
        self, config: MonitoringConfig, statistics: Callable[[], ProcessorStatistics], health: Callable[[], Health]
    ) -> None:
        self._statistics, self._health = statistics, health
        self._ended = threading.Event()
        wanted = [
            (config.log_interval, self._say) if config.enable_progress_logs else None,
            (config.health_check_interval, self._check) if config.enable_health_check else None,
        ]
        self._due = [one for one in wanted if one is not None]
        self._thread: threading.Thread | None = None
        if self._due:
            self._thread = threading.Thread(target=self._run, name="vjaccel-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        next_ = [started + interval for interval, _ in self._due]
        while not self._ended.wait(max(0.0, min(next_) - time.monotonic())):
            for place, (interval, look) in enumerate(self._due):
                if time.monotonic() >= next_[place]:
                    next_[place] = time.monotonic() + interval
                    look()

    def _say(self) -> None:
        found = self._statistics()
        if found.active_batches:
            _log.info(
                "%d requests under way, %d done with %d items, %s items/s, %.0f MB",
                found.active_batches, found.total_batches, found.total_items,
                "no" if found.average_throughput is None else f"{found.average_throughput:,.0f}",
                found.memory_usage / 1e6,
            )  # fmt: skip

    def _check(self) -> None:
        found = self._health()
        if not found.ok:
            _log.warning("%s", "; ".join(found.problems))


def memory_left() -> float:
    """The share of this machine's memory that is free."""
    found = psutil.virtual_memory()
    return float(found.available / found.total)
