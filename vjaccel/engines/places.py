"""From a text's number in a run to its row in the files."""

from __future__ import annotations

import threading

import numpy as np

__all__ = ["Places"]


class Places:
    """The rows of the texts that are under way: a run leaves out what is settled already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = 0
        self._rows = np.empty(0, np.int64)

    def add(self, rows: np.ndarray) -> None:
        """The rows of the next texts."""
        with self._lock:
            self._rows = np.concatenate([self._rows, rows])

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of the texts `numbers`."""
        with self._lock:
            found: np.ndarray = self._rows[numbers - self._first]
        return found

    def forget(self, count: int) -> None:
        """The next `count` numbers will not be asked for again."""
        with self._lock:
            self._first += count
            self._rows = self._rows[count:]
