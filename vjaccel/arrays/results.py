"""From scores, the larger the closer, to the values that a search returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.protocol import Array, Backend, Metric, TopK

__all__ = ["Best", "drained", "public", "public_values", "result_dtype"]


class Best(NamedTuple):
    """The closest rows of each query as they are ranked, on the host: what answers of several corpora are merged by.

    Attributes
    ----------
    scores : ndarray of float64, shape (n_queries, k)
        Best first, the larger the closer; -inf where there are fewer rows.
    ids : ndarray of int64, shape (n_queries, k)
        -1 where there are fewer.
    dtype : str
        That of the values that a search returns.
    """

    scores: np.ndarray
    ids: np.ndarray
    dtype: str

    def values(self, metric: Metric) -> np.ndarray:
        """The scores as the metric's own values, as a search returns them."""
        with np.errstate(all="ignore"):
            return public_values(metric, self.scores).astype(self.dtype)


def public(backend: Backend, metric: Metric, found: TopK, dtype: str) -> tuple[Array, Array]:
    """Scores of `backend` as the metric's own values, in the result's dtype; and the indices in theirs."""
    xp = array_namespace(found.values)
    with backend.float64():
        values = found.values if metric.is_similarity else -found.values
        if metric is Metric.EUCLIDEAN:
            values = xp.sqrt(values)
        return (
            xp.astype(values, getattr(xp, dtype)),
            xp.astype(found.indices, getattr(xp, backend.capabilities.index_dtype)),
        )


def public_values(metric: Metric, scores: np.ndarray) -> np.ndarray:
    """Scores, the larger the closer, as the metric's own values."""
    values = scores if metric.is_similarity else 0.0 - scores  # never -0.0
    return np.sqrt(values) if metric is Metric.EUCLIDEAN else values


def drained(parts: list[np.ndarray]) -> np.ndarray:
    """All of `parts` as one array; each is given up as it is copied, so that they never exist twice."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def result_dtype(*arrays: Array) -> str:
    """That of the values of a search among `arrays`."""
    names = {str(x.dtype).rpartition(".")[2] for x in arrays}
    return "float64" if "float64" in names else "float32"
