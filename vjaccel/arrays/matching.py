"""Searches whose result has as many rows as there are: all that reach a threshold, and the closest pairs of one set."""

from __future__ import annotations

import math

from vjaccel.arrays import certified_pairs, check
from vjaccel.arrays.certified_range import least_score
from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.dispatch import at_work, choose
from vjaccel.arrays.protocol import Backend, Matches, Metric, Pairs
from vjaccel.arrays.results import public_values, result_dtype
from vjaccel.arrays.searched import contradiction, searched
from vjaccel.errors import InvalidInput

__all__ = ["pairs", "within"]


def pairs(
    x: object,
    *,
    k: int | None = None,
    threshold: float | None = None,
    metric: str | Metric | None = None,
    backend: str | Backend | None = None,
) -> Pairs:
    """The closest pairs of rows of `x`, each once, exactly: those of a float64 brute force. For near duplicates.

    At least one of `k` and `threshold` is needed; with both, at most `k` pairs that reach the threshold.

    Parameters
    ----------
    x : array_like or Corpus, shape (n, dim)
        Rows with a NaN or an infinity are in no pair.
    k : int, optional
        So many of the closest pairs; above n (n - 1) / 2 it is that.
    threshold : float, optional
        The least similarity, or the largest distance, of a pair, as in `within`. Many equal rows make many pairs: without
        `k` nothing bounds the result, which is held about three times while it is sorted.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
        By default "cosine", or a corpus' own.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where `x` is.

    Returns
    -------
    Pairs
        ``left``, ``right`` and ``values``, best first; equals by `left`, then `right`.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> found = pairs([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], k=2, metric="euclidean")
    >>> found.left, found.right
    (array([0, 1]), array([2, 2]))
    """
    if isinstance(x, Corpus):
        contradiction(metric, x)
        metric, x = x.metric, x.vectors
    found = check.metric(Metric.COSINE if metric is None else metric, Metric, {})
    if k is None and threshold is None:
        raise InvalidInput("pairs needs k, threshold or both: how many pairs, or how close")
    most = None if k is None else check.count(k)
    if threshold is None:
        threshold = -math.inf if found.is_similarity else math.inf
    least = least_score(found, check.threshold(threshold, found))
    choice = choose(backend, {"x": x}, "pairs")
    with at_work(choice.backend, "pairs"):
        array, _ = check.vectors("x", x, choice.backend, single=False)
        most = None if most is None else min(most, array.shape[0] * (array.shape[0] - 1) // 2)
        if most == 0:
            most, least = None, math.inf
        left, right, scores = certified_pairs.pairs(choice.backend, array, found, most, least)
        dtype = result_dtype(array)
        values = public_values(found, scores).astype(dtype)
        numbers = choice.backend.capabilities.index_dtype
        return Pairs(choice.taken(left, numbers), choice.taken(right, numbers), choice.taken(values, dtype))


def within(
    queries: object,
    corpus: object,
    threshold: float,
    *,
    metric: str | Metric | None = None,
    mask: object = None,
    max_per_query: int | None = None,
    backend: str | Backend | None = None,
) -> Matches:
    """All rows of `corpus` that reach `threshold` for each query, exactly: those of a float64 brute force, best first.

    Parameters
    ----------
    queries : array_like, shape (n_queries, dim) or (dim,)
    corpus : array_like or Corpus, shape (n, dim)
        For repeated searches a `Corpus` saves preparing it each time.
    threshold : float
        The least similarity (cosine, dot), or the largest distance, that is returned; itself included. It is compared to
        the value in float64, before that is rounded to the result's dtype; the cosine of a row and its copy may lie 2e-16
        below 1.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
        By default "cosine", or a corpus' own.
    mask : array_like of bool, shape (n,) or (n_queries, n), optional
        True where a row may be returned.
    max_per_query : int, optional
        At most so many rows for each query, the best.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.

    Returns
    -------
    Matches
        ``offsets``, ``indices`` and ``values``: one CSR, best first in each query, ties by lower index.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> found = within([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]], 0.5)
    >>> found.offsets, found.indices
    (array([0, 2, 4]), array([2, 1, 0, 1]))
    """
    found = searched("within", queries, corpus, metric, backend)
    return found.within(queries, threshold, mask=mask, max_per_query=max_per_query)
