"""Exact top-k on the CPU: each thread owns a slice of the corpus, scans it in float32, and keeps the exact best of it.

Few queries are scanned by a kernel that reads each row once; more by one-thread matrix products, tile by tile. Either way the
scores go straight into `collect`. A query or a row beyond the scan's range takes the generic, slower path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np

from vjaccel.arrays.protocol import Metric, TopK
from vjaccel.arrays.search import EXPANDED, ORDINARY, TINY, PreparedRows, halving_sum, rounding_bound
from vjaccel.arrays.threads import thread_count
from vjaccel_numpy import search_kernels as kernels
from vjaccel_numpy import sketch
from vjaccel_numpy.threads import one_blas_thread, run, share, slices
from vjaccel_numpy.tiles import scan_dtype, tiles, unlocked

__all__ = ["changed", "prepare", "prepare_like", "prepare_sketched", "topk"]

FEW = 8
"""Up to so many queries are scanned by the kernel: it is bound by memory, the matrix product by arithmetic."""

ONE_THREAD = 1 << 20
"""Multiplications below which a second thread costs more than it saves."""

TILE_ELEMENTS = 1 << 18
"""Scores, or numbers of a converted tile, that a thread holds: they stay in its cache."""

PRODUCTS = 1 << 20
"""Scores that a thread multiplies at once: with fewer the BLAS copies the queries into its own order too often."""

HEAP_BYTES = 64 << 20

ODD_ROWS = 4096
"""Rows beyond the scan's range that are scored exactly before each search; with more of them the generic path takes over."""

CODES = {Metric.DOT: kernels.DOT, Metric.COSINE: kernels.COSINE, Metric.MANHATTAN: kernels.MANHATTAN}

Search = Callable[[np.ndarray, "PreparedVectors", int, np.ndarray | None], TopK]
Rescore = Callable[[np.ndarray, "PreparedVectors", np.ndarray], np.ndarray]


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

    row_fields: ClassVar[tuple[str, ...]] = (*PreparedRows.row_fields, "norms")

    norms: np.ndarray
    odd: np.ndarray


@dataclass(frozen=True, slots=True)
class SketchedVectors(PreparedVectors):
    """A corpus with what few queries scan instead of the vectors: see `sketch.Sketch`."""

    row_fields: ClassVar[tuple[str, ...]] = (*PreparedVectors.row_fields, "codes", "scales", "errors")
    largest_fields: ClassVar[tuple[str, ...]] = (*PreparedVectors.largest_fields, "largest_code")

    codes: np.ndarray
    scales: np.ndarray
    errors: np.ndarray
    largest_code: float


class _Heaps(NamedTuple):
    """The best rows seen of one slice, for each query.

    `lines` is the scan score that a row must reach to be looked at. The slices have one for all: what one has found no row
    of another need fall below. Threads write it unguarded, and any of their values is right. `last` is the tile's row
    that was scored last, and `last_scores` its exact score, which copies of it have too.
    """

    scores: np.ndarray
    indices: np.ndarray
    sizes: np.ndarray
    lines: np.ndarray
    last: np.ndarray
    last_scores: np.ndarray


