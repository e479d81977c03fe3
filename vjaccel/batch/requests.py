"""What a `BatchProcessor` is asked. Items are taken as they are, and judged when they are processed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vjaccel.config import Operation
from vjaccel.errors import InvalidInput

__all__ = ["OPERATIONS", "PRIORITIES", "BatchEmbeddingRequest", "BatchVectorRequest", "Priority", "Vector"]

Priority = Literal["low", "normal", "high", "critical"]
PRIORITIES: tuple[str, ...] = get_args(Priority)
OPERATIONS: tuple[str, ...] = get_args(Operation)


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector with what belongs to it. Nothing of it is checked here.

    Attributes
    ----------
    id : str
    embedding : array_like, shape (dim,)
    metadata : mapping, optional
    """

    id: Any
    embedding: Any = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEmbeddingRequest:
    """Texts to be embedded.

    Parameters
    ----------
    texts : sequence of str
        One that is no text is that item's error.
    model : str, optional
        The model's name at the provider; by default the embedder's, or the one configured for the provider.
    provider : str, optional
        ``openai``, ``local``, ``custom`` (a function), or another; by default the only one that the processor has.
    batch_size : int, optional
        Texts in one batch.
    max_concurrent : int, optional
        Batches at once, at most.
    timeout : float, optional
        Seconds for all of it.
    options : mapping
        ``prompt`` (put before each text) or ``role`` (``query`` or ``document``: the model's own prompt for it).
    metadata : mapping
        Handed back with the response.
    enable_cache : bool, optional
        Whether to look into the embedder's cache, and to fill it.
    priority : {"low", "normal", "high", "critical"}

    Raises
    ------
    InvalidInput
        A number that is none, or a priority that there is not.
    """

    texts: Sequence[Any]
    model: str | None = None
    provider: str | None = None
    batch_size: int | None = None
    max_concurrent: int | None = None
    timeout: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    enable_cache: bool | None = None
    priority: Priority = "normal"

    def __post_init__(self) -> None:
        if isinstance(self.texts, str | bytes) or not isinstance(self.texts, Iterable):
            raise InvalidInput(f"texts is a list of texts, not {type(self.texts).__name__}")
        if not isinstance(self.texts, Sequence):
            object.__setattr__(self, "texts", list(self.texts))
        _check(self, ("prompt", "role"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchVectorRequest:
    """Vectors, and what is to be done with them.

    Parameters
    ----------
    operation : str
        ``insert``, ``update`` or ``delete`` in a collection; ``search`` (a collection, or `vectors`); ``similarity`` or
        ``distance`` of each vector to `query_vector`; ``normalize``.
    vectors : array_like, shape (n, dim), or sequence of Vector
        One that is no vector is that item's error. In a search of a collection they are the queries, if `query_vector` is not.
    query_vector : array_like, shape (dim,), optional
        For a search (n_queries, dim) too.
    collection : str, optional
        By its name; one that is not there is made in memory by the first insert.
    batch_size : int, optional
        Vectors in one batch.
    max_concurrent : int, optional
        Batches at once, at most.
    timeout : float, optional
        Seconds for all of it.
    options : mapping
        ``k`` (10 by default), ``metric``, ``where`` (in a collection), ``backend``, as far as the operation has them.
    priority : {"low", "normal", "high", "critical"}

    Raises
    ------
    InvalidInput
        An operation, an option or a priority that there is not; a number that is none.
    """

    operation: Operation
    vectors: Any = ()
    query_vector: Any = None
    collection: str | None = None
    batch_size: int | None = None
    max_concurrent: int | None = None
    timeout: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = "normal"

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise InvalidInput(f"operation {self.operation!r} is unknown; there are {', '.join(OPERATIONS)}")
        _check(self, TAKEN[self.operation])


TAKEN: Mapping[str, tuple[str, ...]] = {
    "insert": (),
    "update": (),
    "delete": (),
    "search": ("k", "metric", "where", "backend"),
    "similarity": ("metric", "backend"),
    "distance": ("metric", "backend"),
    "normalize": ("backend",),
}
"""The options of each operation."""


def _check(request: BatchEmbeddingRequest | BatchVectorRequest, options: Sequence[str]) -> None:
    for name in ("batch_size", "max_concurrent"):
        value = getattr(request, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InvalidInput(f"{name} must be a whole number of at least 1, not {value!r}")
    timeout = request.timeout
    if timeout is not None and (not isinstance(timeout, int | float) or isinstance(timeout, bool) or not timeout > 0):
        raise InvalidInput(f"timeout is in seconds, more than 0, not {timeout!r}")
    if request.priority not in PRIORITIES:
        raise InvalidInput(f"priority {request.priority!r} is unknown; there are {', '.join(PRIORITIES)}")
    unknown = next((key for key in request.options if key not in options), None)
    if unknown is not None:
        known = f"there are {', '.join(options)}" if options else "it has none"
        what = getattr(request, "operation", "an embedding request")
        raise InvalidInput(f"option {unknown!r} is unknown to {what}; {known}")
