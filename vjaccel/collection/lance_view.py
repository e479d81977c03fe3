"""Reading one version of a collection on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from vjaccel.arrays.blocks import best_of_blocks
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.results import Best, drained
from vjaccel.collection.arrow import columns_of, metadata_of, vectors_of
from vjaccel.collection.filters import enclosed, refusing
from vjaccel.collection.locks import Locks
from vjaccel.collection.metadata import Columns
from vjaccel.collection.resident import Held, Resident, among, numbers_of, windows
from vjaccel.collection.results import Rows
from vjaccel.collection.store import Nearest, Taken
from vjaccel.errors import InvalidInput

__all__ = ["INDEX", "NO_INDEX", "LanceView", "quoted"]

ASKED = 1000
"""Ids or numbers in one question: each is parsed."""

BLOCK_SHARE, PART_SHARE = 8, 64
"""What a block of a search that holds nothing may take of the memory limit, and a part that it is read in, which takes Lance
eight times as much."""

LEAST_ROWS = 512

INDEX = "vector_idx"

NO_INDEX = "there is no index; create_index makes one, and without probes a search is exact"

REFINED = 4
"""How many times as many rows as are wanted an index is asked for."""

FEW = 10
"""Where no more than one row in so many is wanted, they are asked for by number; otherwise all are read."""


class LanceView:
    """One version of the dataset; see `View`."""

    is_pinned = False
    """Whether it is to be read as it was at that version. Otherwise a later one, that is in memory, may be read instead."""

    def __init__(
        self, dataset: Any, dim: int, metric: Metric, backend: str | None, resident: Resident, locks: Locks
    ) -> None:
        self._dataset = dataset
        self._dim = dim
        self._metric = metric
        self._backend = backend
        self._resident = resident
        self._locks = locks

    @property
    def version(self) -> int:
        return int(self._dataset.version)

    @property
    def columns(self) -> Columns:
        return columns_of(self._dataset.schema)

    def out_of_reach(self, ids: list[str], metadata: list[Any] | None) -> dict[int, tuple[str, str]]:
        return {}  # one dataset is there as a whole, or the call fails

    def present(self, ids: list[str]) -> set[str]:
        return {name for table in self._asked("id", ids, quoted, ["id"]) for name in table.column("id").to_pylist()}

    def get(self, ids: list[str], *, vectors: bool = True, metadata: bool = True) -> Taken:
        tables = list(self._asked("id", list(dict.fromkeys(ids)), quoted, self._names(vectors, metadata)))
        places = {name: i for i, name in enumerate(name for t in tables for name in t.column("id").to_pylist())}
        return self._taken(tables, [places[name] for name in ids if name in places], vectors, metadata)

    def taken(self, handles: np.ndarray, *, vectors: bool, metadata: bool) -> Taken:
        tables = list(self._asked("_rowid", handles.tolist(), str, self._names(vectors, metadata)))
        places = {n: i for i, n in enumerate(n for t in tables for n in t.column("_rowid").to_pylist())}
        return self._taken(tables, [places[n] for n in handles.tolist()], vectors, metadata)

    def matching(self, where: str | None) -> list[str]:
        table = self._table(["id"], where)
        order = np.argsort(table.column("_rowid").to_numpy())
        names: list[str] = table.column("id").take(order).to_pylist()
        return names

    def count(self, where: str | None) -> int:
        if where is None:
            return int(self._dataset.count_rows())
        asked = enclosed(where)
        with refusing(where, self._dataset, self.columns):
            return int(self._dataset.count_rows(asked))

    def batches(self, size: int, where: str | None) -> Iterator[Rows]:
        batches = self._batches(size, where)
        first = next(
            batches, None
        )  # a filter is judged, and files are kept from being removed, before anything is asked for
        return chain([] if first is None else [first], batches)

    def _batches(self, size: int, where: str | None) -> Iterator[Rows]:
        import pyarrow as pa

        # Lance's batches end where its files do.
        waiting: list[Any] = []
        count = 0
        for batch in self._scanned(size, where):
            while count + batch.num_rows >= size:
                yield self._rows(pa.Table.from_batches([*waiting, batch.slice(0, size - count)]))
                batch, waiting, count = batch.slice(size - count), [], 0
            if batch.num_rows:
                waiting.append(batch)
                count += batch.num_rows
        if waiting:
            yield self._rows(pa.Table.from_batches(waiting))

    def _scanned(self, size: int, where: str | None) -> Iterator[Any]:
        columns = self.columns
        asked = None if where is None else enclosed(where)
        with self._locks.reader():
            batches = self._dataset.to_batches(columns=self._names(True, True), filter=asked, batch_size=size)
            while True:
                with refusing(where, self._dataset, columns):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    def _rows(self, table: Any) -> Rows:
        vectors = vectors_of(table.column("vector"), self._dim).copy()
        return Rows(tuple(table.column("id").to_pylist()), vectors, tuple(metadata_of(table, self.columns)))

    def nearest(self, queries: object, k: int, where: str | None) -> Nearest:
        found = self.best(queries, k, where)
        return Nearest(found.ids, found.values(self._metric))

    @property
    def has_index(self) -> bool:
        return any(index.name == INDEX for index in self._dataset.describe_indices())

    def likely(self, queries: np.ndarray, k: int, where: str | None, probes: int) -> Nearest:
        if not self.has_index:
            raise InvalidInput(NO_INDEX)
        found = self.likely_best(queries, k, where, probes)
        return Nearest(found.ids, found.values(self._metric))

    def best(self, queries: object, k: int, where: str | None) -> Best:
        """As `nearest`, before the scores are rounded to values."""
        if not self._resident.fits(self._dataset):
            return self._streamed(queries, k, where)
        with self._resident.at_least(self._dataset) as held:
            if not self.is_pinned or held.dataset.version == self.version:
                self._dataset = held.dataset
                return self._held_best(held, queries, k, where)
        return self._streamed(queries, k, where)

    def likely_best(self, queries: np.ndarray, k: int, where: str | None, probes: int) -> Best:
        """As `likely`, before the scores are rounded to values; there is an index."""
        asked, columns = None if where is None else enclosed(where), self.columns
        handles = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf)
        dtype = "float32"
        for place, query in enumerate(queries):
            nearest = {"column": "vector", "q": query.astype(np.float32), "k": k * REFINED, "nprobes": probes}
            with refusing(where, self._dataset, columns):
                # The distance is not needed, but Lance says on standard error that it is missing.
                table = self._dataset.to_table(
                    columns=["vector", "_distance"], filter=asked, prefilter=True, nearest=nearest, with_row_id=True
                )
            # What an index calls distances is of its codes: the rows themselves are ranked.
            numbers = table.column("_rowid").to_numpy().astype(np.int64)
            block = _in_order(numbers, vectors_of(table.column("vector"), self._dim))
            found = best_of_blocks(query[None], [block], k, metric=self._metric, backend=self._backend)
            count, dtype = found.ids.shape[1], found.dtype
            handles[place, :count], scores[place, :count] = found.ids[0], found.scores[0]
        return Best(scores, handles, dtype)

    def everything(self) -> tuple[list[str], Iterator[tuple[np.ndarray, np.ndarray]]]:
        table = self._table(["id"], None)
        numbers = table.column("_rowid").to_numpy()
        order = np.argsort(numbers)
        numbers = numbers[order]
        blocks = ((np.searchsorted(numbers, found), vectors) for found, vectors in self._blocks(None))
        return table.column("id").take(order).to_pylist(), blocks

    # Below

    def _held_best(self, held: Held, queries: object, k: int, where: str | None) -> Best:
        mask = None
        if where is not None:
            mask = np.zeros(len(held.numbers), bool)
            mask[np.searchsorted(held.numbers, self._numbers(where))] = True
        found = held.corpus.best(queries, k, mask=mask)
        numbers = held.numbers[found.ids] if len(held.numbers) else found.ids
        return found._replace(ids=np.where(found.ids < 0, -1, numbers))

    def _streamed(self, queries: object, k: int, where: str | None) -> Best:
        blocks = self._blocks(None if where is None else self._numbers(where))
        return best_of_blocks(queries, blocks, k, metric=self._metric, backend=self._backend)

    def _blocks(self, wanted: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers, ascending, and vectors of all rows, or of those with the numbers `wanted`."""
        row_bytes = 4 * self._dim
        rows = max(LEAST_ROWS, self._resident.limit // BLOCK_SHARE // row_bytes)
        total = self._dataset.count_rows()
        if wanted is not None and FEW * len(wanted) <= total:
            parts = self._asked("_rowid", wanted.tolist(), str, ["vector"])
        else:
            parts = windows(self._dataset, max(LEAST_ROWS, self._resident.limit // PART_SHARE // row_bytes))
        numbers, vectors, waiting = [np.empty(0, np.int64)], [np.empty((0, self._dim), np.float32)], 0
        for table in parts:
            numbers.append(table.column("_rowid").to_numpy().astype(np.int64))
            vectors.append(vectors_of(table.column("vector"), self._dim))
            if wanted is not None:
                kept = among(numbers[-1], wanted)
                numbers[-1], vectors[-1] = numbers[-1][kept], vectors[-1][kept]
            waiting += len(numbers[-1])
            if waiting >= rows:
                yield _in_order(np.concatenate(numbers), drained(vectors))
                numbers, vectors, waiting = [np.empty(0, np.int64)], [np.empty((0, self._dim), np.float32)], 0
        yield _in_order(np.concatenate(numbers), drained(vectors))

    def _numbers(self, where: str) -> np.ndarray:
        asked = enclosed(where)
        with refusing(where, self._dataset, self.columns):
            return numbers_of(self._dataset, asked)

    def _table(self, names: list[str], where: str | None) -> Any:
        asked = None if where is None else enclosed(where)
        with refusing(where, self._dataset, self.columns):
            return self._dataset.to_table(columns=names, filter=asked, with_row_id=True)

    def _asked(self, column: str, values: list[Any], shown: Callable[[Any], str], names: list[str]) -> Iterator[Any]:
        """Tables of the rows whose `column` is one of `values`."""
        for start in range(0, len(values), ASKED):
            listed = ", ".join(map(shown, values[start : start + ASKED]))
            yield self._dataset.to_table(columns=names, filter=f"{column} IN ({listed})", with_row_id=True)

    def _names(self, vectors: bool, metadata: bool) -> list[str]:
        return ["id", *(["vector"] if vectors else []), *(self.columns if metadata else [])]

    def _taken(self, tables: list[Any], places: Sequence[int], vectors: bool, metadata: bool) -> Taken:
        import pyarrow as pa

        if not tables:
            none = np.empty((0, self._dim), np.float32) if vectors else None
            return Taken([], none, [] if metadata else None)
        table = pa.concat_tables(tables).combine_chunks().take(pa.array(places, pa.int64()))
        rows = vectors_of(table.column("vector"), self._dim).copy() if vectors else None
        values = metadata_of(table, self.columns) if metadata else None
        return Taken(table.column("id").to_pylist(), rows, values)


def _in_order(numbers: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if (np.diff(numbers) > 0).all():
        return numbers, vectors
    order = np.argsort(numbers)
    return numbers[order], vectors[order]


def quoted(name: str) -> str:
    """An id as a text of SQL."""
    return "'" + name.replace("'", "''") + "'"
