"""Quantizing, and searching codes, in array-API terms.

int8: a code for each number, times its column's scale. binary: a bit for each number, eight in a byte, the first the highest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from vjaccel.arrays.protocol import Array, Backend, Metric
from vjaccel.arrays.search import EXPANDED, GenericSearch

__all__ = ["LARGEST", "Codes", "Coding", "GenericCodes", "Kind"]

Kind: TypeAlias = Literal["int8", "binary"]

LARGEST = 127
"""The largest code. -128 is not used, so that a negated vector has the negated codes."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Quantized rows.

    Attributes
    ----------
    kind : {"int8", "binary"}
    codes : array (rows, dim) of int8, or (rows, ceil(dim / 8)) of uint8
    steps : array (dim,), float32
        int8: what a code of 1 stands for, by column; binary: the value above which a bit is set.
    squares : array (rows,), float32
        int8: the squared norm of what the codes stand for. NaN where the row was not finite, and is never returned.
    dim : int
    """

    kind: Kind
    codes: Array
    steps: Array
    squares: Array
    dim: int


class _Exact(NamedTuple):
    """What `rescore` reads of a prepared corpus."""

    metric: Metric
    dim: int
    vectors: Array


@runtime_checkable
class Coding(Backend, Protocol):
    """What a backend that quantizes has besides; `GenericCodes` has it all."""

    def code_steps(self, kind: Kind, calibration: Array | None, dim: int) -> Array:
        """`Codes.steps` for vectors like `calibration` (n, dim); without one, of bits, zeros."""
        ...

    def encode(self, kind: Kind, x: Array, steps: Array) -> Codes:
        """The codes of `x` (n, dim), n at least 1."""
        ...

    def scan_codes(
        self, queries: Array, codes: Codes, metric: Metric, count: int, mask: Array | None
    ) -> tuple[Array, Array]:
        """The best `count` rows by their codes: float32 scores and row numbers (n_queries, count), -inf and -1 for none.

        The larger the closer: of int8 the scores of what the codes stand for, but for what is the same for all rows; of bits
        the negated hamming distance, equals by the lower index.
        """
        ...

    def exact_of(self, queries: Array, vectors: Array, metric: Metric, ids: Array) -> Array:
        """The exact scores of the rows `ids` (n_queries, c) of `vectors`, as `rescore`'s."""
        ...


