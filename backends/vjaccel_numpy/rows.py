"""normalize, and all pairs of two sets, on the CPU: blocks shared out to our threads, each a product or a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from vjaccel.arrays.generic import CANCELS
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.threads import thread_count
from vjaccel_numpy import row_kernels as kernels
from vjaccel_numpy.threads import ONE_THREAD_PRODUCT, limited_blas, one_blas_thread, product, run, share
from vjaccel_numpy.tiles import tiles, unlocked

__all__ = ["normalize", "scores"]

ONE_THREAD = 1 << 19
"""Numbers touched below which a second thread costs more than it saves."""

BLOCK = (512, 2048)
"""Rows of the left and the right set in one block."""

TILE_ELEMENTS = 1 << 18
CONVERTED_ELEMENTS = 1 << 23
CENTER_ROWS = 512


def normalize(x: np.ndarray) -> np.ndarray:
    dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    out = np.empty(x.shape, x.dtype)

    def part(low: int, high: int) -> None:
        for start, tile in tiles(x, low, high, max(1, TILE_ELEMENTS // x.shape[1]), dtype):
            rows = slice(start, start + len(tile))
            if out.dtype == dtype:
                kernels.normalize_rows(tile, out[rows])
            else:
                scaled = np.empty_like(tile)
                kernels.normalize_rows(tile, scaled)
                out[rows] = scaled

    share(len(x), x.size // ONE_THREAD, part)
    return out


def scores(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """All pairs; None where the magnitudes leave what a product in the result's dtype can hold."""
    dtype = np.result_type(a.dtype, b.dtype, np.float32)
    out = np.empty((len(a), len(b)), dtype)
    fill = FILLS[metric]
    if _as_it_is(a, dtype) and _as_it_is(b, dtype):
        return out if fill(unlocked(a), unlocked(b), out) else None
    for rows, left in _usable(a, dtype):
        for columns, right in _usable(b, dtype):
            if not fill(left, right, out[rows, columns]):
                return None
    return out


def _as_it_is(x: np.ndarray, dtype: np.dtype) -> bool:
    return x.dtype == dtype and x.flags.c_contiguous


def _usable(x: np.ndarray, dtype: np.dtype) -> Iterator[tuple[slice, np.ndarray]]:
    """`x` as the kernels take it: whole if it is, else converted by blocks, so that no second copy of it ever exists."""
    if _as_it_is(x, dtype):
        yield slice(None), unlocked(x)
        return
    step = max(1, CONVERTED_ELEMENTS // x.shape[1])
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        yield rows, np.ascontiguousarray(x[rows], dtype=dtype)


def _products(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> bool:
    if len(a) != 1:
        product(a, b.T, out)
        # The sum is finite almost always, and costs a fraction of looking at each number.
        return bool(np.isfinite(out.sum()) or np.isfinite(out).all())
    beyond: list[int] = []

    def of_one(low: int, high: int) -> None:
        if not kernels.products_of_one(a[0], b[low:high], out[0, low:high]):
            beyond.append(low)

    # Waking a thread of the BLAS takes as long as one query of the usual size.
    share(len(b), b.size // ONE_THREAD, of_one)
    return not beyond


def _cosines(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> bool:
    left, unsafe = np.empty(len(a), a.dtype), []

    def norms(x: np.ndarray, inverse: np.ndarray, low: int, high: int) -> None:
        if not kernels.inverse_norms(x[low:high], inverse[low:high]):
            unsafe.append(low)

    def of_one(low: int, high: int) -> None:
        if not kernels.cosines_of_one(a[0], left[0], b[low:high], out[0, low:high]):
            unsafe.append(low)

    share(len(a), a.size // ONE_THREAD, partial(norms, a, left))
    if len(a) == 1:
        share(len(b), b.size // ONE_THREAD, of_one)
        return not unsafe
    right = np.empty(len(b), b.dtype)
    share(len(b), b.size // ONE_THREAD, partial(norms, b, right))
    if unsafe:
        return False
    product(a, b.T, out)
    share(
        len(a), out.size // ONE_THREAD, lambda low, high: kernels.finish_cosines(out[low:high], left[low:high], right)
    )
    return True


def _manhattan(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> bool:
    work = out.size * a.shape[1] // ONE_THREAD
    if len(a) >= len(b):
        share(len(a), work, lambda low, high: kernels.manhattan(a[low:high], b, out[low:high]))
    else:
        share(len(b), work, lambda low, high: kernels.manhattan(a, b[low:high], out[:, low:high]))
    return True


def _distances(a: np.ndarray, b: np.ndarray, out: np.ndarray, root: bool) -> bool:
    center = _center(b)
    blocks = [(i, j) for j in range(0, len(b), BLOCK[1]) for i in range(0, len(a), BLOCK[0])]

    def work(mine: list[tuple[int, int]]) -> None:
        for i, j in mine:
            left, right = a[i : i + BLOCK[0]], b[j : j + BLOCK[1]]
            near_left, near_right = left - center, right - center
            norms = np.empty(len(left), out.dtype), np.empty(len(right), out.dtype)
            kernels.squared_norms(near_left, norms[0])
            kernels.squared_norms(near_right, norms[1])
            products = out[i : i + BLOCK[0], j : j + BLOCK[1]]
            np.matmul(near_left, near_right.T, out=products)
            kernels.finish_squares(products, left, right, *norms, root, CANCELS)

    parts = min(thread_count(), len(blocks))
    if out.size * a.shape[1] < ONE_THREAD_PRODUCT or parts < 2:
        with limited_blas():
            work(blocks)
    else:
        with one_blas_thread():
            run([partial(work, blocks[part::parts]) for part in range(parts)])
    return True


FILLS: dict[Metric, Callable[[np.ndarray, np.ndarray, np.ndarray], bool]] = {
    Metric.DOT: _products,
    Metric.COSINE: _cosines,
    Metric.EUCLIDEAN: partial(_distances, root=True),
    Metric.SQEUCLIDEAN: partial(_distances, root=False),
    Metric.MANHATTAN: _manhattan,
}


def _center(rows: np.ndarray) -> np.ndarray:
    """About the mean: any point is correct, and one near the rows keeps the expansion from cancelling."""
    some = rows[:: max(1, len(rows) // CENTER_ROWS)].astype(np.float64)
    some = some[np.isfinite(some).all(1)]
    return (some.mean(0) if len(some) else np.zeros(rows.shape[1])).astype(rows.dtype)
