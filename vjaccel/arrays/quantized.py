"""Vectors as codes of one byte or one bit a number, searched by the codes and ranked again by the vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import check
from vjaccel.arrays.certify import ranked
from vjaccel.arrays.codes import Codes, Coding, Kind
from vjaccel.arrays.dispatch import Choice, at_work, choose, home_of, is_at
from vjaccel.arrays.protocol import Array, Backend, Metric, TopK
from vjaccel.errors import InvalidInput, InvalidType, NotSupported

__all__ = ["Quantized", "quantize"]

KINDS: tuple[Kind, ...] = get_args(Kind)
METRICS = tuple(metric for metric in Metric if metric is not Metric.MANHATTAN)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Quantized:
    """Quantized vectors, a corpus for `topk`.

    Attributes
    ----------
    kind : {"int8", "binary"}
    codes : array, shape (n, dim) of int8, or (n, ceil(dim / 8)) of uint8
        binary: eight numbers a byte, the first the highest bit, set where the number is above its column's scale.
    scales : array, shape (dim,), float32
        int8: a code times it is about the number; binary: the value above which a bit is set.
    squares : array, shape (n,), float32
        int8: squared norms of what the codes stand for. NaN where a row is not finite: such rows are never returned.
    vectors : array, shape (n, dim), or None
        The full vectors, not copied: a memory map costs no memory. ``dataclasses.replace(q, vectors=None)`` lets go of them.
    dim : int
    backend : Backend
    """

    kind: Kind
    codes: Array
    scales: Array
    squares: Array
    vectors: Array | None
    dim: int
    backend: Backend
    named: bool = False

    def __len__(self) -> int:
        return int(self.codes.shape[0])

    def __repr__(self) -> str:
        full = "with" if self.vectors is not None else "without"
        place = f"{self.backend.name}:{self.backend.device}"
        return f"<Quantized {self.kind} of {len(self)} x {self.dim}, {full} the vectors, on {place}>"

    def topk(
        self,
        queries: object,
        k: int = 10,
        *,
        metric: str | Metric = Metric.COSINE,
        mask: object = None,
        rescore: int = 4,
    ) -> TopK:
        """About the `k` closest rows for each query: found by the codes, ranked by the vectors where they are at hand.

        Parameters
        ----------
        queries : array_like, shape (n_queries, dim) or (dim,)
        k : int
            At least 1; above ``len(self)`` it is that.
        metric : {"cosine", "dot", "euclidean", "sqeuclidean"}
        mask : array_like of bool, shape (n,) or (n_queries, n), optional
            True where a row may be returned.
        rescore : int
            So many times `k` candidates are ranked again by the vectors; 0 ranks by the codes alone.

        Returns
        -------
        TopK
            Best first. The values are exact where the vectors ranked; else those of the codes: of int8 about the metric's, of
            binary hamming distances, ascending.

        Raises
        ------
        InvalidInput, InvalidType
        """
        found_metric = check.metric(metric, METRICS, {Metric.MANHATTAN: "topk on the vectors, which has it"})
        k = min(check.count(k), len(self))
        times = 0 if rescore == 0 and not isinstance(rescore, bool) else check.count(rescore, "rescore")
        home = home_of(queries)
        if home is not None and not self.named and not is_at(self.backend, home):
            raise InvalidType(
                f"queries are on {home[0].name}:{home[1]} and the codes on {self.backend.name}:{self.backend.device}; "
                f"nothing leaves a device unasked. Quantize with backend='{home[0].name}:{home[1]}', or convert the queries"
            )
        with at_work(self.backend, "topk"):
            array, single = check.vectors("queries", queries, self.backend)
            if array.shape[1] != self.dim:
                raise InvalidInput(
                    f"queries have width {array.shape[1]} and the codes {self.dim}; they must be the same"
                )
            allowed = None if mask is None else check.mask(mask, array.shape[0], len(self), self.backend)
            values, indices = self._found(array, k, found_metric, allowed, times)
            if single:
                values, indices = values[0, :], indices[0, :]
            choice = Choice(self.backend, home, self.named)
            values, indices = choice.returned(values), choice.returned(indices)
            return TopK(values, indices.astype(np.int64, copy=False) if home is None else indices)

    def _found(self, queries: Array, k: int, metric: Metric, mask: Array | None, times: int) -> tuple[Array, Array]:
        backend, exact = _with_codes(self.backend), self.vectors is not None and times > 0
        if not k or not queries.shape[0]:
            shape = (int(queries.shape[0]), k)
            return backend.asarray(np.empty(shape, np.float32)), backend.asarray(np.empty(shape, np.int64))
        codes = Codes(self.kind, self.codes, self.scales, self.squares, self.dim)
        count = min(len(self), k * times) if exact else k
        scores, ids = backend.scan_codes(queries, codes, metric, count, mask)
        xp = array_namespace(scores)
        with backend.float64():
            finite = xp.all(xp.isfinite(queries), axis=1)[:, None]
            ids = xp.where(finite & (scores > -xp.inf), ids, -1)
            if exact:
                scores = backend.exact_of(queries, self.vectors, metric, ids)
            scores, ids = ranked(xp.where(ids < 0, -xp.inf, xp.astype(scores, xp.float64)), ids, k)
            values = self._values(xp, scores, queries, metric, exact)
            wide = exact and xp.float64 in (queries.dtype, self.vectors.dtype)  # type: ignore[union-attr]  # exact: there
            index = getattr(xp, backend.capabilities.index_dtype)
            return xp.astype(values, xp.float64 if wide else xp.float32), xp.astype(ids, index)

    def _values(self, xp: Array, scores: Array, queries: Array, metric: Metric, exact: bool) -> Array:
        """Scores, the larger the closer, as what they are called."""
        if self.kind == "binary" and not exact:
            return -scores
        if not exact and metric is not Metric.DOT:
            squares = xp.sum(xp.astype(queries, xp.float64) ** 2, axis=1)[:, None]
            if metric is Metric.COSINE:
                scores = scores / xp.sqrt(xp.where(squares > 0.0, squares, 1.0))
            else:
                # Of a finite row: the codes' distance can come out below zero by rounding alone.
                scores = xp.where(scores == -xp.inf, scores, xp.minimum(scores - squares, xp.zeros_like(scores)))
        if metric.is_similarity:
            return scores
        return xp.sqrt(-scores) if metric is Metric.EUCLIDEAN else -scores


def quantize(x: object, kind: Kind, *, calibration: object = None, backend: str | Backend | None = None) -> Quantized:
    """Vectors as codes of a byte or a bit a number, to be searched with `topk`.

    Parameters
    ----------
    x : array_like, shape (n, dim)
    kind : {"int8", "binary"}
    calibration : array_like, shape (m, dim), optional
        Vectors like those to come. int8: the largest number of each column is the largest code, without them `x`'s own.
        binary: a bit is set above each column's mean, without them above 0.
    backend : str or Backend, optional
        As in `get_backend`; otherwise where `x` is.

    Returns
    -------
    Quantized

    Raises
    ------
    InvalidInput, InvalidType, UnknownBackend, BackendUnavailable
    NotSupported
        The backend has no codes.

    Examples
    --------
    >>> quantize([[0.5, -1.0, 0.25], [-0.5, 0.1, 1.0]], "binary").codes
    array([[160],
           [ 96]], dtype=uint8)
    """
    if kind not in KINDS:
        raise InvalidInput(f"kind {kind!r} is unknown; it is {' or '.join(map(repr, KINDS))}")
    choice = choose(backend, {"x": x, "calibration": calibration})
    found = _with_codes(choice.backend)
    with at_work(choice.backend, "quantize"):
        vectors, _ = check.vectors("x", x, found, single=False)
        like = None
        if calibration is not None:
            like, _ = check.vectors("calibration", calibration, found, single=False)
            check.same_dim("x", vectors, "calibration", like)
        elif kind == "int8":
            like = vectors
        dim = int(vectors.shape[1])
        steps = found.code_steps(kind, like, dim)
        if vectors.shape[0]:
            made = found.encode(kind, vectors, steps)
            codes, squares = made.codes, made.squares
        else:
            width = (0, dim) if kind == "int8" else (0, -(-dim // 8))
            codes = found.asarray(np.empty(width, np.int8 if kind == "int8" else np.uint8))
            squares = found.asarray(np.empty(0, np.float32))
    return Quantized(kind, codes, steps, squares, vectors, dim, choice.backend, choice.named)


def _with_codes(backend: Backend) -> Coding:
    if not isinstance(backend, Coding):
        raise NotSupported(f"backend {backend.name!r} does not quantize; name one that does, or search the vectors")
    return backend
