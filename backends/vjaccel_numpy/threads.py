"""Our threads, and how the BLAS is kept from starting its own beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import OpenBLASController, ThreadpoolController

__all__ = ["one_blas_thread", "run", "share", "slices", "thread_count"]

_lock = threading.Lock()
_inside = 0
_limit: Any = None


@cache
def thread_count() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(tasks: Sequence[Callable[[], None]]) -> None:
    """Run `tasks`, the last one in this thread; their arithmetic warns of nothing.

    Raises
    ------
    Exception
        Of the first task that failed, when all have ended.
    """
    futures = [_pool().submit(_quietly, task) for task in tasks[:-1]]
    try:
        _quietly(tasks[-1])
    finally:
        failures = [error for error in (future.exception() for future in futures) if error]
    if failures:
        raise failures[0]


def slices(rows: int, parts: int) -> list[tuple[int, int]]:
    """`rows` in at most `parts` equal slices, at most one for each thread, at least one."""
    parts = max(1, min(thread_count(), parts, rows))
    return list(pairwise(rows * part // parts for part in range(parts + 1)))


def share(rows: int, parts: int, task: Callable[[int, int], None]) -> None:
    """Call `task` on `slices` of the rows, each in a thread of its own."""
    run([partial(task, low, high) for low, high in slices(rows, parts)])


def _quietly(task: Callable[[], None]) -> None:
    # NumPy's error state is a context variable, which a pool's thread does not inherit.
    with np.errstate(all="ignore"):
        task()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the BLAS to one thread while any call of ours is inside; the process finds it as it was.

    The switch is process-wide and its setting not ours, so it is counted: the first call in takes it, the last one out
    gives it back.
    """
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = _controller().limit(limits=1, user_api="blas")
            _let_go()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()
                _limit = None
                _let_go()


def _let_go() -> None:
    """Let any thread set OpenBLAS' threads next: the last call out need not be of the thread that was first in.

    threadpoolctl 3.8 ignores, for OpenBLAS, every thread but the one that set a limit last.
    """
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, thread_count() - 1), thread_name_prefix="vjaccel")


@cache
def _controller() -> ThreadpoolController:
    # Finding the libraries takes hundreds of microseconds; setting them, a few.
    return ThreadpoolController()


def _after_fork() -> None:
    """A child has none of its parent's threads, and perhaps a lock that one of them held."""
    global _lock, _inside, _limit
    _lock = threading.Lock()
    if _limit is not None:
        _limit.restore_original_limits()
    _inside, _limit = 0, None
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
