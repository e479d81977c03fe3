"""The vector operations: check, choose a backend, call it.

All take lists, NumPy arrays, and arrays of any library that has a backend; the result is of the first argument's library,
on its device. None changes its input, and none warns.
"""

from __future__ import annotations

from dataclasses import dataclass

from vjaccel.arrays import check
from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.dispatch import Choice, at_work, choose
from vjaccel.arrays.protocol import Array, Backend, Metric, TopK
from vjaccel.arrays.quantized import Quantized
from vjaccel.arrays.searched import contradiction, same_place, searched
from vjaccel.errors import InvalidInput

__all__ = ["distance", "normalize", "paired_distance", "paired_similarity", "similarity", "topk"]


@dataclass(frozen=True, slots=True)
class _Family:
    """What tells `similarity` from `distance`."""

    name: str
    paired: str
    metrics: tuple[Metric, ...]
    default: Metric
    other: str

    def metric(self, value: str | Metric | None) -> Metric:
        if isinstance(value, str) and value in self.metrics:
            return Metric(value)
        instead = {m: f'{self.other}(metric="{m.value}")' for m in Metric}
        return check.metric(self.default if value is None else value, self.metrics, instead)

    def values(self, metric: Metric, scores: Array) -> Array:
        return 1.0 - scores if metric is Metric.COSINE and self is DISTANT else scores


SIMILAR = _Family("similarity", "paired_similarity", (Metric.COSINE, Metric.DOT), Metric.COSINE, "distance")
DISTANT = _Family(
    "distance",
    "paired_distance",
    (Metric.EUCLIDEAN, Metric.SQEUCLIDEAN, Metric.MANHATTAN, Metric.COSINE),
    Metric.EUCLIDEAN,
    "similarity",
)


def normalize(x: object, *, backend: str | Backend | None = None) -> Array:
    """Each vector divided by its Euclidean norm.

    Parameters
    ----------
    x : array_like, shape (n, dim) or (dim,)
    backend : str or Backend, optional
        As in `get_backend`; otherwise where `x` is.

    Returns
    -------
    array, the shape of `x`
        The dtype of `x`; integers give floats. A zero vector stays zero.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> normalize([3.0, 4.0])
    array([0.6, 0.8])
    """
    choice = choose(backend, {"x": x}, "normalize")
    with at_work(choice.backend, "normalize"):
        array, single = check.vectors("x", x, choice.backend)
        result = choice.backend.normalize(array)
        return choice.returned(result[0, :] if single else result)


def similarity(
    a: object, b: object, *, metric: str | Metric | None = None, backend: str | Backend | None = None
) -> Array:
    """How similar each vector of `a` is to each of `b`.

    Parameters
    ----------
    a : array_like, shape (n, dim) or (dim,)
    b : array_like or Corpus, shape (m, dim) or (dim,)
    metric : {"cosine", "dot"}
        By default "cosine", or a corpus' own. The cosine with a zero vector is 0.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.

    Returns
    -------
    array, shape (n, m)
        float32, or float64 where an input is; without the axis of a single vector.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> similarity([[1.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]])
    array([[1., 0.]])
    """
    return _all_pairs(a, b, metric, backend, SIMILAR)


def distance(
    a: object, b: object, *, metric: str | Metric | None = None, backend: str | Backend | None = None
) -> Array:
    """How far each vector of `a` is from each of `b`.

    Parameters
    ----------
    a : array_like, shape (n, dim) or (dim,)
    b : array_like or Corpus, shape (m, dim) or (dim,)
    metric : {"euclidean", "sqeuclidean", "manhattan", "cosine"}
        By default "euclidean", or a corpus' own; "cosine" is 1 - cosine.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.

    Returns
    -------
    array, shape (n, m)
        float32, or float64 where an input is; without the axis of a single vector. ``distance(x, x)`` has a zero diagonal
        for all but cosine.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> distance([[0.0, 0.0]], [[3.0, 4.0]])
    array([[5.]])
    """
    return _all_pairs(a, b, metric, backend, DISTANT)


