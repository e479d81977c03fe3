"""Changing a prepared corpus where it is, in array-API terms.

Rows are kept in arrays with room for more: `PreparedRows.room`, which the corpus owns. What searches see are views of its
first rows. When the room is used up it is doubled, and the whole prepared anew: so the center follows the rows, and adding
one by one costs a few copies of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vjaccel.arrays.coarse import GenericCoarse
from vjaccel.arrays.protocol import Array
from vjaccel.arrays.search import PreparedRows

__all__ = ["GenericChanges"]


class GenericChanges(GenericCoarse):
    """Searching, and the changing part of `GenericBackend`."""

    asarray: Callable[[Array], Array]

    def without_gradient(self, x: Array) -> Array:
        """`x`, of which no graph is kept."""
        return x

    def extended(self, prepared: PreparedRows, vectors: Array) -> PreparedRows:
        vectors = self.without_gradient(vectors)
        first, last = prepared.rows, prepared.rows + vectors.shape[0]
        if prepared.room is None or prepared.room["vectors"].shape[0] < last:
            return self._moved(prepared, vectors, max(last, 2 * first))
        part = self.prepare_like(vectors, prepared)
        for name, held in prepared.room.items():
            held[first:last, ...] = getattr(part, name)
        return self._seen(replace(prepared, rows=last), part)

    def replaced(self, prepared: PreparedRows, ids: np.ndarray, vectors: Array) -> PreparedRows:
        vectors = self.without_gradient(vectors)
        if prepared.room is None:
            prepared = self._moved(prepared, vectors[:0, :], prepared.rows)
        part = self.prepare_like(vectors, prepared)
        for name, held in prepared.room.items():  # type: ignore[union-attr]  # it was moved to a room
            self.put_rows(held, ids, getattr(part, name))
        return self._seen(prepared, part)

    def removed(self, prepared: PreparedRows, ids: np.ndarray) -> PreparedRows:
        xp = self.xp
        held = prepared.room or {"ordinary": prepared.ordinary, "instead": prepared.instead}
        refused = {"ordinary": False, "instead": -xp.inf}
        for name, value in refused.items():
            values = xp.full((len(ids),), value, dtype=held[name].dtype, device=self.native_device)
            self.put_rows(held[name], ids, values)
        return prepared

    def put_rows(self, out: Array, ids: np.ndarray, values: Array) -> None:
        """Write `values` to the rows `ids` of `out`, each once."""
        try:
            out[self.asarray(ids), ...] = values
        except (IndexError, TypeError, NotImplementedError):
            # The standard has no such assignment.
            for place, row in enumerate(ids.tolist()):
                out[row : row + 1, ...] = values[place : place + 1, ...]

    def _moved(self, prepared: PreparedRows, vectors: Array, capacity: int) -> PreparedRows:
        """The rows of `prepared` and then `vectors`, in arrays of their own with room for `capacity`."""
        first, last = prepared.rows, prepared.rows + vectors.shape[0]
        held = self._room(prepared.vectors, capacity)
        held[:first, ...] = prepared.vectors
        held[first:last, ...] = self.xp.astype(vectors, held.dtype)
        found = self.prepare_again(held[:last, :], prepared)
        room = {"vectors": held}
        for name in found.row_fields[1:]:
            values = getattr(found, name)
            room[name] = self._room(values, capacity)
            room[name][:last, ...] = values
        # Rows that were removed stay so.
        refused = ~prepared.ordinary & (prepared.instead < 0)
        room["ordinary"][:first, ...] = found.ordinary[:first] & ~refused
        room["instead"][:first, ...] = self.xp.where(refused, prepared.instead, found.instead[:first])
        return self._seen(replace(found, room=room), found)

    def _room(self, like: Array, capacity: int) -> Array:
        return self.xp.empty((capacity, *like.shape[1:]), dtype=like.dtype, device=self.native_device)

    def _seen(self, prepared: PreparedRows, part: PreparedRows) -> PreparedRows:
        """`prepared`, its views taken anew, and its largest norms at least those of `part`."""
        with self.float64():
            largest = {
                name: self.xp.max(self.xp.stack([self.xp.asarray(getattr(x, name)) for x in (prepared, part)]))
                for name in prepared.largest_fields
            }
        views = {name: held[: prepared.rows, ...] for name, held in prepared.room.items()}  # type: ignore[union-attr]
        return replace(prepared, **largest, **views)
