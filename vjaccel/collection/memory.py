"""A collection's rows in memory: the vectors in a `Corpus`, the rest in Python's own.

Rows that were added wait until the first call that needs them in the corpus, so that adding costs little more than a copy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress, count
from typing import Any, ClassVar, Literal
from weakref import WeakSet

import numpy as np

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.turns import Turns
from vjaccel.collection.filters import FilterTable
from vjaccel.collection.metadata import Columns, copied
from vjaccel.collection.results import Rows, Version
from vjaccel.collection.snapshot import Snapshot
from vjaccel.collection.store import Description, IndexKind, Nearest, Put, Taken
from vjaccel.errors import InvalidInput, NotSupported

__all__ = ["MemoryStore"]

CHUNK_BYTES = 32 << 20

NO_INDEX = "a collection in memory has no index, and every search of it is exact; Collection.open makes one on disk"


class MemoryStore:
    """Rows in memory; `reading` goes on together, `writing` alone."""

    place: ClassVar[Literal["memory", "disk"]] = "memory"

    def __init__(self, description: Description, backend: str | None) -> None:
        self.description = description
        dim, metric, _ = description
        self.version = 1
        self.columns: Columns = {}
        self._corpus = Corpus(np.empty((0, dim), np.float32), metric=metric, backend=backend)
        self._waiting = _Chunks(dim)
        # By position, the numbers ascending; and the number of each id, which outlives a change of positions.
        self._ids: list[str] = []
        self._order = _Growing(np.empty(0, np.int64))
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._metadata: dict[str, dict[str, Any]] = {}
        self._filters: FilterTable | None = None
        self._turns = Turns()
        self._settling = threading.Lock()
        self._snapshots: WeakSet[Snapshot] = WeakSet()

    # As a store

    @contextmanager
    def reading(self) -> Iterator[MemoryStore]:
        with self._turns.search():
            yield self

    @contextmanager
    def writing(self) -> Iterator[MemoryStore]:
        with self._turns.change():
            yield self

    def versions(self) -> list[Version]:
        return [Version(self.version, None)]

    def at(self, version: int) -> MemoryStore:
        raise InvalidInput(
            f"version {version} cannot be checked out: a collection in memory keeps none but the one it is, {self.version}; "
            "Collection.open makes one on disk, which does"
        )

    def compact(self) -> None:
        pass  # a corpus compacts itself

    def create_index(self, kind: IndexKind, partitions: int | None) -> None:
        raise NotSupported(NO_INDEX)

    def close(self) -> None:
        pass

    # Reading

    def out_of_reach(self, ids: list[str], metadata: list[Any] | None) -> dict[int, tuple[str, str]]:
        return {}

    def present(self, ids: list[str]) -> set[str]:
        return self._numbers.keys() & ids

    def get(self, ids: list[str], *, vectors: bool = True, metadata: bool = True) -> Taken:
        here = [name for name in ids if name in self._numbers]
        return self._rows(here, self._positions(here), vectors, metadata)

    def taken(self, handles: np.ndarray, *, vectors: bool, metadata: bool) -> Taken:
        return self._rows([self._ids[i] for i in handles.tolist()], handles, vectors, metadata)

    def matching(self, where: str | None) -> list[str]:
        return list(self._ids) if where is None else [self._ids[i] for i in self._filtered(where).tolist()]

    def count(self, where: str | None) -> int:
        return len(self._ids) if where is None else len(self._filtered(where))

    def batches(self, size: int, where: str | None) -> Iterator[Rows]:
        positions = np.arange(len(self._ids)) if where is None else self._filtered(where)
        ids = [self._ids[i] for i in positions.tolist()]
        snapshot = Snapshot(ids, self._order.values[positions], [self._metadata.get(name, {}) for name in ids])
        self._snapshots.add(snapshot)
        return self._gone_through(snapshot, size)

    def nearest(self, queries: object, k: int, where: str | None) -> Nearest:
        mask = None
        if where is not None:
            mask = np.zeros(len(self._ids), bool)
            mask[self._filtered(where)] = True
        found = self._settled().topk(queries, k, mask=mask)
        return Nearest(found.indices, found.values)

    def likely(self, queries: np.ndarray, k: int, where: str | None, probes: int) -> Nearest:
        raise NotSupported(NO_INDEX)

    def everything(self) -> tuple[list[str], list[tuple[slice, np.ndarray]]]:
        corpus = self._settled()
        return list(self._ids), [(slice(None), corpus.backend.to_numpy(corpus.vectors))]

    # Writing

    def put(self, rows: Put) -> int:
        if rows.existing:
            replaced = np.array([name in rows.existing for name in rows.ids], bool)
            positions = self._positions(list(compress(rows.ids, replaced)))
            self._put_aside(positions)
            self._settled().update(positions, rows.vectors[replaced])
            self._append(list(compress(rows.ids, ~replaced)), rows.vectors[~replaced])
        else:
            self._append(rows.ids, rows.vectors)
        if rows.metadata is None:
            for name in rows.existing:
                self._metadata.pop(name, None)
        else:
            for name, values in zip(rows.ids, rows.metadata, strict=True):
                self._metadata[name] = values
        self.columns = rows.columns
        return self._changed()

    def remove(self, ids: list[str]) -> int:
        gone = self._positions(ids)
        self._put_aside(gone)
        kept = np.ones(len(self._ids), bool)
        kept[gone] = False
        self._settled().remove(gone)
        self._ids = list(compress(self._ids, kept))
        self._order = _Growing(self._order.values[kept])
        for name in ids:
            del self._numbers[name]
            self._metadata.pop(name, None)
        return self._changed()

    def _append(self, ids: list[str], vectors: np.ndarray) -> None:
        if not ids:
            return
        self._waiting.extend(vectors)
        self._ids += ids
        self._numbers.update(zip(ids, count(self._next), strict=False))
        self._order.extend(np.arange(self._next, self._next + len(ids)))
        self._next += len(ids)

    def _changed(self) -> int:
        self._filters = None
        self.version += 1
        return self.version

    # Below

    def _settled(self) -> Corpus:
        """The corpus, with all rows."""
        with self._settling:
            for rows in self._waiting.drained():
                self._corpus.add(rows)
        return self._corpus

    def _positions(self, ids: list[str]) -> np.ndarray:
        numbers = np.fromiter((self._numbers[name] for name in ids), np.int64, len(ids))
        return np.searchsorted(self._order.values, numbers)

    def _rows(self, ids: list[str], positions: np.ndarray, vectors: bool, metadata: bool) -> Taken:
        rows = self._vectors(positions) if vectors else None
        values = [copied(self._metadata.get(name, {})) for name in ids] if metadata else None
        return Taken(ids, rows, values)

    def _vectors(self, positions: np.ndarray) -> np.ndarray:
        corpus = self._settled()
        unique, places = np.unique(positions, return_inverse=True)
        found: np.ndarray = np.asarray(corpus.backend.to_numpy(corpus.take(unique)), np.float32)[places]
        return found

    def _gone_through(self, snapshot: Snapshot, size: int) -> Iterator[Rows]:
        while snapshot.start < len(snapshot.ids):
            part = slice(snapshot.start, snapshot.start + size)
            numbers = snapshot.numbers[part]
            with self._turns.search():
                aside = snapshot.taken_from_aside(numbers)
                there = np.ones(len(numbers), bool)
                there[list(aside)] = False
                vectors = np.empty((len(numbers), self.description.dim), np.float32)
                vectors[there] = self._vectors(np.searchsorted(self._order.values, numbers[there]))
                for place, row in aside.items():
                    vectors[place] = row
                snapshot.start = part.stop
            yield Rows(tuple(snapshot.ids[part]), vectors, tuple(map(copied, snapshot.metadata[part])))

    def _put_aside(self, positions: np.ndarray) -> None:
        """Have those who go through rows keep these as they are."""
        numbers = self._order.values[positions]
        for snapshot in list(self._snapshots):
            waiting = snapshot.waits_for(numbers)
            if waiting.any():
                snapshot.put_aside(numbers[waiting], self._vectors(positions[waiting]))

    def _filtered(self, where: str) -> np.ndarray:
        with self._settling:
            if self._filters is None:
                self._filters = FilterTable(self._ids, self._metadata, self.columns)
            table = self._filters
        return table.positions(where)


class _Chunks:
    """Rows in arrays that are as long as all before, up to 32 MB: those get large pages, which are written to far quicker."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._most = max(1, CHUNK_BYTES // (4 * dim))
        self._chunks: list[np.ndarray] = []
        self._rows = 0
        self._filled = 0
        """Of the last chunk."""

    def extend(self, rows: np.ndarray) -> None:
        while len(rows):
            if not self._chunks or self._filled == len(self._chunks[-1]):
                room = min(max(len(rows), self._rows), self._most)
                self._chunks.append(np.empty((room, self._dim), np.float32))
                self._filled = 0
            part = self._chunks[-1][self._filled : self._filled + len(rows)]
            part[:] = rows[: len(part)]
            self._filled += len(part)
            self._rows += len(part)
            rows = rows[len(part) :]

    def drained(self) -> Iterator[np.ndarray]:
        """All rows; each chunk is given up when the next is asked for."""
        while self._chunks:
            yield self._chunks[0] if len(self._chunks) > 1 else self._chunks[0][: self._filled]
            self._chunks.pop(0)
        self._rows = 0


class _Growing:
    """int64 numbers in an array that doubles."""

    def __init__(self, values: np.ndarray) -> None:
        self._array = values
        self._length = len(values)

    @property
    def values(self) -> np.ndarray:
        return self._array[: self._length]

    def extend(self, more: np.ndarray) -> None:
        end = self._length + len(more)
        if end > len(self._array):
            array = np.empty(max(end, 2 * self._length), np.int64)
            array[: self._length] = self.values
            self._array = array
        self._array[self._length : end] = more
        self._length = end
