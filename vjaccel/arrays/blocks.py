"""The closest rows among vectors that come in blocks, of which one is held at a time: those of a file, or of a database."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vjaccel.arrays import check
from vjaccel.arrays.dispatch import Choice, at_work, choose
from vjaccel.arrays.held import Resident, Way
from vjaccel.arrays.parts import merged
from vjaccel.arrays.protocol import Backend, Metric, TopK
from vjaccel.arrays.results import Best, public, result_dtype

__all__ = ["best_of_blocks", "topk_of_blocks"]


def topk_of_blocks(
    queries: object,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    k: int,
    *,
    metric: Metric,
    backend: str | Backend | None = None,
) -> TopK:
    """The `k` closest rows for each query, exactly: what `topk` of all rows gives.

    Parameters
    ----------
    queries : array_like, shape (n_queries, dim)
    blocks : iterable of (ndarray of int64 (n,), ndarray (n, dim))
        Numbers of rows, ascending within a block, each once in all; and the rows, of one dtype.

    Returns
    -------
    TopK
        Best first, equal ones by lower number; fewer than `k` columns where there are fewer rows.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable
    """
    choice, best = _best(queries, blocks, k, metric, backend)
    place = choice.backend
    with at_work(place), place.float64():
        whole = TopK(place.asarray(best.scores), place.asarray(best.ids))
        values, indices = public(place, metric, whole, best.dtype)
    return TopK(choice.returned(values), choice.returned(indices))


def best_of_blocks(
    queries: object,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    k: int,
    *,
    metric: Metric,
    backend: str | Backend | None = None,
) -> Best:
    """As `topk_of_blocks`, before the scores are rounded to values."""
    return _best(queries, blocks, k, metric, backend)[1]


def _best(
    queries: object,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    k: int,
    metric: Metric,
    backend: str | Backend | None,
) -> tuple[Choice, Best]:
    choice = choose(backend, {"queries": queries})
    place = choice.backend
    asked, _ = check.vectors("queries", queries, place, single=False)
    shape = (int(asked.shape[0]), 0)
    best = np.empty(shape), np.empty(shape, np.int64)
    dtype = result_dtype(asked)
    for numbers, rows in blocks:
        if not len(rows) or not shape[0]:
            continue
        array, _ = check.vectors("rows", rows, place, single=False)
        check.same_dim("queries", asked, "the rows", array)
        dtype = result_dtype(asked, array)
        with at_work(place):
            found = Resident.of(place, array, metric, Way()).topk(asked, min(k, len(rows)), None)
            scores, ids = place.to_numpy(found.values), place.to_numpy(found.indices)
        # Their numbers for the rows of this block; a row of NaN is no answer.
        best = merged(best, (scores, np.where(ids < 0, -1, numbers[ids])), k)
    return choice, Best(*best, dtype)