class GenericCodes:
    """The quantized part of `GenericBackend`."""

    xp: Any
    native_device: Any
    blocks: Callable[[int, int], Iterator[slice]]
    retried: Callable[[Callable[[], Any]], Any]
    float64: Callable[[], AbstractContextManager[object]]
    matmul: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    widened: Callable[[Array], Array]
    _best: Callable[[Array, Array | None, int], tuple[Array, Array]]

    def code_steps(self, kind: Kind, calibration: Array | None, dim: int) -> Array:
        xp = self.xp
        steps = xp.zeros((dim,), dtype=xp.float32, device=self.native_device)
        if calibration is None or not calibration.shape[0]:
            return steps
        if kind == "binary":
            return xp.astype(self.mean(calibration), xp.float32)
        for rows in self.blocks(calibration.shape[0], 16 * dim):
            steps = xp.maximum(steps, self._column_reach(calibration[rows, :]))
        return steps / LARGEST

    def encode(self, kind: Kind, x: Array, steps: Array) -> Codes:
        def run() -> Codes:
            parts = [self._encode_block(kind, x[rows, :], steps) for rows in self.blocks(x.shape[0], 24 * x.shape[1])]
            codes, squares = (self.xp.concat(list(column)) for column in zip(*parts, strict=True))
            return Codes(kind, codes, steps, squares, x.shape[1])

        found: Codes = self.retried(run)
        return found

    def scan_codes(
        self, queries: Array, codes: Codes, metric: Metric, count: int, mask: Array | None
    ) -> tuple[Array, Array]:
        xp = self.xp

        def run() -> tuple[Array, Array]:
            wanted = self._code_queries(codes.kind, queries, codes.steps)
            best: tuple[Array, Array] | None = None
            for tile in self.blocks(codes.codes.shape[0], 16 * (queries.shape[0] + codes.dim)):
                part = replace(codes, codes=codes.codes[tile, :], squares=codes.squares[tile])
                allowed = mask if mask is None else mask[tile] if mask.ndim == 1 else mask[:, tile]
                found = self._best_codes(wanted, part, metric, count, allowed, tile.start)
                best = found if best is None else self._best(
                    xp.concat([best[0], found[0]], axis=1), xp.concat([best[1], found[1]], axis=1), count
                )  # fmt: skip
            assert best is not None  # codes of no rows are settled before
            return self._code_found(codes.kind, *best)

        with self.float64():
            found: tuple[Array, Array] = self.retried(run)
            return found

    def exact_of(self, queries: Array, vectors: Array, metric: Metric, ids: Array) -> Array:
        return GenericSearch.rescore(self, queries, _Exact(metric, vectors.shape[1], vectors), ids)  # type: ignore[arg-type]

    # Parts: no step depends on a value, so they can be compiled

    def _column_reach(self, x: Array) -> Array:
        part = self.xp.abs(self.xp.astype(self.widened(x), self.xp.float32))
        return self.xp.max(self.xp.where(self.xp.isfinite(part), part, 0.0), axis=0)

    def _code_queries(self, kind: Kind, queries: Array, steps: Array) -> Array:
        """What is multiplied with codes; what is not finite counts as zero."""
        xp = self.xp
        queries = xp.astype(self.widened(queries), xp.float32)
        queries = xp.where(xp.isfinite(queries), queries, 0.0)
        if kind == "int8":
            return queries * steps
        return self._bits(self._encode_block(kind, queries, steps)[0], queries.shape[1])

    def _best_codes(
        self, wanted: Array, codes: Codes, metric: Metric, count: int, mask: Array | None, start: int
    ) -> tuple[Array, Array]:
        """The best `count` of a tile whose first row has the number `start`; `_code_found` tells what the scores are."""
        xp = self.xp
        scores = self._code_scores(wanted, codes, metric)
        if mask is not None:
            scores = xp.where(mask[None, :] if mask.ndim == 1 else mask, scores, -xp.inf)
        if codes.kind == "binary":
            # Most are equal to many: a part of 1 that grows with the index puts the lower first.
            places = start + xp.arange(scores.shape[1], dtype=xp.float64, device=self.native_device)
            scores = xp.astype(scores, xp.float64) - places * 2.0**-32
        values, columns = self._best(scores, None, count)
        return values, columns + start

    def _code_found(self, kind: Kind, scores: Array, ids: Array) -> tuple[Array, Array]:
        scores = self.xp.astype(self.xp.ceil(scores) if kind == "binary" else scores, self.xp.float32)
        return scores, self.xp.where(scores == -self.xp.inf, -1, ids)

    def _encode_block(self, kind: Kind, x: Array, steps: Array) -> tuple[Array, Array]:
        xp = self.xp
        x = xp.astype(self.widened(x), xp.float32)
        finite = xp.all(xp.isfinite(x), axis=1)
        x = xp.where(finite[:, None], x, 0.0)
        squares = xp.zeros(x.shape[:1], dtype=xp.float32, device=self.native_device)
        if kind == "int8":
            codes = xp.clip(xp.round(x / xp.where(steps == 0.0, xp.inf, steps)), -LARGEST, LARGEST)
            near = codes * steps
            squares = xp.clip(xp.sum(near * near, axis=1), 0.0, xp.finfo(xp.float32).max)
            codes = xp.astype(codes, xp.int8)
        else:
            bits = xp.astype(x > steps, xp.int32)
            short = -x.shape[1] % 8
            if short:
                padding = xp.zeros((x.shape[0], short), dtype=xp.int32, device=self.native_device)
                bits = xp.concat([bits, padding], axis=1)
            places = xp.asarray([128, 64, 32, 16, 8, 4, 2, 1], dtype=xp.int32, device=self.native_device)
            codes = xp.astype(xp.sum(xp.reshape(bits, (x.shape[0], -1, 8)) * places, axis=2), xp.uint8)
        return codes, xp.where(finite, squares, xp.nan)

    def _bits(self, codes: Array, dim: int) -> Array:
        """Rows of bits as -1 and 1, float32: their products are dim - 2 hamming, exactly."""
        xp = self.xp
        part = xp.astype(codes, xp.int32)
        places = xp.asarray([128, 64, 32, 16, 8, 4, 2, 1], dtype=xp.int32, device=self.native_device)
        bits = xp.bitwise_and(part[:, :, None], places) > 0
        return xp.astype(xp.reshape(bits, (part.shape[0], -1)), xp.float32)[:, :dim] * 2.0 - 1.0

    def _code_scores(self, wanted: Array, codes: Codes, metric: Metric) -> Array:
        xp = self.xp
        squares = codes.squares
        if codes.kind == "binary":
            scores = (self.matmul(wanted, self._bits(codes.codes, codes.dim).T) - codes.dim) * 0.5
        else:
            scores = self.matmul(wanted, xp.astype(codes.codes, xp.float32).T)
            if metric is Metric.COSINE:
                scores = scores / xp.sqrt(xp.where(squares > 0.0, squares, 1.0))[None, :]
            elif metric in EXPANDED:
                scores = 2.0 * scores - squares[None, :]
            # What overflows is a bad candidate, but one.
            limit = xp.finfo(xp.float32).max
            scores = xp.clip(xp.where(xp.isnan(scores), -limit, scores), -limit, limit)
        return xp.where(xp.isnan(squares)[None, :], -xp.inf, scores)
