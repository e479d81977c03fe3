"""Requests on collections, in batches: each is a call of a `Collection`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from vjaccel.batch.given import Block, Vectors
from vjaccel.batch.progress import Finished
from vjaccel.batch.requests import BatchVectorRequest, Vector
from vjaccel.batch.settings import Plan
from vjaccel.batch.work import VectorWork
from vjaccel.collection import BatchResult, Collection, Hit
from vjaccel.embedding import ItemError
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["Change", "CollectionSearch", "Collections"]

LATER = ("DUPLICATE_ID", "SHARD_UNAVAILABLE", "ALREADY_EXISTS", "NOT_FOUND", "INVALID_METADATA")
"""Errors of rows whose id was good, so that the same id again is a duplicate."""


class Collections:
    """The collections of a processor by their names: those that it was given, and those that an insert has made."""

    def __init__(self, given: Mapping[str, Collection] | None) -> None:
        if given is not None and not isinstance(given, Mapping):
            raise InvalidType(f"collections is a mapping of names to collections, not {type(given).__name__}")
        self.known: dict[str, Collection] = dict(given or {})
        strange = next((name for name, one in self.known.items() if not isinstance(one, Collection)), None)
        if strange is not None:
            raise InvalidType(f"collections[{strange!r}] is no Collection but {type(self.known[strange]).__name__}")
        self._lock = threading.Lock()

    def named(self, name: str | None, operation: str) -> Collection | None:
        """The one of that name, if it is there.

        Raises
        ------
        InvalidInput
            There is no name.
        """
        if name is None:
            raise InvalidInput(f"{operation} needs a collection: name it in the request")
        return self.known.get(name)

    def there(self, name: str | None) -> Collection:
        """The one of that name, for a search.

        Raises
        ------
        InvalidInput
        """
        found = self.named(name, "search")
        if found is None:
            known = f"there are {', '.join(sorted(self.known))}" if self.known else "there is none"
            raise InvalidInput(f"no collection is called {name!r}; {known}")
        return found

    def made(self, name: str, vectors: Vectors) -> Collection:
        """The one of that name, made in memory for `vectors` if it is not there; kept if any of them is one."""
        with self._lock:
            found = self.known[name] if name in self.known else Collection(name, vectors.dim)
            if vectors.has_width:
                self.known[name] = found
            return found


class Change(VectorWork[BatchResult]):
    """Inserting, updating or deleting rows, a batch after the other."""

    can_be_left = False
    """Of a change that goes on it could not be said whether it is made."""

    def __init__(
        self, request: BatchVectorRequest, vectors: Vectors, collections: Collections, plan: Plan, finished: Finished
    ) -> None:
        super().__init__(len(vectors), plan.batch_size, finished)
        self._operation = request.operation
        self._vectors = vectors
        found = collections.named(request.collection, request.operation)
        if found is None and request.operation == "insert":
            found = collections.made(str(request.collection), vectors)
        # Where there is none, no row is found in one that is empty.
        self._collection = Collection(str(request.collection), vectors.dim) if found is None else found
        self._ids: list[str] = []
        self._seen: set[str] = set()

    def _do(self, low: int, high: int) -> BatchResult:
        items = [_item(item, self._operation) for item in self._vectors.items(low, high)]
        errors = {}
        for number, item in enumerate(items):
            if item is None and self._operation == "delete":
                errors[number] = ItemError(low + number, "NIL_VECTOR", "there is no vector")
            elif item is not None and isinstance(item.id, str) and item.id in self._seen:
                said = f"the id {item.id!r} comes twice in this request; the first is taken"
                errors[number] = ItemError(low + number, "DUPLICATE_ID", said, item.id)
        places = [number for number in range(len(items)) if number not in errors]
        result = self._changed([items[number] for number in places])
        moved = [replace(error, index=low + places[error.index]) for error in result.errors]
        self._seen.update(result.ok, (error.id for error in moved if error.code in LATER and error.id is not None))
        every = sorted([*errors.values(), *moved], key=lambda error: error.index)
        return BatchResult(result.ok, tuple(every), result.version)

    def _keep(self, low: int, high: int, found: BatchResult) -> tuple[ItemError, ...]:
        self._ids += found.ok
        return found.errors

    def results(self) -> list[str]:
        return self._ids

    def _changed(self, items: list[Vector | None]) -> BatchResult:
        ids: list[Any] = [None if item is None else item.id for item in items]
        if self._operation == "delete":
            return self._collection.delete(ids)
        # In a collection None is a vector that is not there, and here one whose embedding is not.
        rows = [None if item is None else [] if item.embedding is None else item.embedding for item in items]
        about = [None if item is None else item.metadata for item in items]
        metadata = about if any(values is not None for values in about) else None
        change = self._collection.insert if self._operation == "insert" else self._collection.update
        return change(ids, rows, metadata)


class _Batch(NamedTuple):
    block: Block
    hits: list[list[Hit]]


class CollectionSearch(VectorWork[_Batch]):
    """The closest rows of a collection to each query. The items are the queries."""

    def __init__(self, collection: Collection, queries: Vectors, plan: Plan, finished: Finished) -> None:
        super().__init__(len(queries), plan.batch_size, finished)
        self._collection = collection
        self._queries = queries
        self._k, self._where = plan.options.get("k", 10), plan.options.get("where")
        self._hits: list[list[Hit]] = [[] for _ in range(self.total)]

    def _do(self, low: int, high: int) -> _Batch:
        with self._queries.block(low, high) as block:
            hits = self._collection.search(block.rows, self._k, where=self._where) if len(block.rows) else []
        return _Batch(block, hits)

    def _keep(self, low: int, high: int, found: _Batch) -> list[ItemError]:
        places = range(high - low) if found.block.places is None else found.block.places
        for number, hits in zip(places, found.hits, strict=True):
            self._hits[low + int(number)] = hits
        return found.block.errors

    def results(self) -> list[list[Hit]]:
        return self._hits


def _item(item: Any, operation: str) -> Vector | None:
    if item is None or isinstance(item, Vector):
        return item
    if operation == "delete":
        return Vector(item)  # an id
    return Vector(None, item)
