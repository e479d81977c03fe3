"""The positions of a corpus' rows, where rows were removed that are still prepared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.protocol import Array, Backend, TopK

__all__ = ["Numbering"]


class _Numbers(NamedTuple):
    """The position of each row that is prepared."""

    host: np.ndarray
    device: Array


class Numbering:
    """Which of the rows that are prepared there still are, and what these are called.

    Parameters
    ----------
    backend : Backend
        Where they are prepared.

    Attributes
    ----------
    alive : ndarray of bool or None
        Of each prepared row, whether it is there; None where all are.
    """

    def __init__(self, backend: Backend) -> None:
        self.alive: np.ndarray | None = None
        self._backend = backend
        self._known: _Numbers | None = None

    def count(self, rows: int) -> int:
        """How many there are of so many that are prepared."""
        return rows if self.alive is None else int(self.alive.sum())

    def added(self, rows: int) -> None:
        """So many more are prepared, behind the others."""
        if self.alive is not None:
            self.alive, self._known = np.concatenate([self.alive, np.ones(rows, bool)]), None

    def removed(self, places: np.ndarray, rows: int) -> np.ndarray:
        """The prepared rows at `places`, of so many, are no longer there; those that are."""
        alive = np.ones(rows, bool) if self.alive is None else self.alive
        alive[places] = False
        self.alive, self._known = alive, None
        return alive

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Where the rows at `positions` are among those that are prepared."""
        return positions if self.alive is None else np.flatnonzero(self.alive)[positions]

    def positions(self, places: np.ndarray) -> np.ndarray:
        """What prepared rows are called."""
        numbers = self._numbers()
        if numbers is None:
            return places
        called: np.ndarray = numbers.host[places]
        return called

    def named(self, found: TopK) -> TopK:
        """Prepared rows that a search has found, by what they are called."""
        numbers = self._numbers()
        if numbers is None:
            return found
        xp = array_namespace(found.indices)
        with self._backend.float64():
            none = found.indices < 0
            flat = xp.reshape(xp.where(none, 0, found.indices), (-1,))
            called = xp.reshape(xp.take(numbers.device, flat, axis=0), found.indices.shape)
            return TopK(found.values, xp.where(none, -1, called))

    def mask(self, allowed: Array, *, on_host: bool) -> Array:
        """Which of the prepared rows may be found, of which of those that there are may."""
        numbers = self._numbers()
        if numbers is None:
            return allowed
        with self._backend.float64():
            chosen = numbers.host if on_host else numbers.device
            return array_namespace(allowed).take(allowed, chosen, axis=allowed.ndim - 1)

    def _numbers(self) -> _Numbers | None:
        """None where prepared rows have their own numbers."""
        if self.alive is not None and self._known is None:
            numbers = np.maximum(np.cumsum(self.alive) - 1, 0)
            with self._backend.on_device(), self._backend.float64():
                self._known = _Numbers(numbers, self._backend.asarray(numbers))
        return self._known
