"""Where a collection's rows are kept: what memory and disk both do. It gets rows that are judged, and checks nothing.

A row's number says when it came: numbers grow, and a row keeps its own when it is changed. Equal scores go by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from vjaccel.arrays.protocol import Metric
from vjaccel.collection.metadata import Columns
from vjaccel.collection.results import Rows, Version

__all__ = ["Description", "IndexKind", "Nearest", "Put", "Store", "Taken", "View", "Writer"]


IndexKind = Literal["ivf_hnsw_sq", "ivf_pq"]


class Description(NamedTuple):
    """What a collection is.

    Attributes
    ----------
    dim : int
    metric : Metric
    model : dict or None
        The identity of the model whose vectors it has, where it is known.
    """

    dim: int
    metric: Metric
    model: dict[str, Any] | None


class Put(NamedTuple):
    """Rows to be there, whole.

    Attributes
    ----------
    ids : list of str
        Each once.
    vectors : ndarray, float32 (n, dim)
        Maybe the caller's own: a store copies them.
    metadata : list of dict, or None
        Without values of None; None where no row has any.
    columns : dict of str to Column
        All of the collection's, those that come with these rows too.
    existing : set of str
        Those of `ids` that are there, and are replaced.
    order : ndarray of int64 (n,), or None
        Of rows of a shard: when each came, counted over all shards.
    """

    ids: list[str]
    vectors: np.ndarray
    metadata: list[dict[str, Any]] | None
    columns: Columns
    existing: set[str]
    order: np.ndarray | None = None


class Taken(NamedTuple):
    """Some rows; None for what was not asked for."""

    ids: list[str]
    vectors: np.ndarray | None
    metadata: list[dict[str, Any]] | None


class Nearest(NamedTuple):
    """The closest rows of each query.

    Attributes
    ----------
    handles : ndarray of int64, shape (n_queries, k)
        What `View.taken` knows the rows by; -1 where there are fewer.
    scores : ndarray, shape (n_queries, k)
    """

    handles: np.ndarray
    scores: np.ndarray


class View(Protocol):
    """One state of a collection, that nothing changes."""

    @property
    def version(self) -> int: ...

    @property
    def columns(self) -> Columns: ...

    def out_of_reach(self, ids: list[str], metadata: list[Any] | None) -> dict[int, tuple[str, str]]:
        """Rows of a change of which nobody can tell whether they are there: (code, message) by their number in `ids`."""
        ...

    def present(self, ids: list[str]) -> set[str]:
        """Those of `ids` that are there."""
        ...

    def get(self, ids: list[str], *, vectors: bool = True, metadata: bool = True) -> Taken:
        """The rows of `ids` that are there, in that order."""
        ...

    def matching(self, where: str | None) -> list[str]:
        """The ids of the rows for which `where` holds."""
        ...

    def count(self, where: str | None) -> int: ...

    def batches(self, size: int, where: str | None) -> Iterator[Rows]:
        """All rows, `size` at a time, as they are now; they may be gone through after the view is closed."""
        ...

    def nearest(self, queries: object, k: int, where: str | None) -> Nearest:
        """Exactly the closest rows of `queries`, (n, dim)."""
        ...

    def likely(self, queries: np.ndarray, k: int, where: str | None, probes: int) -> Nearest:
        """Rows that an index says are close, by their scores; some of the closest may be missing."""
        ...

    def taken(self, handles: np.ndarray, *, vectors: bool, metadata: bool) -> Taken:
        """The rows with these handles (n,), in that order."""
        ...

    def everything(self) -> tuple[list[str], Iterable[tuple[Any, np.ndarray]]]:
        """All ids, by number; and their vectors block by block, with the places of each block's among them."""
        ...


class Writer(View, Protocol):
    """A state that this call alone may change, once; it becomes the next when that is done."""

    def put(self, rows: Put) -> int:
        """Add rows, or replace those that are there; the version that then is."""
        ...

    def remove(self, ids: list[str]) -> int:
        """Remove rows that are there; the version that then is."""
        ...


class Store(Protocol):
    """The rows of a collection."""

    place: ClassVar[Literal["memory", "disk"]]

    @property
    def description(self) -> Description: ...

    def reading(self) -> AbstractContextManager[View]: ...

    def writing(self) -> AbstractContextManager[Writer]: ...

    def versions(self) -> list[Version]: ...

    def at(self, version: int) -> Store:
        """That version, which can be read only."""
        ...

    def compact(self) -> None: ...

    def create_index(self, kind: IndexKind, partitions: int | None) -> None: ...

    def close(self) -> None: ...
