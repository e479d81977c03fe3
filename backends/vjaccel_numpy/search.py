"""Exact top-k on the CPU: each thread owns a slice of the corpus, scans it in float32, and keeps the exact best of it.

Few queries are scanned by a kernel that reads each row once; more by one-thread matrix products, tile by tile. Either way the
scores go straight into `collect`. A query or a row beyond the scan's range takes the generic, slower path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from vjaccel.arrays.protocol import Metric, TopK
from vjaccel.arrays.search import EXPANDED as EXPANDED_METRICS
from vjaccel.arrays.search import ORDINARY, TINY, PreparedRows, rounding_bound
from vjaccel_numpy import search_kernels as kernels
from vjaccel_numpy.tiles import scan_dtype, tiles, unlocked
from vjaccel_numpy.threads import one_blas_thread, run, thread_count

__all__ = ["prepare", "topk"]

FEW = 8
"""Up to so many queries are scanned by the kernel: it is bound by memory, the matrix product by arithmetic."""

ONE_THREAD = 1 << 20
"""Multiplications below which a second thread costs more than it saves."""

HEAP_BYTES = 64 << 20
TILE_ELEMENTS = 1 << 20
ODD_ROWS = 4096
"""Rows beyond the scan's range that are scored exactly before each search; more of them, and the generic path takes over."""

Search = Callable[[np.ndarray, "PreparedVectors", int, np.ndarray | None], TopK]


