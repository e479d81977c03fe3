"""Searches whose result has as many rows as there are: all that reach a threshold."""

from __future__ import annotations

from vjaccel.arrays.corpus import searched
from vjaccel.arrays.protocol import Backend, Matches, Metric

__all__ = ["within"]


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
    return searched(queries, corpus, metric, backend).within(queries, threshold, mask=mask, max_per_query=max_per_query)
