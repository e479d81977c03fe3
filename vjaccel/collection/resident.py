"""The vectors of a collection on disk, held in memory for searching: read once, and brought up to date from one version to
another by what has changed between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.turns import Turns
from vjaccel.collection.arrow import vectors_of

__all__ = ["Held", "Resident", "among", "numbers_of", "windows"]

ROW_OVERHEAD = 64
"""Bytes of a row besides its numbers: its own number, norms and the like, and room to grow."""

WINDOW_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Held:
    """The vectors of one version.

    Attributes
    ----------
    dataset : lance.LanceDataset
        That version.
    corpus : Corpus
    numbers : ndarray of int64
        The number of each row of the corpus, ascending.
    """

    dataset: Any
    corpus: Corpus
    numbers: np.ndarray


class Resident:
    """What is held, if it may be.

    Parameters
    ----------
    limit : int
        Bytes that may be held.
    one_writer : bool
        Whether versions follow one another without gaps, so that rows that changed are known by their version.
    """

    def __init__(self, dim: int, metric: Metric, backend: str | None, limit: int, *, one_writer: bool) -> None:
        self.limit = limit
        self._dim = dim
        self._metric = metric
        self._backend = backend
        self._one_writer = one_writer
        self._turns = Turns()
        self._held: Held | None = None

    def fits(self, dataset: Any) -> bool:
        """Whether the vectors of `dataset` may be held. If not, none are from now on."""
        if dataset.count_rows() * (4 * self._dim + ROW_OVERHEAD) <= self.limit:
            return True
        if self._held is not None:
            with self._turns.change():
                self._held = None
        return False

    @contextmanager
    def at_least(self, dataset: Any) -> Iterator[Held]:
        """The version of `dataset`, or a later one; nothing changes it inside."""
        while True:
            with self._turns.search():
                held = self._held
                if held is not None and held.dataset.version >= dataset.version:
                    yield held
                    return
            with self._turns.change():
                held = self._held
                if held is None or held.dataset.version < dataset.version:
                    self._held = None  # where what follows fails, it is read anew
                    followed = self._followed(held, dataset) if held is not None and self._one_writer else None
                    self._held = self._read(dataset) if followed is None else followed

    def close(self) -> None:
        """Let go of what is held."""
        with self._turns.change():
            self._held = None

    def _read(self, dataset: Any) -> Held:
        numbers = numbers_of(dataset)
        vectors = np.empty((len(numbers), self._dim), np.float32)
        for table in windows(dataset, max(1, WINDOW_BYTES // (4 * self._dim))):
            places = np.searchsorted(numbers, table.column("_rowid").to_numpy())
            vectors[places] = vectors_of(table.column("vector"), self._dim)
        return Held(dataset, Corpus(vectors, metric=self._metric, backend=self._backend), numbers)

    def _followed(self, held: Held, dataset: Any) -> Held | None:
        """`held`, changed to what `dataset` is; None where reading it anew is less work."""
        numbers, corpus = held.numbers, held.corpus
        now = numbers_of(dataset)
        kept = among(numbers, now)
        since = f"_row_last_updated_at_version > {held.dataset.version}"
        if dataset.count_rows(since) + len(numbers) - int(kept.sum()) > len(now) // 2:
            return None
        changed = dataset.to_table(columns=["vector"], filter=since, with_row_id=True)
        found = changed.column("_rowid").to_numpy().astype(np.int64)
        rows = vectors_of(changed.column("vector"), self._dim)
        order = np.argsort(found)
        found, rows = found[order], rows[order]
        corpus.remove(np.flatnonzero(~kept))
        numbers = numbers[kept]
        old = among(found, numbers)
        corpus.update(np.searchsorted(numbers, found[old]), rows[old])
        corpus.add(rows[~old])
        numbers = np.concatenate([numbers, found[~old]])
        return Held(dataset, corpus, numbers) if np.array_equal(numbers, now) else None


def numbers_of(dataset: Any, where: str | None = None) -> np.ndarray:
    """The numbers of the rows for which `where` holds, ascending."""
    table = dataset.to_table(columns=[], filter=where, with_row_id=True)
    return np.sort(table.column("_rowid").to_numpy().astype(np.int64))


def among(numbers: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of `numbers` are among `others`, that ascend."""
    if not len(others):
        return np.zeros(len(numbers), bool)
    places = np.minimum(np.searchsorted(others, numbers), len(others) - 1)
    found: np.ndarray = others[places] == numbers
    return found


def windows(dataset: Any, rows: int) -> Iterator[Any]:
    """Tables of numbers and vectors, `rows` rows in each, one after another by offset.

    A scan of all of them decodes whole pages ahead, whatever it is told to hold: 100 MB and more.
    """
    for start in range(0, dataset.count_rows(), rows):
        yield dataset.to_table(columns=["vector"], with_row_id=True, offset=start, limit=rows)
