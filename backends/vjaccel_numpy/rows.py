"""normalize, and all pairs of two sets, on the CPU: blocks shared out to our threads, each a product or a kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from vjaccel.arrays.generic import CANCELS
from vjaccel.arrays.protocol import Metric
from vjaccel_numpy import row_kernels as kernels
from vjaccel_numpy.threads import one_blas_thread, run, thread_count
from vjaccel_numpy.tiles import tiles, unlocked

__all__ = ["normalize", "scores"]

ONE_THREAD = 1 << 19
"""Numbers touched below which a second thread costs more than it saves."""

ONE_THREAD_PRODUCT = 1 << 22
"""Multiplications of a matrix product, likewise."""

BLOCK = (1024, 2048)
"""Rows of the left and the right set in one block."""

Task = Callable[[], None]


def normalize(x: np.ndarray) -> np.ndarray:
    dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    out = np.empty(x.shape, x.dtype)

    def part(low: int, high: int) -> None:
        for start, tile in tiles(x, low, high, max(1, (1 << 18) // x.shape[1]), dtype):
            rows = slice(start, start + len(tile))
            if out.dtype == dtype:
                kernels.normalize_rows(tile, out[rows])
            else:
                scaled = np.empty_like(tile)
                kernels.normalize_rows(tile, scaled)
                out[rows] = scaled

    _share(len(x), x.size // ONE_THREAD, part)
    return out


def scores(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """All pairs; None where the magnitudes leave what a product in the result's dtype can hold."""
    dtype = np.result_type(a.dtype, b.dtype, np.float32)
    a, b = (unlocked(np.ascontiguousarray(x, dtype=dtype)) for x in (a, b))
    if metric is Metric.DOT:
        out = a @ b.T
        return out if np.isfinite(out.sum()) or np.isfinite(out).all() else None
    if metric is Metric.COSINE:
        return _cosines(a, b)
    out = np.empty((len(a), len(b)), dtype)
    if metric is Metric.MANHATTAN:
        _share(max(len(a), len(b)), out.size * a.shape[1] // ONE_THREAD, partial(_manhattan, a, b, out))
    else:
        center = b.mean(0, dtype=np.float64, where=np.isfinite(b)) if len(b) else np.zeros(b.shape[1])
        _distances(a, b, out, np.nan_to_num(center).astype(dtype), metric is Metric.EUCLIDEAN)
    return out


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    left, right = np.empty(len(a), a.dtype), np.empty(len(b), b.dtype)
    safe = [True]

    def norms(x: np.ndarray, out: np.ndarray, low: int, high: int) -> None:
        if not kernels.inverse_norms(x[low:high], out[low:high]):
            safe[0] = False

    _share(len(b), b.size // ONE_THREAD, partial(norms, b, right))
    _share(len(a), a.size // ONE_THREAD, partial(norms, a, left))
    if not safe[0]:
        return None
    out = a @ b.T
    _share(
        len(a), out.size // ONE_THREAD, lambda low, high: kernels.finish_cosines(out[low:high], left[low:high], right)
    )
    return out


def _manhattan(a: np.ndarray, b: np.ndarray, out: np.ndarray, low: int, high: int) -> None:
    if len(a) >= len(b):
        kernels.manhattan(a[low:high], b, out[low:high])
    else:
        kernels.manhattan(a, b[low:high], out[:, low:high])


def _distances(a: np.ndarray, b: np.ndarray, out: np.ndarray, center: np.ndarray, root: bool) -> None:
    blocks = [(i, j) for j in range(0, len(b), BLOCK[1]) for i in range(0, len(a), BLOCK[0])]

    def work(mine: list[tuple[int, int]]) -> None:
        for i, j in mine:
            left, right = a[i : i + BLOCK[0]], b[j : j + BLOCK[1]]
            near_left, near_right = left - center, right - center
            norms = np.empty(len(left), out.dtype), np.empty(len(right), out.dtype)
            kernels.squared_norms(near_left, norms[0])
            kernels.squared_norms(near_right, norms[1])
            products = near_left @ near_right.T
            kernels.finish_squares(products, left, right, *norms, root, CANCELS)
            out[i : i + BLOCK[0], j : j + BLOCK[1]] = products

    parts = min(thread_count(), len(blocks))
    if out.size * a.shape[1] < ONE_THREAD_PRODUCT or parts < 2:
        work(blocks)
        return
    with one_blas_thread():
        run([partial(work, blocks[part::parts]) for part in range(parts)])


def _share(rows: int, parts: int, part: Callable[[int, int], None]) -> None:
    """Call `part` on slices of `rows`, at most one for each thread and at most `parts`."""
    parts = max(1, min(thread_count(), parts, rows))
    edges = [rows * i // parts for i in range(parts + 1)]
    run([partial(part, low, high) for low, high in zip(edges[:-1], edges[1:], strict=True)])
