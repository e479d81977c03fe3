"""One shard: a dataset that is read at the version that its collection's manifest names, and changed from there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from vjaccel.collection.arrow import ORDER, lance
from vjaccel.collection.disk import LEAST_INDEXED, LanceStore
from vjaccel.collection.lance_view import LanceView, quoted
from vjaccel.collection.metadata import Columns
from vjaccel.collection.opening import described, has_dataset
from vjaccel.collection.resident import Resident
from vjaccel.collection.results import Rows
from vjaccel.collection.sharded.manifest import Index, shard_folder
from vjaccel.collection.sharded.placing import places
from vjaccel.collection.store import Put, Taken
from vjaccel.errors import OutputError, ShardUnavailable, VjaccelError

__all__ = ["Change", "Found", "Opened", "Shard"]

Part = TypeVar("Part")


class Opened(NamedTuple):
    """How the shards of a collection are opened.

    Attributes
    ----------
    folder : str
        The collection's.
    backend : str or None
    memory_limit : int
        Bytes that the vectors of all shards may take in memory.
    sync : bool
        Whether a change is to survive a power cut.
    """

    folder: str
    backend: str | None
    memory_limit: int
    sync: bool


class Change(NamedTuple):
    """What is to be done in a shard: rows put in, rows removed, and columns that it is to have anyway."""

    columns: Columns
    put: Put | None = None
    removed: tuple[str, ...] = ()


class Found(NamedTuple):
    """The closest rows of a shard, for each query.

    Attributes
    ----------
    scores : ndarray of float64, shape (n_queries, k)
        By which they are ranked, the larger the closer; -inf where there are fewer.
    numbers : ndarray of int64, shape (n_queries, k)
        Their numbers in the shard; -1 where there are fewer.
    order : ndarray of int64, shape (n_queries, k)
        When they came, counted over all shards.
    dtype : str
        That of the values that a search returns.
    """

    scores: np.ndarray
    numbers: np.ndarray
    order: np.ndarray
    dtype: str


class Shard:
    """A shard, opened when it is first needed, and anew after it was not available. Any number of threads may use it.

    Every method is given the version that counts, may be called again, and answers what can be sent to another process; but for
    `batches` and `everything`. They raise `ShardUnavailable` where the shard cannot be read, and so does what these two answer.
    """

    def __init__(self, number: int, how: Opened) -> None:
        self._number = number
        self._how = how
        self._folder = shard_folder(Path(how.folder), number)
        self._opening = threading.Lock()
        self._store: _Store | None = None

    # Reading

    def available(self, version: int) -> None:
        """Raise where it is not."""
        with self._reading(version):
            pass

    def present(self, version: int, ids: list[str]) -> set[str]:
        with self._reading(version) as view:
            return view.present(ids)

    def get(self, version: int, ids: list[str], vectors: bool, metadata: bool) -> Taken:
        with self._reading(version) as view:
            return view.get(ids, vectors=vectors, metadata=metadata)

    def count(self, version: int, where: str | None) -> int:
        with self._reading(version) as view:
            return view.count(where)

    def listed(self, version: int, where: str | None) -> tuple[list[str], np.ndarray]:
        """The ids of the rows for which `where` holds, as they came, and when."""
        with self._reading(version) as view:
            return view.listed(where)

    def moving(self, version: int, shards: int, after: int) -> tuple[list[str], np.ndarray]:
        """The rows that are elsewhere if there are so many shards, of those that came after the `after`-th: as `listed`."""
        with self._reading(version) as view:
            ids, order = view.listed(f"{ORDER} > {after}")
        gone = np.flatnonzero(places(ids, shards) != self._number)
        return [ids[place] for place in gone.tolist()], order[gone]

    def ordered(self, version: int, ids: list[str]) -> tuple[Taken, np.ndarray]:
        """The rows of `ids` that are there, in any order, and when each came."""
        with self._reading(version) as view:
            return view.ordered(ids)

    def nearest(
        self, version: int, queries: np.ndarray, k: int, where: str | None, probes: int | None, shards: int
    ) -> Found:
        """The closest rows, by its index where there are `probes` and it has one, or else exactly."""
        with self._reading(version, shards) as view:
            if probes is None or not view.has_index:
                found = view.best(queries, k, where)
            else:
                found = view.likely_best(queries, k, where, probes)
            return Found(found.scores, found.ids, view.order_of(found.ids), found.dtype)

    def taken(self, version: int, numbers: np.ndarray, vectors: bool, metadata: bool) -> Taken:
        with self._reading(version) as view:
            return view.taken(numbers, vectors=vectors, metadata=metadata)

    def batches(self, version: int, size: int, where: str | None) -> Iterator[Rows]:
        with self._reading(version) as view:
            return self._gone_through(view.batches(size, where))

    def everything(self, version: int, shards: int) -> tuple[list[str], np.ndarray, Iterator[tuple[Any, np.ndarray]]]:
        """All ids as they came, and when; and their vectors block by block, with the places of each block's among them."""
        with self._reading(version, shards) as view:
            _, order = view.listed(None)
            ids, blocks = view.everything()
            return ids, order, self._gone_through(blocks)

    # Changing; each answers the version that then is

    def change(self, version: int, what: Change) -> int:
        rows = what.put
        if rows is not None and rows.existing:
            assert rows.order is not None
            with self._reading(version) as view:
                before = view.orders(list(rows.existing))
            kept = [before.get(name, new) for name, new in zip(rows.ids, rows.order.tolist(), strict=True)]
            rows = rows._replace(order=np.array(kept, np.int64))
        with self._writing(version) as (store, writer):
            writer.widen(what.columns)
            if rows is not None:
                writer.put(rows)
            if what.removed:
                writer.remove(list(what.removed))
        return store.newest()

    def compact(self, version: int) -> int:
        return self._kept_up(version, _Store.compact)

    def create_index(self, version: int, index: Index) -> int | None:
        """None where it has too few rows, and stays as it is."""
        if self.count(version, None) < LEAST_INDEXED:
            return None
        return self._kept_up(version, lambda store: store.create_index(*index))

    def close(self) -> None:
        with self._opening:
            if self._store is not None:
                self._store.close()
            self._store = None

    # Below

    @contextmanager
    def _reading(self, version: int, shards: int | None = None) -> Iterator[_View]:
        """That version; for what holds vectors, as one of so many `shards` that share the memory."""
        with self._available():
            store = self._opened()
            if shards is not None:
                store.hold(self._how.memory_limit // shards)
            with store.reading_at(version) as view:
                yield view

    def _gone_through(self, parts: Iterator[Part]) -> Iterator[Part]:
        while True:
            with self._available():
                part = next(parts, None)
            if part is None:
                return
            yield part

    @contextmanager
    def _writing(self, version: int) -> Iterator[tuple[_Store, Any]]:
        self.available(version)
        store = self._opened()
        with self._available(), store.writing() as writer:
            writer.back_to(version)
            yield store, writer

    def _kept_up(self, version: int, upkeep: Callable[[_Store], object]) -> int:
        with self._writing(version) as (store, _):
            pass
        with self._available():
            upkeep(store)
        return store.newest()

    @contextmanager
    def _available(self) -> Iterator[None]:
        """What the system or Lance say of files that are not there, or cannot be read, as the shard's being down."""
        try:
            yield
        except (OSError, ValueError) as exc:
            cause = _unreadable(exc)
            if cause is None:
                raise
            self.close()  # it is opened anew by the next that needs it
            raise ShardUnavailable(self._number, _reason(cause, self._folder)) from exc

    def _opened(self) -> _Store:
        with self._opening:
            if self._store is None:
                self._store = self._made()
            return self._store

    def _made(self) -> _Store:
        module = lance("a sharded collection")
        if not has_dataset(self._folder):
            raise ShardUnavailable(self._number, f"there is no dataset at {self._folder}")
        try:
            dataset = module.dataset(str(self._folder))
            description = described(str(self._folder), dataset, shard=True)
        except Exception as exc:  # whatever it is: the dataset cannot be opened
            raise ShardUnavailable(self._number, _reason(exc, self._folder)) from exc
        how = self._how
        resident = Resident(description.dim, description.metric, how.backend, limit=0, one_writer=True)
        return _Store(
            module, str(self._folder), self._folder, dataset, description, how.backend, resident, sync=how.sync
        )


class _Store(LanceStore):
    """The dataset, read at a version that somebody else says."""

    @contextmanager
    def reading_at(self, version: int) -> Iterator[_View]:
        with self._locks.reader():
            with self._latest:
                if self._dataset.version != version:
                    self._dataset = self._dataset.checkout_version(version)
                dataset = self._dataset
            yield self._view(dataset)

    def _view(self, dataset: Any) -> _View:
        dim, metric, _ = self.description
        return _View(dataset, dim, metric, self._backend, self._resident, self._locks)

    def hold(self, limit: int) -> None:
        """Let its vectors take so many bytes in memory from now on."""
        self._resident.limit = limit

    def newest(self) -> int:
        return int(self._dataset.latest_version)


class _View(LanceView):
    """A version, with when its rows came."""

    is_pinned = True

    def listed(self, where: str | None) -> tuple[list[str], np.ndarray]:
        table = self._table(["id", ORDER], where)
        order = table.column(ORDER).to_numpy()
        as_came = np.argsort(order)
        names: list[str] = table.column("id").take(as_came).to_pylist()
        return names, order[as_came]

    def ordered(self, ids: list[str]) -> tuple[Taken, np.ndarray]:
        rows, orders = self.get(ids), self.orders(ids)
        return rows, np.array([orders[name] for name in rows.ids], np.int64)

    def orders(self, ids: list[str]) -> dict[str, int]:
        """When the rows of `ids` came that are there."""
        found: dict[str, int] = {}
        for table in self._asked("id", ids, quoted, ["id", ORDER]):
            found |= zip(table.column("id").to_pylist(), table.column(ORDER).to_pylist(), strict=True)
        return found

    def order_of(self, numbers: np.ndarray) -> np.ndarray:
        """When the rows with these `numbers`, of any shape, came; -1 where that is -1."""
        unique = np.unique(numbers[numbers >= 0])
        order = np.empty(len(unique), np.int64)
        for table in self._asked("_rowid", unique.tolist(), str, [ORDER]):
            found = np.searchsorted(unique, table.column("_rowid").to_numpy().astype(np.int64))
            order[found] = table.column(ORDER).to_numpy()
        if not len(unique):
            return numbers
        return np.where(numbers < 0, -1, order[np.searchsorted(unique, numbers) % len(unique)])


def _unreadable(exc: BaseException) -> BaseException | None:
    """What says that files are not there, or cannot be read; None of another error, as of what cannot be written."""
    said = str(exc)
    if isinstance(exc, OutputError) and exc.__cause__ is not None:
        exc, said = exc.__cause__, str(exc.__cause__)
        return exc if isinstance(exc, FileNotFoundError) or "not found" in said.lower() else None
    if isinstance(exc, VjaccelError):
        return None
    return exc if isinstance(exc, OSError) or "LanceError(IO)" in said or "not found" in said.lower() else None


def _reason(exc: BaseException, folder: Path) -> str:
    if isinstance(exc, FileNotFoundError):
        return f"there is no dataset at {folder}"
    first = str(exc).partition("\n")[0]
    return f"the dataset at {folder} cannot be read: {type(exc).__name__}: {first.split(', /')[0]}"
