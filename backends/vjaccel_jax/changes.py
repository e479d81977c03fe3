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
        held = {"ordinary": stored.ordinary, "instead": stored.instead}
        held = kernels.put_rows(held, self._places(ids, stored.rows), {"ordinary": False, "instead": -np.inf})
        return replace(prepared, stored=replace(stored, **held))

    def _places(self, ids: np.ndarray, outside: int) -> Array:
        size = bucket(len(ids), ROWS)
        return self.asarray(np.pad(ids, (0, size - len(ids)), constant_values=outside).astype(np.int32))

    def _moved(self, prepared: JaxPrepared, capacity: int, last: int) -> JaxPrepared:
        """The same rows in arrays of their own, with room for `capacity`, prepared anew; what was removed stays so."""
        from vjaccel_jax import kernels

        rows, old = prepared.rows, prepared.stored
        size = min(bucket(capacity, 1 << 30), self._tile_rows(old.vectors.dtype, old.dim))
        capacity = -(-capacity // size) * size
        # What of the room was not written to is zero, as what is added.
        found = self.stored_rows(kernels.copied(old.vectors, capacity), rows, size, prepared.metric)
        with self.float64():
            ordinary, instead = kernels.still_refused(
                found.stored.ordinary, found.stored.instead, old.ordinary, old.instead
            )
        stored = replace(found.stored, ordinary=ordinary, instead=instead)
        return replace(found, stored=self.for_scan(stored, old.scan))

    def _written(self, prepared: JaxPrepared, ids: np.ndarray, vectors: Array) -> JaxPrepared:
        from vjaccel_jax import kernels

        stored = prepared.stored
        for start in range(0, len(ids), ROWS):
            places = self._places(ids[start : start + ROWS], stored.rows)
            part = self.xp.astype(vectors[start : start + ROWS, :], stored.vectors.dtype)
            part = kernels.padded(part, places.shape[0], 0)
            with self.float64():
                weight, ordinary, instead, norms = self.prepare_block(part, stored.metric, stored.center)
                new = {"vectors": part, "weight": weight, "ordinary": ordinary, "instead": instead}
                largest = kernels.at_least(stored.largest, norms, len(ids[start : start + ROWS]))
                if isinstance(stored, HalfRows):
                    new["half"], new["scales"] = self.half_block(part, stored.center, ordinary)
                held = kernels.put_rows({name: getattr(stored, name) for name in new}, places, new)
            stored = replace(stored, **held, largest=largest)
        return replace(prepared, stored=stored, given=None)


def _owned(prepared: JaxPrepared) -> bool:
    return prepared.stored.vectors is not prepared.given
