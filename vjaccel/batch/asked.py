"""What a request on vectors comes to: what it is about, whether that goes together, and its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from vjaccel.batch.buffers import Buffers
from vjaccel.batch.given import Vectors
from vjaccel.batch.in_collections import Change, Collections, CollectionSearch
from vjaccel.batch.progress import Finished
from vjaccel.batch.requests import BatchVectorRequest
from vjaccel.batch.settings import CHANGES, Plan
from vjaccel.batch.vectors import Rows, Search, query_of
from vjaccel.batch.work import VectorWork
from vjaccel.errors import InvalidInput

__all__ = ["Asked", "asked"]


class Asked(NamedTuple):
    """A request that makes sense.

    Attributes
    ----------
    vectors : Vectors
        Those that it is about.
    items : int
        What its batches are cut of: vectors, or the queries of a search.
    work : callable
        From a plan and what counts its finished items to its batches.
    """

    vectors: Vectors
    items: int
    work: Callable[[Plan, Finished], VectorWork[Any]]


def asked(request: BatchVectorRequest, collections: Collections, buffers: Buffers) -> Asked:
    """What `request` is about.

    Raises
    ------
    InvalidInput
        What it has does not go together.
    """
    operation = request.operation
    if request.query_vector is not None and operation in ("normalize", *CHANGES):
        raise InvalidInput(f"{operation} takes no query_vector")
    if operation in CHANGES:
        vectors = Vectors(request.vectors, None, buffers)
        return Asked(vectors, len(vectors), lambda plan, done: Change(request, vectors, collections, plan, done))
    if operation == "search" and request.collection is not None:
        return _search_of_a_collection(request, collections, buffers)
    if request.collection is not None:
        raise InvalidInput(f"{operation} is of the request's vectors; a collection can be searched")
    if "where" in request.options:
        raise InvalidInput("where chooses among the rows of a collection; name it in the request")
    query = None if operation == "normalize" else query_of(request.query_vector, several=operation == "search")
    vectors = Vectors(request.vectors, None if query is None else query.shape[-1], buffers)
    other = None if query is None else vectors.other_width()
    if query is not None and other is not None:
        raise InvalidInput(f"query_vector has width {query.shape[-1]}, and the vectors {other}; they must be the same")
    if operation == "search" and query is not None:
        return Asked(vectors, len(query), lambda plan, done: Search(vectors, query, plan, done))
    return Asked(vectors, len(vectors), lambda plan, done: Rows(vectors, query, operation, plan, done))


def _search_of_a_collection(request: BatchVectorRequest, collections: Collections, buffers: Buffers) -> Asked:
    collection = collections.there(request.collection)
    metric = request.options.get("metric")
    if metric is not None and metric != collection.metric:
        raise InvalidInput(
            f"the collection {request.collection!r} is searched by {collection.metric.value}, not {metric}"
        )
    if request.options.get("backend") is not None:
        raise InvalidInput(
            f"the collection {request.collection!r} is searched where it is; backend is for given vectors"
        )
    if request.query_vector is None:
        if not len(request.vectors):
            raise InvalidInput("search needs a query_vector, or vectors as the queries")
        queries = Vectors(request.vectors, collection.dim, buffers)
    elif len(request.vectors):
        raise InvalidInput("the queries of a collection are query_vector or vectors; give one of them")
    else:
        query = query_of(request.query_vector, several=True)
        if query.shape[1] != collection.dim:
            raise InvalidInput(f"query_vector has width {query.shape[1]}, and the collection {collection.dim}")
        queries = Vectors(query, None, buffers)
    return Asked(queries, len(queries), lambda plan, done: CollectionSearch(collection, queries, plan, done))
