"""Similarities of all pairs and row by row; distances are negated, so that larger is closer throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vjaccel.arrays import distance, normalize, paired_distance, paired_similarity, similarity
from vjaccel.arrays.protocol import Array, Metric
from vjaccel.compat.sentence_transformers.tensors import Given, batch, computed, tensor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "manhattan_sim",
    "metric_of",
    "normalize_embeddings",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
]


def cos_sim(a: Given, b: Given) -> Tensor:
    """The cosine of each vector of `a` with each of `b`.

    Parameters
    ----------
    a, b : list, numpy.ndarray or torch.Tensor, shape (n, dim) and (m, dim), or (dim,) for one
        float16 and bfloat16 give float32; sparse tensors are made dense.

    Returns
    -------
    torch.Tensor, shape (n, m)
        On the device of the tensors; 0 with a zero vector.

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.similarity`.

    Examples
    --------
    >>> cos_sim([[1.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]])
    tensor([[1., 0.]])
    """
    return computed(similarity, batch(a), batch(b), metric=Metric.COSINE)


def dot_score(a: Given, b: Given) -> Tensor:
    """The dot product of each vector of `a` with each of `b`: see `cos_sim`. Integers give floats.

    Examples
    --------
    >>> dot_score([[1.0, 2.0]], [3.0, 1.0])
    tensor([[5.]])
    """
    return computed(similarity, batch(a), batch(b), metric=Metric.DOT)


def euclidean_sim(a: Given, b: Given) -> Tensor:
    """The negated Euclidean distance of each vector of `a` from each of `b`: see `cos_sim`.

    Examples
    --------
    >>> euclidean_sim([[0.0, 0.0]], [3.0, 4.0])
    tensor([[-5.]])
    """
    return -computed(distance, batch(a), batch(b), metric=Metric.EUCLIDEAN)


def manhattan_sim(a: Given, b: Given) -> Tensor:
    """The negated Manhattan distance of each vector of `a` from each of `b`: see `cos_sim`.

    Examples
    --------
    >>> manhattan_sim([[0.0, 0.0]], [3.0, 4.0])
    tensor([[-7.]])
    """
    return -computed(distance, batch(a), batch(b), metric=Metric.MANHATTAN)


def pairwise_cos_sim(a: Given, b: Given) -> Tensor:
    """The cosine of each vector of `a` with the vector of `b` in the same row.

    Parameters
    ----------
    a, b : list, numpy.ndarray or torch.Tensor, shape (..., dim)
        Leading axes are broadcast; float16 and bfloat16 give float32; sparse tensors are made dense.

    Returns
    -------
    torch.Tensor, the leading axes
        On the device of the tensors.

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.paired_similarity`.

    Examples
    --------
    >>> pairwise_cos_sim([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]])
    tensor([1., 0.])
    """
    return _row_by_row(paired_similarity, a, b, Metric.COSINE)


def pairwise_dot_score(a: Given, b: Given) -> Tensor:
    """The dot product of each vector of `a` with that of `b` in the same row: see `pairwise_cos_sim`. Integers give floats."""
    return _row_by_row(paired_similarity, a, b, Metric.DOT)


def pairwise_euclidean_sim(a: Given, b: Given) -> Tensor:
    """The negated Euclidean distance of each vector of `a` from that of `b` in the same row: see `pairwise_cos_sim`."""
    return -_row_by_row(paired_distance, a, b, Metric.EUCLIDEAN)


def pairwise_manhattan_sim(a: Given, b: Given) -> Tensor:
    """The negated Manhattan distance of each vector of `a` from that of `b` in the same row: see `pairwise_cos_sim`."""
    return -_row_by_row(paired_distance, a, b, Metric.MANHATTAN)


def normalize_embeddings(embeddings: Tensor) -> Tensor:
    """Each vector divided by its Euclidean norm; a zero vector stays zero.

    Parameters
    ----------
    embeddings : torch.Tensor, shape (..., dim)
        Dense or sparse.

    Returns
    -------
    torch.Tensor, the shape, dtype, device and layout of `embeddings`

    Raises
    ------
    InvalidInput, InvalidType
        As `vjaccel.normalize`.
    """
    dense = tensor(embeddings)
    found = computed(normalize, dense.reshape(-1, dense.shape[-1])).reshape(dense.shape)
    return found.to_sparse() if embeddings.is_sparse else found


def metric_of(score_function: Callable[..., object]) -> Metric | None:
    """What `score_function` compares by, if it is one of the four, ours or that library's own."""
    if str(getattr(score_function, "__module__", None)).partition(".")[0] not in ("vjaccel", "sentence_transformers"):
        return None
    return {
        "cos_sim": Metric.COSINE,
        "pytorch_cos_sim": Metric.COSINE,
        "dot_score": Metric.DOT,
        "euclidean_sim": Metric.EUCLIDEAN,
        "manhattan_sim": Metric.MANHATTAN,
    }.get(getattr(score_function, "__name__", ""))


def _row_by_row(operation: Callable[..., Array], a: Given, b: Given, metric: Metric) -> Tensor:
    import torch

    left, right = torch.broadcast_tensors(tensor(a), tensor(b))
    flat = (x.reshape(-1, x.shape[-1]) for x in (left, right))
    return computed(operation, *flat, metric=metric).reshape(left.shape[:-1])
