"""Searching in JAX: the generic scheme, over tiles of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vjaccel.arrays.coarse import GenericCoarse
from vjaccel.arrays.protocol import Array, Coarse, Metric, TopK
from vjaccel.arrays.search import EXPANDED, PreparedRows, halving_sum, rounding_bound
from vjaccel.errors import NotSupported
from vjaccel_jax.shapes import bucket, power_of_two_below, tiles

__all__ = ["JaxPrepared", "JaxSearch"]

QUERIES = 256
"""Queries scanned together; fewer are padded to a power of two."""

TILE_BYTES = 16 << 20
"""Of a corpus' tile: larger ones leave the CPU's cache between being cut out and being multiplied."""

WHOLE_BYTES = 32 << 20
"""Of scores: where those of all rows take no more, a corpus is not cut into tiles."""

SEARCHED_AS = {Metric.EUCLIDEAN: Metric.SQEUCLIDEAN}
"""The metrics whose kernels are those of another: what is compiled for one serves both."""


@dataclass(frozen=True, slots=True)
class JaxPrepared:
    """A corpus as it was given, and as the kernels want it.

    Attributes
    ----------
    metric : Metric
    rows : int
        Without those that were added to fill a tile, or to leave room.
    stored : PreparedRows
        The same corpus; one smaller than a tile is padded with rows that are never returned, so that shapes repeat, and one
        that was changed has more of them, to be written to.
    tile : int
        The rows of a tile.
    given : array or None
        What was given; None once it was changed.
    """

    metric: Metric
    rows: int
    stored: PreparedRows
    tile: int
    given: Array | None

    @property
    def scan(self) -> str | None:
        return self.stored.scan

    @property
    def dim(self) -> int:
        return self.stored.dim

    @property
    def vectors(self) -> Array:
        return self.stored.vectors[: self.rows, :] if self.given is None else self.given


class JaxSearch(GenericCoarse):
    """The searching half of `JaxBackend`."""

    def prepare(self, vectors: Array, metric: Metric) -> JaxPrepared:  # type: ignore[override]  # a corpus of its own kind; so below
        from vjaccel_jax import kernels

        _refuse_tracing(vectors)

        def run() -> JaxPrepared:
            rows, dim = vectors.shape
            size = min(bucket(rows, 1 << 30), self._tile_rows(vectors.dtype, dim))
            kept = vectors if rows >= size else kernels.padded(vectors, size, 0)
            return replace(self.stored_rows(kept, rows, size, metric), given=vectors)

        return self.retried(run)

    def stored_rows(self, kept: Array, rows: int, size: int, metric: Metric) -> JaxPrepared:
        """The first `rows` of `kept`, which has at least `size`; the others are zero, and never returned."""
        from vjaccel_jax import kernels

        with self.float64():
            # Any center is correct; rows of zeros take from the mean.
            center = None
            if metric in EXPANDED:
                mean = self.mean(kept)
                center = self.xp.astype(mean * (kept.shape[0] / max(rows, 1)), mean.dtype)
            weight, ordinary, instead, norms = self._prepared_tiles(kept, size, metric, center)
            ordinary, instead, largest = kernels.real_rows(ordinary, instead, norms, rows)
        stored = PreparedRows(
            kept,
            SEARCHED_AS.get(metric, metric),
            kept.shape[0],
            kept.shape[1],
            center,
            weight,
            ordinary,
            instead,
            largest,
        )
        return JaxPrepared(metric, rows, stored, size, None)

    def _prepared_tiles(self, kept: Array, size: int, metric: Metric, center: Array | None) -> list[Array]:
        from vjaccel_jax import kernels

        if kept.shape[0] == size:
            return list(self.prepare_block(kept, metric, center))
        parts = [
            tuple(x[first - start :] for x in self.prepare_block(kernels.piece(kept, start, size), metric, center))
            for start, first in tiles(kept.shape[0], size)
        ]
        return [self.xp.concat(list(column)) for column in zip(*parts, strict=True)]

    def prepare_block(self, vectors: Array, metric: Metric, center: Array | None) -> tuple[Array, ...]:
        # But for cosine the metrics differ by the center alone.
        found: tuple[Array, ...] = self._prepare_block(
            vectors, metric if metric is Metric.COSINE else Metric.DOT, center
        )
        return found

    def prepare_scanned(  # type: ignore[override]  # as `prepare`
        self, vectors: Array, metric: Metric, scan: Coarse
    ) -> JaxPrepared:
        prepared = self.prepare(vectors, metric)
        return replace(prepared, stored=self.for_scan(prepared.stored, scan))

    def half_rows(self, prepared: PreparedRows) -> tuple[Array, Array]:
        from vjaccel_jax import kernels

        size = min(prepared.rows, self._tile_rows(prepared.vectors.dtype, prepared.dim))
        half = self.xp.zeros((prepared.rows, prepared.dim), dtype=self.xp.float16, device=self.native_device)
        scales = self.xp.zeros_like(prepared.instead)
        for start, _ in tiles(prepared.rows, size):
            rows, ordinary = (kernels.piece(x, start, size) for x in (prepared.vectors, prepared.ordinary))
            block = self.half_block(rows, prepared.center, ordinary)
            half, scales = kernels.fill(half, block[0], start, 0), kernels.fill(scales, block[1], start)
        return half, scales

    def finer(self, prepared: JaxPrepared) -> JaxPrepared:  # type: ignore[override]  # as `prepare`
        return replace(prepared, stored=super().finer(prepared.stored))

    def half_product(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b, preferred_element_type=self.xp.float32)

    def tf32_product(self, a: Array, b: Array) -> Array:
        import jax

        return jax.lax.dot(a, b, precision=jax.lax.DotAlgorithmPreset.TF32_TF32_F32)

    def _tile_rows(self, dtype: Any, dim: int) -> int:
        return power_of_two_below(min(TILE_BYTES, self.tile_bytes) // (dtype.itemsize * dim))

    def topk(  # type: ignore[override]  # a corpus that its own `prepare` gave; so below
        self, queries: Array, prepared: JaxPrepared, k: int, mask: Array | None
    ) -> TopK:
        _refuse_tracing(queries, mask)
        rows = queries.shape[0]
        # The added queries are NaN: they find nothing, so nothing is settled for them.
        queries, mask = self._whole_batch(queries, np.nan), self._whole_mask(mask)
        found = super().topk(queries, prepared, k, mask)
        with self.float64():
            return TopK(*(_first(x, rows) for x in found))

    def error_bound(  # type: ignore[override]
        self, queries: Array, prepared: JaxPrepared
    ) -> tuple[Array, float]:
        _refuse_tracing(queries)
        unit = 2.0**-53 if self.scan_dtype(prepared.stored.vectors) == self.xp.float64 else 2.0**-24
        _, relative = rounding_bound(prepared.metric, prepared.dim, unit, 0.0, 0.0)
        with self.float64():
            return self.bounds(queries, self._head(prepared.stored)), relative

    def bounds(self, queries: Array, prepared: PreparedRows) -> Array:
        return super().error_bound(queries, prepared)[0]

    def scan(  # type: ignore[override]
        self, queries: Array, prepared: JaxPrepared, count: int, mask: Array | None
    ) -> tuple[Array, Array]:
        from vjaccel_jax import kernels

        def run() -> tuple[Array, Array]:
            whole, masked = self._whole_batch(queries, np.nan), self._whole_mask(mask)
            size = min(whole.shape[0], QUERIES)
            parts = [
                self._scan_batch(
                    kernels.piece(whole, start, size),
                    prepared,
                    count,
                    masked if masked is None or masked.ndim == 1 else kernels.piece(masked, start, size),
                )
                for start in range(0, whole.shape[0], size)
            ]
            scores, ids = parts[0] if len(parts) == 1 else (self.xp.concat(list(x)) for x in zip(*parts, strict=True))
            return _first(scores, queries.shape[0]), _first(ids, queries.shape[0])

        return self.retried(run)

    def above(  # type: ignore[override]
        self, queries: Array, prepared: JaxPrepared, thresholds: Array, mask: Array | None
    ) -> Iterator[tuple[np.ndarray, Array]]:
        _refuse_tracing(queries, mask)
        rows = queries.shape[0]
        wanted = self._wanted(self._whole_batch(queries, np.nan), prepared)
        lines, allowed = self.to_numpy(thresholds), None if mask is None else self.to_numpy(mask)
        usable = self.to_numpy(prepared.stored.ordinary | (prepared.stored.instead > 0))
        size, fitting = self._scanned(wanted, prepared), self.tile_bytes // (16 * wanted.shape[0])
        if size > fitting:
            size = min(prepared.tile, power_of_two_below(fitting))
        for start, first, scores, _ in self._tiles_scored(wanted, prepared, None, size):
            # On the host: the numbers of hits would be shapes to compile for.
            here = slice(first, min(start + size, prepared.rows))
            found = self.to_numpy(scores)[:rows, first - start : here.stop - start]
            hits = ~(found.astype(np.float64) < lines[:, None]) & usable[None, here]
            if allowed is not None:
                hits &= allowed[None, here] if allowed.ndim == 1 else allowed[:, here]
            yield np.concatenate([[0], np.cumsum(hits.sum(axis=1))]), np.nonzero(hits)[1] + first

    def rescore(  # type: ignore[override]
        self, queries: Array, prepared: JaxPrepared, ids: Array
    ) -> Array:
        from vjaccel_jax import kernels

        rows, columns = ids.shape
        ids = self.xp.asarray(ids, dtype=self.xp.int32)
        queries = self._whole_batch(queries, 0)
        ids = kernels.padded(kernels.padded(ids, queries.shape[0], -1), bucket(columns, 1 << 10), -1, axis=1)
        exact = super().rescore(queries, prepared.stored, ids)
        with self.float64():
            return exact if exact.shape == (rows, columns) else exact[:rows, :columns]

    def _rescore_block(self, queries: Array, prepared: PreparedRows, ids: Array) -> Array:
        metric = SEARCHED_AS.get(prepared.metric, prepared.metric)
        terms = self.terms_of(metric, queries, prepared.vectors, ids)
        # All distances are sums that are negated.
        return self.summed_terms(metric if metric.is_similarity else Metric.SQEUCLIDEAN, terms, ids)

    def terms_of(self, metric: Metric, queries: Array, vectors: Array, ids: Array) -> tuple[Array, ...]:
        return self.exact_terms(metric, queries, self.gathered(vectors, ids))

    def summed_terms(self, metric: Metric, terms: tuple[Array, ...], ids: Array) -> Array:
        return self.exact_scores(metric, tuple(self.fixed_sum(x) for x in terms), ids)

    # Parts

    def _scan_batch(self, queries: Array, prepared: JaxPrepared, count: int, mask: Array | None) -> tuple[Array, Array]:
        from vjaccel_jax import kernels

        wanted = self._wanted(queries, prepared)
        best: tuple[Array, Array] | None = None
        for start, first, scores, allowed in self._tiles_scored(
            wanted, prepared, mask, self._scanned(wanted, prepared)
        ):
            best = kernels.kept(best, scores, start, first, allowed, count)
        assert best is not None  # a corpus of no rows is settled before any backend is asked
        return best

    def _tiles_scored(
        self, wanted: Array, prepared: JaxPrepared, mask: Array | None, size: int
    ) -> Iterator[tuple[int, int, Array, Array | None]]:
        """Each tile's start, its first new row, its scores, and its part of the mask."""
        from vjaccel_jax import kernels

        stored = prepared.stored
        used = min(stored.rows, max(-(-prepared.rows // size), 1) * size)
        if mask is not None and mask.shape[-1] < stored.rows:
            mask = kernels.padded(mask, stored.rows, False, axis=mask.ndim - 1)
        for start, first in tiles(used, size):
            tile = stored if size == stored.rows else kernels.tile_of(stored, start, size)
            allowed = None if mask is None else kernels.piece(mask, start, size, axis=mask.ndim - 1)
            yield start, first, self._scored(wanted, tile), allowed

    def fixed_sum(self, x: Array) -> Array:
        return halving_sum(self.xp, x)

    def _scanned(self, wanted: Array, prepared: JaxPrepared) -> int:
        """The rows of a tile: all of them, where their scores are few and they are neither converted nor centered.

        Cutting tiles out of a corpus is a copy: two thirds of the time of one query of 200,000 x 384 on a CPU.
        """
        stored = prepared.stored
        as_it_is = stored.metric.is_similarity and stored.vectors.dtype == wanted.dtype
        as_it_is |= stored.scan == "float16"
        few = wanted.shape[0] * stored.rows * wanted.dtype.itemsize <= min(WHOLE_BYTES, self.tile_bytes)
        return stored.rows if as_it_is and few else prepared.tile

    def _scored(self, wanted: Array, tile: PreparedRows) -> Array:
        return self._tile_scores(wanted, tile, slice(None))

    def _wanted(self, queries: Array, prepared: JaxPrepared) -> Array:
        with self.float64():
            # Which scan it is for does not matter to queries, nor, but for cosine, which metric.
            head = self._head(super().finer(prepared.stored))
            return self._scan_queries(
                queries, head if head.metric is Metric.COSINE else replace(head, metric=Metric.DOT)
            )

    def _head(self, stored: PreparedRows) -> PreparedRows:
        """A corpus of no row that anybody reads, with all that is the same for every row: what queries' kernels are
        compiled for.
        """
        nothing = dict.fromkeys(stored.row_fields)
        one = self.xp.zeros((1, 1), dtype=stored.vectors.dtype, device=self.native_device)
        return replace(stored, **nothing | {"vectors": one, "rows": 1})

    def _whole_batch(self, queries: Array, value: float) -> Array:
        from vjaccel_jax.kernels import padded

        rows = bucket(queries.shape[0], QUERIES)
        return queries if rows == queries.shape[0] else padded(queries, rows, value)

    def _whole_mask(self, mask: Array | None) -> Array | None:
        return mask if mask is None or mask.ndim == 1 else self._whole_batch(mask, False)


def _first(x: Array, rows: int) -> Array:
    return x if x.shape[0] == rows else x[:rows]


def _refuse_tracing(*arrays: Array | None) -> None:
    import jax

    if any(isinstance(x, jax.core.Tracer) for x in arrays):
        raise NotSupported(
            "a search cannot be traced by JAX: which rows it looks at depends on values; call it outside jit, grad and vmap"
        )
