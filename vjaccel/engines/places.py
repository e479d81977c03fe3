"""From a text's number in a run to its row in the files, and errors that say the one as errors that say the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from vjaccel.embedding import ItemError
from vjaccel.errors import TooManyErrors

__all__ = ["Places", "said_of"]


@contextmanager
def said_of(row: Callable[[ItemError], ItemError]) -> Iterator[None]:
    """Within it a run that stops for too many errors names the rows that `row` gives for its texts."""
    try:
        yield
    except TooManyErrors as exc:
        raise TooManyErrors(exc.failures, exc.max_errors, [row(error) for error in exc.errors]) from exc


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