class _Wanted(NamedTuple):
    """Queries as the scan and as the exact score want them; `facts` is for `kernels.collect`."""

    code: int
    narrow: np.ndarray
    facts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def prepare(vectors: np.ndarray, metric: Metric, center: np.ndarray | None = None) -> PreparedVectors:
    rows, dim = vectors.shape
    dtype = scan_dtype(vectors)
    if center is None and metric in EXPANDED:
        center = _center(vectors, dtype)
    norms, near_squares, finite = np.empty(rows), np.empty(0 if center is None else rows), np.empty(rows, np.bool_)

    def facts(low: int, high: int) -> None:
        for start, tile in tiles(vectors, low, high, TILE_ELEMENTS // dim, dtype):
            part = slice(start, start + len(tile))
            near = near_squares[slice(0) if center is None else part]
            kernels.row_facts(tile, np.empty(0, dtype) if center is None else center, norms[part], near, finite[part])

    share(rows, rows * dim // ONE_THREAD, facts)
    seen = norms if center is None else np.sqrt(near_squares)
    ordinary = finite & (seen <= ORDINARY)
    weight = near_squares if len(near_squares) else np.zeros(rows)
    if metric is Metric.COSINE:
        zero = norms < TINY
        norms[zero] = 0.0
        ordinary &= zero | (norms >= 1 / ORDINARY)
        np.divide(1.0, norms, out=weight, where=ordinary & ~zero)
    return PreparedVectors(
        vectors=vectors,
        metric=metric,
        rows=rows,
        dim=dim,
        center=center,
        weight=weight.astype(dtype),
        ordinary=ordinary,
        instead=np.where(finite, np.inf, -np.inf).astype(dtype),
        largest=np.max(seen, where=ordinary, initial=0.0),
        norms=norms,
        odd=np.flatnonzero(finite & ~ordinary),
    )


def prepare_sketched(vectors: np.ndarray, metric: Metric, center: np.ndarray | None = None) -> SketchedVectors:
    prepared = prepare(vectors, metric, center)
    found = {field.name: getattr(prepared, field.name) for field in fields(prepared)}
    return SketchedVectors(**found, **sketch.of(prepared)._asdict())


def prepare_like(vectors: np.ndarray, prepared: PreparedVectors, center: np.ndarray | None) -> PreparedVectors:
    """`vectors` with all that `prepared` has, about `center`; of their own mean where that is None."""
    prepare_one = prepare_sketched if isinstance(prepared, SketchedVectors) else prepare
    return prepare_one(vectors.astype(prepared.vectors.dtype, copy=False), prepared.metric, center)


def changed(prepared: PreparedRows) -> PreparedRows:
    """`prepared`, whose rows were changed, with its odd rows found anew."""
    if not isinstance(prepared, PreparedVectors):
        return prepared
    return replace(prepared, odd=np.flatnonzero((prepared.instead > 0) & ~prepared.ordinary))


def topk(
    queries: np.ndarray,
    prepared: PreparedVectors,
    k: int,
    mask: np.ndarray | None,
    generic: Search,
    rescore: Rescore,
) -> TopK:
    """The best `k` rows by float64 score, and which they are; `generic` answers what lies beyond the kernels' range."""
    if len(prepared.odd) > ODD_ROWS:
        return generic(queries, prepared, k, mask)
    norms = np.sqrt(np.square(queries, dtype=np.float64).sum(1))
    plain = (norms <= ORDINARY) & (norms >= (1 / ORDINARY if prepared.metric is Metric.COSINE else 0.0))
    values, indices = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1, np.int64)
    step = max(1, min(1024, HEAP_BYTES // (16 * k * thread_count())))
    kept = np.flatnonzero(plain)
    for start in range(0, len(kept), step):
        part = kept[start : start + step]
        values[part], indices[part] = _search(queries[part], prepared, k, _rows_of(mask, part), rescore)
    rest = np.flatnonzero(~plain & np.isfinite(queries).all(1))
    if len(rest):
        values[rest], indices[rest] = generic(queries[rest], prepared, k, _rows_of(mask, rest))
    return TopK(values, indices)


def _rows_of(mask: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return mask if mask is None or mask.ndim == 1 else mask[rows]


def _search(
    queries: np.ndarray, prepared: PreparedVectors, k: int, mask: np.ndarray | None, rescore: Rescore
) -> tuple[np.ndarray, np.ndarray]:
    by_sketch = isinstance(prepared, SketchedVectors) and len(queries) <= sketch.FEW
    wanted = sketch.wanted(queries, prepared) if by_sketch else _wanted(queries, prepared)
    allowed = np.empty((0, 0), np.bool_) if mask is None else unlocked(np.ascontiguousarray(np.atleast_2d(mask)))
    corpus = prepared.weight, prepared.ordinary, prepared.norms, allowed
    parts = slices(prepared.rows, len(queries) * prepared.rows * prepared.dim // ONE_THREAD)
    lines = np.full(len(queries), -np.inf, np.dtype(float) if by_sketch else wanted.narrow.dtype)
    heaps = [_heaps(lines, k) for _ in parts]
    if len(prepared.odd):
        _offer_odd(queries, prepared, mask, heaps[0], rescore)
    products = wanted.code == kernels.EXPANDED or (len(queries) > FEW and wanted.code in (kernels.DOT, kernels.COSINE))
    products &= not by_sketch
    scan = sketch.scan if by_sketch else _scan_products if products else _scan_rows
    tasks = [partial(scan, wanted, prepared, corpus, *part) for part in zip(heaps, parts, strict=True)]
    if products:
        with one_blas_thread():
            run(tasks)
    else:
        run(tasks)
    scores = np.concatenate([heap.scores for heap in heaps], axis=1)
    indices = np.concatenate([heap.indices for heap in heaps], axis=1)
    order = np.lexsort((indices, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)


def _wanted(queries: np.ndarray, prepared: PreparedVectors) -> _Wanted:
    dtype = scan_dtype(prepared.vectors)
    exact = np.ascontiguousarray(queries, dtype=np.float64)
    norms = np.sqrt(halving_sum(np, exact * exact))
    narrow = np.ascontiguousarray(queries, dtype=dtype)
    shifts, seen, bounded_as = np.zeros(len(queries)), norms, prepared.metric
    code = CODES.get(prepared.metric, kernels.SQUARES)
    if code == kernels.COSINE:
        narrow = (exact / norms[:, None]).astype(dtype)
    elif code == kernels.SQUARES and len(queries) <= FEW and np.array_equal(narrow, exact):
        # Squared differences of exact values err like a sum of magnitudes does: in proportion to themselves.
        seen, bounded_as = np.zeros(len(queries)), Metric.MANHATTAN
    elif code == kernels.SQUARES:
        code = kernels.EXPANDED
        # Rounded after the center is gone: float64 queries far from zero differ by less than float32 shows.
        near = (exact - prepared.center).astype(dtype)
        seen = np.sqrt(np.square(near, dtype=np.float64).sum(1))
        narrow, shifts = 2 * near, -np.square(seen)
    unit = 2.0**-24 if dtype == np.float32 else 2.0**-53
    bounds, relative = rounding_bound(bounded_as, prepared.dim, unit, seen, float(prepared.largest))
    facts = exact, norms, shifts, np.broadcast_to(bounds, norms.shape).copy(), relative
    return _Wanted(code, unlocked(narrow), facts)


def _offer_odd(
    queries: np.ndarray, prepared: PreparedVectors, mask: np.ndarray | None, heaps: _Heaps, rescore: Rescore
) -> None:
    """Fill the heaps with the rows that the scan passes over."""
    ids = np.broadcast_to(prepared.odd, (len(queries), len(prepared.odd)))
    scores = rescore(queries, prepared, ids)
    if mask is not None:
        scores = np.where(np.broadcast_to(mask, (len(queries), prepared.rows))[:, prepared.odd], scores, -np.inf)
    kernels.offer_all(scores, prepared.odd, heaps)


def _scan_rows(
    wanted: _Wanted, prepared: PreparedVectors, corpus: tuple[np.ndarray, ...], heaps: _Heaps, part: tuple[int, int]
) -> None:
    scan = kernels.scan_products if wanted.code in (kernels.DOT, kernels.COSINE) else kernels.scan_distances
    # As it lies in memory a slice needs no tiles; converted, one that stays in the cache.
    for start, tile in tiles(prepared.vectors, *part, TILE_ELEMENTS // prepared.dim, wanted.narrow.dtype):
        scan(wanted.code, wanted.narrow, start, tile, corpus, wanted.facts, heaps)


def _scan_products(
    wanted: _Wanted, prepared: PreparedVectors, corpus: tuple[np.ndarray, ...], heaps: _Heaps, part: tuple[int, int]
) -> None:
    dtype, n_queries = wanted.narrow.dtype, len(wanted.narrow)
    # OpenBLAS multiplies tall by thin half again as fast as thin by wide.
    columns = np.ascontiguousarray(wanted.narrow.T)
    step = max(kernels.STEP, min(1024, PRODUCTS // n_queries))
    products = np.empty((step, n_queries), dtype)
    near = None if wanted.code != kernels.EXPANDED else np.empty((step, prepared.dim), dtype)
    for start, tile in tiles(prepared.vectors, *part, step, dtype):
        rows = tile if near is None else np.subtract(tile, prepared.center, out=near[: len(tile)])
        scores = np.matmul(rows, columns, out=products[: len(tile)])
        kernels.collect(wanted.code, scores, start, tile, corpus, wanted.facts, heaps)


def _heaps(lines: np.ndarray, k: int) -> _Heaps:
    n_queries = len(lines)
    return _Heaps(
        np.full((n_queries, k), -np.inf),
        np.full((n_queries, k), -1, np.int64),
        np.zeros(n_queries, np.int64),
        lines,
        np.full(n_queries, -1, np.int64),
        np.empty(n_queries),
    )


def _center(vectors: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """About the mean row; what is not finite counts as zero."""
    parts = slices(len(vectors), vectors.size // ONE_THREAD)
    sums = np.zeros((len(parts), vectors.shape[1]))

    def add(total: np.ndarray, part: tuple[int, int]) -> None:
        for _, tile in tiles(vectors, *part, TILE_ELEMENTS // vectors.shape[1], dtype):
            kernels.add_rows(tile, total)

    run([partial(add, total, part) for total, part in zip(sums, parts, strict=True)])
    return (sums.sum(0) / len(vectors)).astype(dtype)
