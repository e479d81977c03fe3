"""Rows of a collection in memory as they were, for somebody who goes through them while others change them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Snapshot"]


class Snapshot:
    """Some rows; a vector is put aside here before it changes or goes, so that the others need no copy.

    Parameters
    ----------
    ids : list of str
    numbers : ndarray of int64, shape (n,)
        Of the rows, ascending.
    metadata : list of dict
        Which nobody changes: a change has another in its place.
    """

    def __init__(self, ids: list[str], numbers: np.ndarray, metadata: list[dict[str, Any]]) -> None:
        self.ids = ids
        self.numbers = numbers
        self.metadata = metadata
        self.start = 0
        """How many rows have been given out."""
        self._aside: dict[int, np.ndarray] = {}

    def waits_for(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the rows with these `numbers` are still to be given out as they are now."""
        coming = self.numbers[self.start :]
        places = np.minimum(np.searchsorted(coming, numbers), len(coming) - 1)
        there = coming[places] == numbers if len(coming) else np.zeros(len(numbers), bool)
        return there & ~np.isin(numbers, list(self._aside))

    def put_aside(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Keep vectors that `waits_for` has named."""
        self._aside.update((number, row.copy()) for number, row in zip(numbers.tolist(), vectors, strict=True))

    def taken_from_aside(self, numbers: np.ndarray) -> dict[int, np.ndarray]:
        """The vectors that were put aside of rows that are given out now, by their place in `numbers`."""
        return {
            place: self._aside.pop(number) for place, number in enumerate(numbers.tolist()) if number in self._aside
        }