def paired_similarity(
    a: object, b: object, *, metric: str | Metric = Metric.COSINE, backend: str | Backend | None = None
) -> Array:
    """How similar each vector of `a` is to the vector of `b` in the same row.

    Parameters
    ----------
    a, b : array_like, shape (n, dim) or (dim,)
    metric : {"cosine", "dot"}
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.

    Returns
    -------
    array, shape (n,) or ()

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> paired_similarity([[1.0, 0.0]], [[0.0, 1.0]])
    array([0.])
    """
    return _row_by_row(a, b, metric, backend, SIMILAR)


def paired_distance(
    a: object, b: object, *, metric: str | Metric = Metric.EUCLIDEAN, backend: str | Backend | None = None
) -> Array:
    """How far each vector of `a` is from the vector of `b` in the same row.

    Parameters
    ----------
    a, b : array_like, shape (n, dim) or (dim,)
    metric : {"euclidean", "sqeuclidean", "manhattan", "cosine"}
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.

    Returns
    -------
    array, shape (n,) or ()

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> paired_distance([[0.0, 0.0]], [[3.0, 4.0]])
    array([5.])
    """
    return _row_by_row(a, b, metric, backend, DISTANT)


def topk(
    queries: object,
    corpus: object,
    k: int = 10,
    *,
    metric: str | Metric | None = None,
    mask: object = None,
    backend: str | Backend | None = None,
    rescore: int = 4,
) -> TopK:
    """The `k` closest rows of `corpus` for each query, exactly: the ids of a float64 brute force, ties to the lower index.

    Parameters
    ----------
    queries : array_like, shape (n_queries, dim) or (dim,)
    corpus : array_like, Corpus or Quantized, shape (n, dim)
        For repeated searches a `Corpus` saves preparing it each time. A `Quantized` is searched by its codes: not exactly.
    k : int
        At least 1; above n it is n.
    metric : {"cosine", "dot", "euclidean", "sqeuclidean", "manhattan"}
        By default "cosine", or a corpus' own.
    mask : array_like of bool, shape (n,) or (n_queries, n), optional
        True where a row may be returned.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where the arrays are.
    rescore : int
        For a `Quantized` alone: as in `Quantized.topk`.

    Returns
    -------
    TopK
        ``values`` and ``indices``, shape (n_queries, k), or (k,) for one query, best first: see `TopK`.

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable

    Examples
    --------
    >>> topk([1.0, 0.0], [[0.0, 1.0], [1.0, 1.0], [2.0, 0.0]], k=2).indices
    array([2, 1])
    """
    if isinstance(corpus, Quantized):
        same_place(queries, corpus.backend, backend)
        return corpus.topk(queries, k, metric=Metric.COSINE if metric is None else metric, mask=mask, rescore=rescore)
    return searched("topk", queries, corpus, metric, backend).topk(queries, k, mask=mask)


def _all_pairs(
    a: object, b: object, metric: str | Metric | None, backend: str | Backend | None, family: _Family
) -> Array:
    if isinstance(b, Corpus):
        contradiction(metric, b)
        metric, b = b.metric, b.vectors
    found = family.metric(metric)
    choice = choose(backend, {"a": a, "b": b}, "similarity")
    with at_work(choice.backend, family.name):
        left, right, one_left, one_right = _operands(a, b, choice)
        result = family.values(found, choice.backend.scores(found, left, right))
        result = result[:, 0] if one_right else result
        return choice.returned(result[0, ...] if one_left else result)


def _row_by_row(a: object, b: object, metric: str | Metric, backend: str | Backend | None, family: _Family) -> Array:
    found = family.metric(metric)
    choice = choose(backend, {"a": a, "b": b})
    with at_work(choice.backend, family.paired):
        left, right, one_left, one_right = _operands(a, b, choice)
        if left.shape[0] != right.shape[0] or one_left != one_right:
            raise InvalidInput(f"a has {left.shape[0]} vectors and b {right.shape[0]}; row by row they must be as many")
        result = family.values(found, choice.backend.paired(found, left, right))
        return choice.returned(result[0, ...] if one_left else result)


def _operands(a: object, b: object, choice: Choice) -> tuple[Array, Array, bool, bool]:
    left, one_left = check.vectors("a", a, choice.backend)
    right, one_right = check.vectors("b", b, choice.backend)
    check.same_dim("a", left, "b", right)
    return left, right, one_left, one_right