@dataclass(frozen=True, slots=True)
class PreparedVectors(PreparedRows):
    """A corpus ready for the kernels.

    Attributes
    ----------
    norms : ndarray (rows,), float64
        Summed in the order that exact scores use.
    odd : ndarray of int64
        The finite rows that the scan cannot score.
    """

    norms: np.ndarray
    odd: np.ndarray


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Queries as the scan and the exact score want them, and how far the two can differ."""

    code: int
    exact: np.ndarray
    norms: np.ndarray
    narrow: np.ndarray
    shifts: np.ndarray
    bounds: np.ndarray
    relative: float


def prepare(vectors: np.ndarray, metric: Metric) -> PreparedVectors:
    rows, dim = vectors.shape
    dtype = scan_dtype(vectors)
    center = _center(vectors, dtype) if metric in EXPANDED_METRICS else np.empty(0, dtype)
    norms, near_squares, finite = np.empty(rows), np.empty(rows if len(center) else 0), np.empty(rows, np.bool_)

    def facts(low: int, high: int) -> None:
        for start, tile in tiles(vectors, low, high, TILE_ELEMENTS // dim, dtype):
            part = slice(start, start + len(tile))
            kernels.row_facts(tile, center, norms[part], near_squares[part if len(center) else slice(0)], finite[part])

    run([partial(facts, *bounds) for bounds in _slices(rows, rows * dim)])
    seen = np.sqrt(near_squares) if len(center) else norms
    ordinary = finite & (seen <= ORDINARY)
    weight = near_squares
    if metric is Metric.COSINE:
        zero = norms < TINY
        ordinary &= zero | (norms >= 1 / ORDINARY)
        norms[zero] = 0.0
        weight = np.divide(1.0, norms, out=np.zeros(rows), where=ordinary & ~zero)
    return PreparedVectors(
        vectors=vectors,
        metric=metric,
        rows=rows,
        dim=dim,
        center=center if len(center) else None,
        weight=weight.astype(dtype) if len(weight) else np.zeros(rows, dtype),
        ordinary=ordinary,
        instead=np.where(finite, np.inf, -np.inf).astype(dtype),
        largest=np.max(seen, where=ordinary, initial=0.0),
        norms=norms,
        odd=np.flatnonzero(finite & ~ordinary),
    )


def topk(
    queries: np.ndarray,
    prepared: PreparedVectors,
    k: int,
    mask: np.ndarray | None,
    generic: Search,
    rescore: Callable[[np.ndarray, PreparedVectors, np.ndarray], np.ndarray],
) -> TopK:
    """The best `k` rows by float64 score, and which they are; `generic` answers what lies beyond the kernels' range."""
    if len(prepared.odd) > ODD_ROWS:
        return generic(queries, prepared, k, mask)
    norms = np.sqrt(np.square(queries, dtype=np.float64).sum(1))
    limits = (1 / ORDINARY, ORDINARY) if prepared.metric is Metric.COSINE else (0.0, ORDINARY)
    plain = (norms >= limits[0]) & (norms <= limits[1])
    values, indices = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1, np.int64)
    step = max(1, min(1024, HEAP_BYTES // (16 * k * thread_count())))
    kept = np.flatnonzero(plain)
    for start in range(0, len(kept), step):
        part = kept[start : start + step]
        whole = len(part) == len(queries)
        some = queries if whole else queries[part]
        allowed = mask if whole or mask is None or mask.ndim == 1 else mask[part]
        values[part], indices[part] = _search(some, prepared, k, allowed, rescore)
    rest = np.flatnonzero(~plain & np.isfinite(queries).all(1))
    if len(rest):
        allowed = mask if mask is None or mask.ndim == 1 else mask[rest]
        values[rest], indices[rest] = generic(queries[rest], prepared, k, allowed)
    return TopK(values, indices)


def _search(
    queries: np.ndarray,
    prepared: PreparedVectors,
    k: int,
    mask: np.ndarray | None,
    rescore: Callable[[np.ndarray, PreparedVectors, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    wanted = _wanted(queries, prepared)
    allowed = np.empty((0, 0), np.bool_) if mask is None else unlocked(np.ascontiguousarray(np.atleast_2d(mask)))
    work = len(queries) * prepared.rows * prepared.dim
    slices = _slices(prepared.rows, work)
    heaps = [_heaps(len(queries), k) for _ in slices]
    _offer_odd(queries, prepared, allowed, heaps[0], rescore)
    scan = _scan_products if wanted.code == kernels.EXPANDED or _by_products(wanted) else _scan_rows
    tasks = [partial(scan, wanted, prepared, allowed, heap, *part) for heap, part in zip(heaps, slices, strict=True)]
    if scan is _scan_products:
        with one_blas_thread():
            run(tasks)
    else:
        run(tasks)
    scores = np.concatenate([heap[0] for heap in heaps], axis=1)
    indices = np.concatenate([heap[1] for heap in heaps], axis=1)
    order = np.lexsort((indices, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)


def _by_products(wanted: _Wanted) -> bool:
    return len(wanted.exact) > FEW and wanted.code in (kernels.DOT, kernels.COSINE)


def _wanted(queries: np.ndarray, prepared: PreparedVectors) -> _Wanted:
    dtype = scan_dtype(prepared.vectors)
    exact = np.ascontiguousarray(queries, dtype=np.float64)
    norms, _ = _facts_of(exact)
    narrow = np.ascontiguousarray(queries, dtype=dtype)
    shifts = np.zeros(len(queries))
    code = {Metric.DOT: kernels.DOT, Metric.COSINE: kernels.COSINE, Metric.MANHATTAN: kernels.MANHATTAN}.get(
        prepared.metric, kernels.SQUARES
    )
    seen = norms
    if code == kernels.COSINE:
        narrow = (exact / norms[:, None]).astype(dtype)
    if code == kernels.SQUARES and (len(queries) > FEW or not np.array_equal(narrow, exact)):
        code = kernels.EXPANDED
        near = (narrow - prepared.center).astype(dtype)
        seen = np.sqrt(np.square(near, dtype=np.float64).sum(1))
        narrow, shifts = 2 * near, -np.square(seen)
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    metric = Metric.MANHATTAN if code == kernels.SQUARES else prepared.metric
    if code == kernels.SQUARES:
        # Sums of squares taken directly, of values that are exact: the same bound as a sum of magnitudes.
        seen = np.zeros(len(queries))
    bounds, relative = rounding_bound(metric, prepared.dim, unit, seen, float(prepared.largest))
    return _Wanted(code, exact, norms, narrow, shifts, np.broadcast_to(bounds, norms.shape).copy(), relative)


def _facts_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms, finite = np.empty(len(rows)), np.empty(len(rows), np.bool_)
    kernels.row_facts(rows, np.empty(0), norms, np.empty(0), finite)
    return norms, finite


def _offer_odd(
    queries: np.ndarray,
    prepared: PreparedVectors,
    allowed: np.ndarray,
    heaps: tuple[np.ndarray, np.ndarray, np.ndarray],
    rescore: Callable[[np.ndarray, PreparedVectors, np.ndarray], np.ndarray],
) -> None:
    """Fill the heaps with the rows that the scan passes over."""
    if not len(prepared.odd):
        return
    k = heaps[0].shape[1]
    ids = np.broadcast_to(prepared.odd, (len(queries), len(prepared.odd)))
    scores = rescore(queries, prepared, ids)
    if len(allowed):
        scores = np.where(np.broadcast_to(allowed, (len(queries), prepared.rows))[:, prepared.odd], scores, -np.inf)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    for q in range(len(queries)):
        kernels.offer_all(scores[q, order[q]], prepared.odd[order[q]], heaps[0][q], heaps[1][q], heaps[2][q : q + 1])


def _scan_rows(
    wanted: _Wanted,
    prepared: PreparedVectors,
    allowed: np.ndarray,
    heaps: tuple[np.ndarray, np.ndarray, np.ndarray],
    low: int,
    high: int,
) -> None:
    step = max(kernels.STEP, TILE_ELEMENTS // prepared.dim)
    for start, tile in tiles(prepared.vectors, low, high, step, wanted.narrow.dtype):
        kernels.scan_rows(
            wanted.code, wanted.narrow, start, tile, prepared.weight, prepared.ordinary, allowed,
            wanted.exact, wanted.norms, wanted.shifts, prepared.norms, wanted.bounds, wanted.relative, heaps,
        )  # fmt: skip


def _scan_products(
    wanted: _Wanted,
    prepared: PreparedVectors,
    allowed: np.ndarray,
    heaps: tuple[np.ndarray, np.ndarray, np.ndarray],
    low: int,
    high: int,
) -> None:
    dtype = wanted.narrow.dtype
    step = max(256, min(8192, TILE_ELEMENTS // len(wanted.narrow) // 64 * 64))
    products = np.empty((len(wanted.narrow), min(step, high - low)), dtype)
    near = np.empty((products.shape[1], prepared.dim), dtype) if prepared.center is not None else None
    for start, tile in tiles(prepared.vectors, low, high, step, dtype):
        rows = tile if near is None else np.subtract(tile, prepared.center, out=near[: len(tile)])
        scores = (
            products[:, : len(tile)] if len(tile) == products.shape[1] else np.empty((len(products), len(tile)), dtype)
        )
        np.matmul(wanted.narrow, rows.T, out=scores)
        kernels.collect(
            wanted.code, scores, start, tile, prepared.weight, prepared.ordinary, allowed,
            wanted.exact, wanted.norms, wanted.shifts, prepared.norms, wanted.bounds, wanted.relative, heaps,
        )  # fmt: skip


def _heaps(n_queries: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full((n_queries, k), -np.inf), np.full((n_queries, k), -1, np.int64), np.zeros(n_queries, np.int64)


def _center(vectors: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """About the mean row; what is not finite counts as zero."""
    slices = _slices(len(vectors), vectors.size)
    sums = np.zeros((len(slices), vectors.shape[1]))

    def add(total: np.ndarray, low: int, high: int) -> None:
        for _, tile in tiles(vectors, low, high, TILE_ELEMENTS // vectors.shape[1], dtype):
            kernels.add_rows(tile, total)

    run([partial(add, total, *part) for total, part in zip(sums, slices, strict=True)])
    return (sums.sum(0) / len(vectors)).astype(dtype)


def _slices(rows: int, work: int) -> list[tuple[int, int]]:
    """One slice of the rows for each thread that pays; boundaries at multiples of 64."""
    parts = max(1, min(thread_count(), work // ONE_THREAD, rows // 64))
    edges = [rows * part // parts // 64 * 64 for part in range(parts)] + [rows]
    return list(zip(edges[:-1], edges[1:], strict=True))
