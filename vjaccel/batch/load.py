"""How many batches at once pay: decided from what the processors and the memory of this machine are doing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

__all__ = ["Load", "Reading", "allowed", "processors"]

SATURATED, IDLE = 0.95, 0.85
"""Shares of the processors' time: from the first on another batch finds no processor, below the second it does."""
LITTLE_MEMORY = 0.05
"""The share of the memory that is left to the system."""


class Reading(NamedTuple):
    """What was seen since the reading before.

    Attributes
    ----------
    processors : int
        Those that this process may use.
    busy : float
        The share of their time that was used, by anyone.
    others : float
        How many of them other processes kept busy.
    memory_left : float
        The share of the memory that is free.
    """

    processors: int
    busy: float
    others: float
    memory_left: float


def allowed(before: int, most: int, reading: Reading, waiting: int) -> int:
    """Batches that may run at once from now on, where `before` could, `waiting` are not begun, and `most` are asked for.

    Where every processor is busy, one fewer at a time until there are as many as others leave processors; where some are not
    (the batches wait for a network, or others went away), one more at a time. Where memory runs out, half.

    Examples
    --------
    >>> allowed(2, 4, Reading(2, busy=1.0, others=1.0, memory_left=0.5), waiting=9)
    1
    >>> allowed(1, 4, Reading(2, busy=0.5, others=0.0, memory_left=0.5), waiting=9)
    2
    """
    if reading.memory_left < LITTLE_MEMORY:
        return max(1, before // 2)
    if reading.busy >= SATURATED:
        free = max(1, round(reading.processors - reading.others))
        return min(before, most, max(free, before - 1))
    if reading.busy < IDLE and waiting:
        return min(most, before + 1)
    return min(before, most)


def processors() -> list[int]:
    """The numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Load:
    """Reads the machine, by psutil."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._process = psutil.Process()
        self._before = self._used()

    def reading(self) -> Reading:
        """What was seen since the last call."""
        at, busy, own = self._used()
        seconds = max(at - self._before[0], 1e-3)
        used, mine = (busy - self._before[1]) / seconds, (own - self._before[2]) / seconds
        self._before = at, busy, own
        number = len(self._processors())
        memory = psutil.virtual_memory()
        return Reading(number, min(1.0, used / number), max(0.0, used - mine), memory.available / memory.total)

    def _processors(self) -> list[int]:
        # The process' main thread's, not those that a worker was pinned to.
        return list(self._process.cpu_affinity()) if hasattr(self._process, "cpu_affinity") else processors()

    def _used(self) -> tuple[float, float, float]:
        """When, and the seconds of processors that anyone, and that this process, has used until then."""
        mine = self._processors()
        each = [times for number, times in enumerate(psutil.cpu_times(percpu=True)) if number in mine]
        idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in each)
        # guest time is in user time already.
        whole = sum(sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0) for times in each)
        own = self._process.cpu_times()
        return self._clock(), whole - idle, own.user + own.system
