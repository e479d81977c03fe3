"""Requests on vectors that need no collection, in batches: each is a call of `vjaccel.arrays`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from vjaccel.arrays import Corpus, distance, get_backend, normalize, similarity
from vjaccel.arrays.dispatch import home_of
from vjaccel.batch.given import Block, Vectors
from vjaccel.batch.progress import Finished
from vjaccel.batch.settings import Plan
from vjaccel.batch.work import VectorWork
from vjaccel.collection import Hit
from vjaccel.embedding import ItemError
from vjaccel.errors import InvalidInput

__all__ = ["Rows", "Search", "query_of"]


class _Batch(NamedTuple):
    block: Block
    found: np.ndarray | None
    """A number or a row for each of its vectors; None where there are none."""


class Rows(VectorWork[_Batch]):
    """Similarity, distance or normalizing: a number, or a row, for each vector."""

    def __init__(
        self, vectors: Vectors, query: np.ndarray | None, operation: str, plan: Plan, finished: Finished
    ) -> None:
        super().__init__(len(vectors), plan.batch_size, finished)
        self._vectors = vectors
        self._apply = _function(operation, query, plan.options)
        self._scored = operation != "normalize"
        self._out: np.ndarray | None = None

    def _do(self, low: int, high: int) -> _Batch:
        with self._vectors.block(low, high) as block:
            return _Batch(block, _on_host(self._apply(block.rows)) if len(block.rows) else None)

    def _keep(self, low: int, high: int, found: _Batch) -> list[ItemError]:
        places, values = found.block.places, found.found
        if values is not None and len(values) == self.total:
            self._out = values
        elif values is not None:
            self._made(values.dtype)[slice(low, high) if places is None else low + places] = values
        return found.block.errors

    def _made(self, dtype: Any) -> np.ndarray:
        if self._out is None:
            shape = (self.total,) if self._scored else (self.total, self._vectors.dim)
            self._out = np.full(shape, np.nan, dtype)
        return self._out

    def results(self) -> np.ndarray | None:
        return None if self._scored else self._made(np.float32)

    def scores(self) -> np.ndarray | None:
        return self._made(np.float32) if self._scored else None


class Search(VectorWork[list[list[Hit]]]):
    """The closest of the given vectors to each query. The items are the vectors; the batches are of queries."""

    def __init__(self, vectors: Vectors, queries: np.ndarray, plan: Plan, finished: Finished) -> None:
        super().__init__(len(vectors), plan.batch_size, finished, cut=len(queries))
        self._vectors = vectors
        self._queries = queries
        self._k = plan.options.get("k", 10)
        self._hits: list[list[Hit]] = [[] for _ in queries]
        with vectors.block(0, len(vectors)) as block:
            # A list's block is another's when this one ends, and a corpus uses what it was given.
            rows = block.rows if vectors.is_array else block.rows.copy()
            self._places = np.arange(len(rows)) if block.places is None else block.places
            self._bad = block.errors
            self._corpus = Corpus(
                rows, metric=plan.options.get("metric") or "cosine", backend=plan.options.get("backend")
            )

    def _do(self, low: int, high: int) -> list[list[Hit]]:
        found = self._corpus.topk(self._queries[low:high], self._k)
        return [
            [self._hit(int(n), float(v)) for v, n in zip(values, numbers, strict=True) if n >= 0]
            for values, numbers in zip(found.values, found.indices, strict=True)
        ]

    def _keep(self, low: int, high: int, found: list[list[Hit]]) -> list[ItemError]:
        self._hits[low:high] = found
        return []

    def _hit(self, number: int, score: float) -> Hit:
        index = int(self._places[number])
        item = self._vectors.item(index)
        named = isinstance(item.id, str) and item.id
        return Hit(
            item.id if named else str(index), score, None if item.metadata is None else dict(item.metadata), None
        )

    def errors(self, code: str, why: str) -> tuple[ItemError, ...]:
        """Of the vectors: of all of them, where one query was not searched for."""
        undone = next((place for place in range(len(self._bounds)) if place not in self._errors), None)
        return tuple(self._bad if undone is None else self._undone(undone, range(self.total), code, why))

    def results(self) -> list[list[Hit]]:
        return self._hits


def query_of(query: Any, *, several: bool) -> np.ndarray:
    """`query` as an array (n_queries, dim) on the host, or (dim,) where there may not be several.

    Raises
    ------
    InvalidInput
    """
    if query is None:
        raise InvalidInput("the request needs a query_vector")
    try:
        found = _on_host(query)
    except ValueError as exc:
        raise InvalidInput("query_vector is no row of numbers") from exc
    needed = "(dim,) or (n_queries, dim)" if several else "(dim,)"
    if found.ndim not in ((1, 2) if several else (1,)) or found.size == 0 or found.dtype.kind not in "fiu":
        raise InvalidInput(f"query_vector is {found.dtype} of shape {found.shape}; it needs numbers, {needed}")
    if not np.isfinite(found).all():
        raise InvalidInput("query_vector has a NaN or an infinity, which nothing is close to")
    return np.atleast_2d(found) if several else found


def _function(operation: str, query: np.ndarray | None, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    backend, metric = options.get("backend"), options.get("metric")
    if operation == "normalize":
        return partial(normalize, backend=backend)
    function = similarity if operation == "similarity" else distance
    return lambda rows: function(rows, query, metric=metric, backend=backend)


def _on_host(x: Any) -> np.ndarray:
    home = home_of(x)
    return np.asarray(x) if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(x)
