"""Our threads, and how the BLAS is kept from starting its own beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import OpenBLASController, ThreadpoolController

from vjaccel.arrays.threads import thread_count, thread_limit

__all__ = ["limited_blas", "one_blas_thread", "product", "run", "share", "slices"]

ONE_THREAD_PRODUCT = 1 << 22
"""Multiplications of a matrix product below which a second thread costs more than it saves."""

_lock = threading.Lock()
_inside = 0
_limit: Any = None
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def run(tasks: Sequence[Callable[[], None]]) -> None:
    """Run `tasks`, the last one in this thread; their arithmetic warns of nothing. No task may call this.

    Raises
    ------
    Exception
        Of the first task that failed, when all have ended.
    """
    futures, here = _submitted(tasks[:-1]), tasks[-1:]
    if len(tasks) > 1 and not futures:
        here = tasks
    try:
        for task in here:
            _quietly(task)
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
    if parts <= 1:
        task(0, rows)  # here, where NumPy's error state is the caller's
    else:
        run([partial(task, low, high) for low, high in slices(rows, parts)])


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``a @ b``: by the BLAS' own threads, or by no more of ours than somebody asked for. Not for tasks of `run`."""
    if thread_limit() is None:
        return np.matmul(a, b, out=out)
    found = np.empty((len(a), b.shape[1]), np.result_type(a, b)) if out is None else out
    by_rows = len(a) >= b.shape[1]

    def part(low: int, high: int) -> None:
        if by_rows:
            np.matmul(a[low:high], b, out=found[low:high])
        else:
            np.matmul(a, b[:, low:high], out=found[:, low:high])

    with one_blas_thread():
        share(max(found.shape), found.size * a.shape[1] // ONE_THREAD_PRODUCT, part)
    return found


def limited_blas() -> AbstractContextManager[None]:
    """The BLAS held to one thread where somebody limited ours, for products too small to share; else as it is."""
    return nullcontext() if thread_limit() is None else one_blas_thread()


def _submitted(tasks: Sequence[Callable[[], None]]) -> list[Future[None]]:
    """`tasks` in the pool, which has as many threads as may be; none where that is none."""
    global _pool, _pool_size
    if not tasks:
        return []
    with _lock:
        # Both under the lock, so that nobody submits to a pool that was shut down; what it has begun it ends.
        size = thread_count() - 1
        if size != _pool_size:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool = ThreadPoolExecutor(size, thread_name_prefix="vjaccel") if size else None
            _pool_size = size
        return [] if _pool is None else [_pool.submit(_quietly, task) for task in tasks]


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
def _controller() -> ThreadpoolController:
    # Finding the libraries takes hundreds of microseconds; setting them, a few.
    found = ThreadpoolController()
    # An OpenMP BLAS, as faiss brings, keeps a number for each thread: set in the first call's, the last's cannot put it back.
    kept = [x.filepath for x in found.lib_controllers if getattr(x, "threading_layer", "openmp") != "openmp"]
    return found.select(filepath=kept) if kept else found


def _after_fork() -> None:
    """A child has none of its parent's threads, and perhaps a lock that one of them held."""
    global _lock, _inside, _limit, _pool, _pool_size
    _lock = threading.Lock()
    if _limit is not None:
        _limit.restore_original_limits()
    _inside, _limit = 0, None
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
