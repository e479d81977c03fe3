"""Searching in array-API terms: what `certify` builds exact answers from.

A scan scores the corpus tile by tile in float32 (float64 for a float64 corpus); `rescore` gives the exact score of named
rows in float64. Scores are the larger the closer: cosine, dot, or a negated distance (euclidean: negated squares).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from vjaccel.arrays import certify
from vjaccel.arrays.protocol import Array, Metric, TopK

__all__ = ["GenericSearch", "PreparedRows", "halving_sum", "rounding_bound"]

Result = TypeVar("Result")

ORDINARY = 1e15
"""Rows whose norm is beyond this, or below its inverse, are left to the exact arithmetic: their squares leave float32."""

TINY = 2.0**-126
"""The smallest normal float32; devices may take anything below it for zero."""

EXPANDED = (Metric.EUCLIDEAN, Metric.SQEUCLIDEAN)


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """A corpus ready to be searched.

    Attributes
    ----------
    center : array (dim,) or None
        euclidean: about the mean of the corpus, so that the expansion cancels little. Any point would be correct.
    weight : array (rows,) or None
        cosine: inverse norms; euclidean: squared norms after `center` was subtracted.
    ordinary : array of bool (rows,)
        Rows that the scan can score; the others get `instead`.
    instead : array (rows,)
        -inf for a row with a NaN or an infinity, which is never returned; +inf for one that only `rescore` can score.
    largest : array (), float64
        At least the largest norm of an ordinary row, as the scan sees it.
    room : dict of arrays, or None
        Of a corpus that was changed: the arrays, by the names in `row_fields`, whose first rows the others here show.
    """

    row_fields: ClassVar[tuple[str, ...]] = ("vectors", "weight", "ordinary", "instead")
    largest_fields: ClassVar[tuple[str, ...]] = ("largest",)
    scan: ClassVar[str | None] = None
    """The coarser scan that it is prepared for: see `vjaccel.arrays.coarse`."""

    vectors: Array
    metric: Metric
    rows: int
    dim: int
    center: Array | None
    weight: Array | None
    ordinary: Array
    instead: Array
    largest: Array
    room: dict[str, Array] | None = field(default=None, kw_only=True)


def halving_sum(xp: Any, x: Array) -> Array:
    """The sum over the last axis in one fixed order: the upper half onto the lower half, until one is left.

    Elementwise additions alone, so every library and device gives the same bits; a library's own `sum` does not.
    """
    while x.shape[-1] > 1:
        length = x.shape[-1]
        half = 1 << ((length - 1).bit_length() - 1)
        folded = x[..., : length - half] + x[..., half:]
        x = folded if length == 2 * half else xp.concat([folded, x[..., length - half : half]], axis=-1)
    return x[..., 0] if x.shape[-1] else xp.zeros(x.shape[:-1], dtype=x.dtype)


def rounding_bound(metric: Metric, dim: int, unit: float, query_norms: Any, largest: Any) -> tuple[Any, float]:
    """How far a scan with unit roundoff `unit` can be from `rescore`'s score: absolute by query, and relative.

    The bound of a dot product, whatever the order of its sum, is ``dim * unit * |q| |x|``: Higham, Accuracy and Stability
    of Numerical Algorithms, 2nd ed., section 3.1. docs/numerics.md derives the rest term by term; 1.01 covers the higher
    orders of `unit`, for vectors of up to 100,000 numbers.

    Parameters
    ----------
    query_norms : array (n_queries,), float64
        As the scan sees them: after centering.
    largest : float64
        The largest norm of a row.
    """
    halvings = dim.bit_length()
    exact = 1.01 * 2.0**-53  # of `rescore`, and of the norms: it counts where the scan is in float64 too
    tiny = (dim + 4) * (TINY if unit == 2.0**-24 else 2.0**-1022)
    flush = tiny * (1.0 + query_norms + largest)
    if metric is Metric.MANHATTAN:
        return 1.01 * unit * dim**0.5 * query_norms + flush, 1.01 * (dim + 4) * unit + (halvings + 4) * exact
    if metric is Metric.COSINE:
        return 1.01 * (dim + 8) * unit + (2 * dim + 2 * halvings + 14) * exact + tiny * ORDINARY, 0.0
    product = query_norms * largest
    if metric is Metric.DOT:
        return (1.01 * (dim + 4) * unit + (halvings + 4) * exact) * product + flush, 0.0
    square = (query_norms + largest) ** 2
    scan = 1.01 * unit * ((2 * dim + 4) * product + (halvings + 8) * square)
    return scan + (dim + halvings + 4) * exact * square + flush, 0.0


class GenericSearch:
    """The searching half of `GenericBackend`."""

    xp: Any
    native_device: Any
    tile_bytes: int
    blocks: Callable[[int, int], Iterator[slice]]
    retried: Callable[[Callable[[], Result]], Result]
    float64: Callable[[], AbstractContextManager[object]]
    manhattan_broadcasts: ClassVar[bool]
    matmul: Callable[[Array, Array], Array]
    manhattan: Callable[[Array, Array], Array]
    largest: Callable[[Array, int], Array]
    widened: Callable[[Array], Array]
    scan_dtype: Callable[[Array], Any]
    mean: Callable[[Array], Array]
    to_numpy: Callable[[Array], np.ndarray]
    judged: ClassVar[certify.Judge] = staticmethod(certify.judged)

    def prepare(self, vectors: Array, metric: Metric) -> PreparedRows:
        return self._prepared(vectors, metric, None)

    def prepare_again(self, vectors: Array, prepared: PreparedRows) -> PreparedRows:
        """`vectors` as a corpus like `prepared`, but of its own center."""
        return self.prepare(vectors, prepared.metric)

    def prepare_like(self, vectors: Array, prepared: PreparedRows) -> PreparedRows:
        """`vectors` as more rows of `prepared`: about its center, and in its dtype."""
        return self._prepared(self.xp.astype(vectors, prepared.vectors.dtype), prepared.metric, prepared.center)

    def _prepared(self, vectors: Array, metric: Metric, center: Array | None) -> PreparedRows:
        def run() -> PreparedRows:
            nonlocal center
            if center is None and metric in EXPANDED:
                center = self.mean(vectors)
            parts = [
                self._prepare_block(vectors[rows, :], metric, center)
                for rows in self.blocks(vectors.shape[0], 32 * vectors.shape[1])
            ]
            with self.float64():
                weight, ordinary, instead, norms = (self.xp.concat(list(column)) for column in zip(*parts, strict=True))
                largest = self.xp.max(norms)
            return PreparedRows(
                vectors, metric, vectors.shape[0], vectors.shape[1], center, weight, ordinary, instead, largest
            )

        return self.retried(run)

    def topk(self, queries: Array, prepared: PreparedRows, k: int, mask: Array | None) -> TopK:
        return certify.topk(self, queries, prepared, k, mask, judge=self.judged)  # type: ignore[arg-type]  # the other half makes it a Backend

    def error_bound(self, queries: Array, prepared: PreparedRows) -> tuple[Array, float]:
        xp = self.xp
        with self.float64():
            near = xp.astype(self._near(queries, prepared), xp.float64)
            norms = xp.sqrt(xp.sum(near * near, axis=1))
            absolute, relative = self.scan_bound(prepared, norms)
            known = norms <= ORDINARY
            if prepared.metric is Metric.COSINE:
                known = known | xp.isfinite(norms)  # the scan's queries have norm one
            return xp.where(known, absolute + xp.zeros_like(norms), xp.inf), relative

    def scan_bound(self, prepared: PreparedRows, norms: Array) -> tuple[Array, float]:
        """`rounding_bound` for queries of such norms, as the scan sees them."""
        unit = 2.0**-53 if self.scan_dtype(prepared.vectors) == self.xp.float64 else 2.0**-24
        return rounding_bound(prepared.metric, prepared.dim, unit, norms, prepared.largest)

    def scan(self, queries: Array, prepared: PreparedRows, count: int, mask: Array | None) -> tuple[Array, Array]:
        def run() -> tuple[Array, Array]:
            parts = [self._scan_block(queries[rows, :], prepared, count, _rows_of(mask, rows))
                     for rows in self.blocks(queries.shape[0], max(4 * prepared.dim, self.tile_bytes >> 11))]  # fmt: skip
            return self.xp.concat([p[0] for p in parts]), self.xp.concat([p[1] for p in parts])

        return self.retried(run)

    def above(
        self, queries: Array, prepared: PreparedRows, thresholds: Array, mask: Array | None
    ) -> Iterator[tuple[np.ndarray, Array]]:
        wanted = self._scan_queries(queries, prepared)
        for tile in self._tiles(queries.shape[0], prepared):
            yield self.retried(partial(self._hits, wanted, prepared, thresholds, mask, tile))

    def rescore(self, queries: Array, prepared: PreparedRows, ids: Array) -> Array:
        def run() -> Array:
            with self.float64():
                parts = [
                    self.xp.concat(
                        [
                            self._rescore_block(queries[rows, :], prepared, ids[rows, columns])
                            for columns in self.blocks(ids.shape[1], 32 * prepared.dim)
                        ],
                        axis=1,
                    )
                    for rows in self.blocks(ids.shape[0], 32 * prepared.dim * ids.shape[1])
                ]
                return self.xp.concat(parts)

        return self.retried(run)

    # Parts of prepare

    def _prepare_block(self, vectors: Array, metric: Metric, center: Array | None) -> tuple[Array, Array, Array, Array]:
        xp = self.xp
        dtype = self.scan_dtype(vectors)
        rows = xp.astype(self.widened(vectors), dtype)
        finite = xp.all(xp.isfinite(rows), axis=1)
        near = rows if center is None else rows - center
        with self.float64():
            near = xp.astype(near, xp.float64)
            squares = xp.sum(near * near, axis=1)
            norms = xp.sqrt(squares)
            ordinary = finite & (norms <= ORDINARY)
            weight = squares
            if metric is Metric.COSINE:
                zero = norms < TINY
                ordinary = ordinary & (zero | (norms >= 1 / ORDINARY))
                weight = xp.where(zero, 0.0, 1.0 / xp.where(zero, 1.0, norms))
            weight = xp.astype(xp.where(ordinary, weight, 0.0), dtype)
            largest = xp.where(ordinary, norms, 0.0)
            instead = xp.astype(xp.where(finite, xp.inf + xp.zeros_like(norms), -xp.inf), dtype)
            return weight, ordinary, instead, largest

    # Parts of scan

    def _near(self, queries: Array, prepared: PreparedRows) -> Array:
        dtype = self.scan_dtype(prepared.vectors)
        if prepared.center is None:
            return self.xp.astype(self.widened(queries), dtype)
        with self.float64():
            # Rounded after the center is gone: float64 queries far from zero differ by less than float32 shows.
            wide = self.xp.astype(self.widened(queries), self.xp.float64)
            return self.xp.astype(wide - self.xp.astype(prepared.center, self.xp.float64), dtype)

    def _scan_queries(self, queries: Array, prepared: PreparedRows) -> Array:
        if prepared.metric is not Metric.COSINE:
            return self._near(queries, prepared)
        xp = self.xp
        with self.float64():
            wide = xp.astype(self.widened(queries), xp.float64)
            reach = xp.max(xp.abs(wide), axis=1)
            zero = reach < TINY
            wide = xp.where(zero[:, None], 0.0, wide) / xp.where(zero, 1.0, reach)[:, None]
            norms = xp.sqrt(xp.sum(wide * wide, axis=1))
            return xp.astype(wide / xp.where(norms == 0.0, 1.0, norms)[:, None], self.scan_dtype(prepared.vectors))

    def _tiles(self, n_queries: int, prepared: PreparedRows) -> Iterator[slice]:
        depth = prepared.dim if prepared.metric is Metric.MANHATTAN and self.manhattan_broadcasts else 1
        as_it_is = prepared.center is None and prepared.vectors.dtype == self.scan_dtype(prepared.vectors)
        as_it_is &= prepared.scan is None  # a coarser scan may convert its tiles
        return self.blocks(prepared.rows, 16 * (n_queries * depth + (0 if as_it_is else prepared.dim)))

    def _scan_block(
        self, queries: Array, prepared: PreparedRows, count: int, mask: Array | None
    ) -> tuple[Array, Array]:
        xp = self.xp
        wanted = self._scan_queries(queries, prepared)
        best: tuple[Array, Array] | None = None
        for tile in self._tiles(queries.shape[0], prepared):
            scores = self._tile_scores(wanted, prepared, tile)
            if mask is not None:
                scores = xp.where(mask[tile][None, :] if mask.ndim == 1 else mask[:, tile], scores, -xp.inf)
            found = self._best(scores, None, count)
            found = found[0], found[1] + tile.start
            best = found if best is None else self._best(
                xp.concat([best[0], found[0]], axis=1), xp.concat([best[1], found[1]], axis=1), count
            )  # fmt: skip
        assert best is not None  # a corpus of no rows is settled before any backend is asked
        return best[0], xp.where(best[0] == -xp.inf, -1, best[1])

    def _hits(
        self, wanted: Array, prepared: PreparedRows, thresholds: Array, mask: Array | None, tile: slice
    ) -> tuple[np.ndarray, Array]:
        scores = self._tile_scores(wanted, prepared, tile)
        usable = prepared.ordinary[tile] | (prepared.instead[tile] > 0)
        if mask is not None:
            usable = usable[None, :] & (mask[tile][None, :] if mask.ndim == 1 else mask[:, tile])
        offsets, ids = self.reached(scores, thresholds, usable)
        return offsets, ids + tile.start

    def reached(self, scores: Array, lines: Array, usable: Array) -> tuple[np.ndarray, Array]:
        """The columns of `scores` (n, t) that are not below their row's line, as CSR; `usable` is (t,), (1, t) or (n, t)."""
        xp = self.xp
        with self.float64():
            hits = ~(xp.astype(scores, xp.float64) < lines[:, None]) & usable
        counts = self.to_numpy(xp.sum(xp.astype(hits, xp.int32), axis=1))
        return np.concatenate([[0], np.cumsum(counts)]), xp.nonzero(hits)[1]

    def _best(self, scores: Array, ids: Array | None, count: int) -> tuple[Array, Array]:
        places = scores.shape[1]
        if places <= count and ids is not None:
            return scores, ids
        chosen = self.largest(scores, min(count, places))
        taken = self.xp.take_along_axis(scores, chosen, axis=1)
        return taken, chosen if ids is None else self.xp.take_along_axis(ids, chosen, axis=1)

    def _tile_scores(self, wanted: Array, prepared: PreparedRows, tile: slice) -> Array:
        weight = None if prepared.weight is None else prepared.weight[tile]
        products = self.tile_products(wanted, prepared, tile)
        return self.score_tile(
            prepared.metric, wanted, products, weight, prepared.ordinary[tile], prepared.instead[tile]
        )

    def tile_rows(self, prepared: PreparedRows, tile: slice) -> Array:
        """The rows of a tile as the scan sees them."""
        dtype = self.scan_dtype(prepared.vectors)
        rows = self.xp.astype(self.widened(prepared.vectors[tile, :]), dtype, copy=False)
        return rows if prepared.center is None else rows - prepared.center

    def tile_products(self, wanted: Array, prepared: PreparedRows, tile: slice) -> Array:
        """The products of all pairs of `wanted` (n, dim) and a tile's rows; for manhattan their distances."""
        rows = self.tile_rows(prepared, tile)
        return self.manhattan(wanted, rows) if prepared.metric is Metric.MANHATTAN else self.matmul(wanted, rows.T)

    def score_tile(
        self,
        metric: Metric,
        wanted: Array,
        products: Array,
        weight: Array | None,
        ordinary: Array,
        instead: Array,
    ) -> Array:
        """The scores (n, t) of `wanted` (n, dim) by `tile_products`: no step depends on a value, so it can be compiled."""
        xp = self.xp
        if metric is Metric.MANHATTAN:
            scores = -products
        elif metric in EXPANDED:
            squares = halving_sum(xp, wanted * wanted)  # whose bound does not grow with the width
            scores = (2.0 * products - weight[None, :]) - squares[:, None]  # type: ignore[index]
        else:
            scores = products * weight[None, :] if metric is Metric.COSINE else products  # type: ignore[index]
        return xp.where(ordinary[None, :], scores, instead[None, :])

    # Parts of rescore

    def _rescore_block(self, queries: Array, prepared: PreparedRows, ids: Array) -> Array:
        terms = self.exact_terms(prepared.metric, queries, self.gathered(prepared.vectors, ids))
        return self.exact_scores(prepared.metric, tuple(self.fixed_sum(x) for x in terms), ids)

    def gathered(self, vectors: Array, ids: Array) -> Array:
        """The rows `ids` (n, c), shape (n, c, dim); anything for an id of -1."""
        flat = self.xp.reshape(self.xp.where(ids < 0, 0, ids), (-1,))
        return self.xp.reshape(self.xp.take(vectors, flat, axis=0), (*ids.shape, vectors.shape[1]))

    def exact_terms(self, metric: Metric, queries: Array, rows: Array) -> tuple[Array, ...]:
        """What is summed for the exact scores of `queries` (n, dim) against `rows` (n, c, dim): float64, each (n, 1 or c, dim).

        Apart from `fixed_sum`, for libraries that compile: one that multiplies and adds in one step, unrounded between,
        would give other bits than the rest.
        """
        xp = self.xp
        queries, rows = (xp.astype(self.widened(x), xp.float64) for x in (queries[:, None, :], rows))
        if metric is Metric.COSINE:
            queries, rows = _in_range(xp, queries), _in_range(xp, rows)
            return queries * rows, queries * queries, rows * rows
        if metric is Metric.DOT:
            return (queries * rows,)
        difference = queries - rows
        return (xp.abs(difference) if metric is Metric.MANHATTAN else difference * difference,)

    def exact_scores(self, metric: Metric, sums: tuple[Array, ...], ids: Array) -> Array:
        """The scores from the sums of `exact_terms`: finite, but for -inf where the id is -1."""
        xp = self.xp
        exact = sums[0] if metric.is_similarity else -sums[0]
        if metric is Metric.COSINE:
            norms = self.rounded_sqrt(sums[1]) * self.rounded_sqrt(sums[2])
            exact = xp.where(norms == 0.0, 0.0, exact / xp.where(norms == 0.0, 1.0, norms))
        limit = xp.finfo(xp.float64).max
        exact = xp.clip(xp.where(xp.isnan(exact), -limit, exact), -limit, limit)
        return xp.where(ids < 0, -xp.inf, exact)

    def fixed_sum(self, x: Array) -> Array:
        """`halving_sum` of terms that nobody needs afterwards: in place."""
        while x.shape[-1] > 1:
            half = 1 << ((x.shape[-1] - 1).bit_length() - 1)
            x[..., : x.shape[-1] - half] += x[..., half:]
            x = x[..., :half]
        return x[..., 0]

    def rounded_sqrt(self, x: Array) -> Array:
        """The square root in float64, correctly rounded, as IEEE 754 asks: equal rows get equal scores wherever they lie."""
        return self.xp.sqrt(x)


def _in_range(xp: Any, x: Array) -> Array:
    """Rows times a power of two that keeps their squares in float64; what float32 calls subnormal is zero."""
    reach = xp.max(xp.abs(x), axis=-1, keepdims=True)
    one = xp.ones_like(reach)
    scale = xp.where(reach > 2.0**400, one * 2.0**-700, xp.where(reach < 2.0**-400, one * 2.0**700, one))
    return x * xp.where(reach < TINY, 0.0, scale)


def _rows_of(mask: Array | None, rows: slice) -> Array | None:
    return mask if mask is None or mask.ndim == 1 else mask[rows, :]
