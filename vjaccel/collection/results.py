"""What a collection answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from vjaccel.embedding.result import ItemError

__all__ = ["BatchResult", "Evaluation", "Hit", "Rows", "Scores", "Version"]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of the rows of a change.

    Attributes
    ----------
    ok : tuple of str
        The ids of the rows that were done, in the call's order.
    errors : tuple of ItemError
        One for each row that was not, by index.
    version : int
        The collection's, after the change.
    """

    ok: tuple[str, ...]
    errors: tuple[ItemError, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a collection.

    Attributes
    ----------
    ids : tuple of str
    vectors : ndarray, float32 (n, dim)
    metadata : tuple of dict
        An empty one for a row that has none.
    """

    ids: tuple[str, ...]
    vectors: np.ndarray
    metadata: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.ids)


class Hit(NamedTuple):
    """A row that a search found.

    Attributes
    ----------
    id : str
    score : float
        A similarity (cosine, dot) or a distance, as `vjaccel.topk` gives it.
    metadata : dict or None
    vector : ndarray, float32 (dim,), or None
        None where it was not asked for.
    """

    id: str
    score: float
    metadata: dict[str, Any] | None = None
    vector: np.ndarray | None = None


class Scores(NamedTuple):
    """The similarity of a query, or of each of several, to every row.

    Attributes
    ----------
    ids : tuple of str
        In the order in which the rows were put in.
    values : ndarray, float32 (n,) or (n_queries, n)
    """

    ids: tuple[str, ...]
    values: np.ndarray


class Version(NamedTuple):
    """A state of a collection that can be checked out.

    Attributes
    ----------
    number : int
    created : datetime or None
        In UTC; None for a collection in memory, which does not note it.
    """

    number: int
    created: datetime | None


class Evaluation(NamedTuple):
    """What an approximate search finds of what an exact one does.

    Attributes
    ----------
    recall : float
        The share of the exact search's rows that the approximate one found, over all queries.
    queries, k : int
    exact_seconds, approximate_seconds : float
        What the searches of all queries took, ids and scores alone.
    """

    recall: float
    queries: int
    k: int
    exact_seconds: float
    approximate_seconds: float
