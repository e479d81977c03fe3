"""Changing a corpus in JAX: its arrays are given to compiled kernels, which write to them in place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vjaccel.arrays.coarse import HalfRows
from vjaccel.arrays.protocol import Array
from vjaccel_jax.search import JaxPrepared, JaxSearch
from vjaccel_jax.shapes import bucket

__all__ = ["JaxChanges"]

ROWS = 1 << 12
"""Rows prepared and written together; fewer are padded to a power of two."""


class JaxChanges(JaxSearch):
    """Searching, and the changing part of `JaxBackend`."""

    def extended(self, prepared: JaxPrepared, vectors: Array) -> JaxPrepared:
        first, last = prepared.rows, prepared.rows + vectors.shape[0]
        if not _owned(prepared) or prepared.stored.rows < last:
            prepared = self._moved(prepared, max(last, 2 * first), last)
        written = self._written(prepared, np.arange(first, last), vectors)
        return replace(written, rows=last)

    def replaced(self, prepared: JaxPrepared, ids: np.ndarray, vectors: Array) -> JaxPrepared:
        if not _owned(prepared):
            prepared = self._moved(prepared, prepared.rows, prepared.rows)
        return self._written(prepared, ids, vectors)

    def removed(self, prepared: JaxPrepared, ids: np.ndarray) -> JaxPrepared:
        from vjaccel_jax import kernels

        stored = prepared.stored
        places = self._places(ids, stored.rows)
        no = self.xp.zeros(places.shape, dtype=bool)
        refused = self.xp.full(places.shape, -np.inf, dtype=stored.instead.dtype)
        stored = replace(
            stored,
            ordinary=kernels.put_rows(stored.ordinary, places, no),
            instead=kernels.put_rows(stored.instead, places, refused),
        )
        return replace(prepared, stored=stored)

    def _places(self, ids: np.ndarray, outside: int) -> Array:
        size = bucket(len(ids), ROWS)
        return self.asarray(np.pad(ids, (0, size - len(ids)), constant_values=outside).astype(np.int32))

    def _moved(self, prepared: JaxPrepared, capacity: int, last: int) -> JaxPrepared:
        """The same rows in arrays of their own, with room for `capacity`, prepared anew; what was removed stays so."""
        from vjaccel_jax import kernels

        rows, old = prepared.rows, prepared.stored
        size = min(bucket(capacity, 1 << 30), self._tile_rows(old.vectors.dtype, old.dim))
        capacity = -(-capacity // size) * size
        kept = kernels.padded(kernels.piece(prepared.vectors, 0, rows), capacity, 0)
        found = self.stored_rows(kept, rows, size, prepared.metric)
        refused = ~old.ordinary[:rows] & (old.instead[:rows] < 0)
        refused = kernels.padded(refused, capacity, False)
        stored = replace(
            found.stored,
            ordinary=found.stored.ordinary & ~refused,
            instead=self.xp.where(refused, -self.xp.inf, found.stored.instead),
        )
        return replace(found, stored=self.for_scan(stored, old.scan))

    def _written(self, prepared: JaxPrepared, ids: np.ndarray, vectors: Array) -> JaxPrepared:
        from vjaccel_jax import kernels

        stored = prepared.stored
        for start in range(0, len(ids), ROWS):
            places = self._places(ids[start : start + ROWS], stored.rows)
            part = self.xp.astype(vectors[start : start + ROWS, :], stored.vectors.dtype)
            part = kernels.padded(part, places.shape[0], 0)
            with self.float64():
                weight, ordinary, instead, norms = self._prepare_block(part, stored.metric, stored.center)
                real = self.xp.arange(places.shape[0]) < len(ids[start : start + ROWS])
                largest = self.xp.maximum(stored.largest, self.xp.max(self.xp.where(real, norms, 0.0)))
                if isinstance(stored, HalfRows):
                    half, scales = self.half_block(part, stored.center, ordinary)
                    stored = replace(
                        stored,
                        half=kernels.put_rows(stored.half, places, half),
                        scales=kernels.put_rows(stored.scales, places, scales),
                    )
            stored = replace(
                stored,
                vectors=kernels.put_rows(stored.vectors, places, part),
                weight=kernels.put_rows(stored.weight, places, weight),
                ordinary=kernels.put_rows(stored.ordinary, places, ordinary),
                instead=kernels.put_rows(stored.instead, places, instead),
                largest=largest,
            )
        return replace(prepared, stored=stored, given=None)


def _owned(prepared: JaxPrepared) -> bool:
    return prepared.stored.vectors is not prepared.given
