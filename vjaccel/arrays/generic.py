"""Every operation in array-API terms: the reference, and a new backend's free start.

A subclass says what its library is (`name`, `array_modules`, `requires`, `install`, `devices`, `device_of`, `__init__`) and
inherits the rest; it overrides what its library does better. No (queries x corpus) matrix exists whole: a corpus is walked
in tiles, and a tile is where layout and dtype are converted. Searching is in `vjaccel.arrays.search`, changing
a corpus in `vjaccel.arrays.changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, TypeVar

import numpy as np

from vjaccel.arrays.changes import GenericChanges
from vjaccel.arrays.codes import GenericCodes
from vjaccel.arrays.protocol import Array, Backend, Capabilities, Metric

__all__ = ["GenericBackend"]

Result = TypeVar("Result")

CANCELS = 1e-4
"""Below this share of |a|^2 + |b|^2 a squared distance has lost too many digits to the expansion, and is taken directly."""

FLOOR_BYTES = 1 << 20


class GenericBackend(GenericChanges, GenericCodes):
    """A correct backend for any library that array-api-compat knows, or that follows the standard itself."""

    name: ClassVar[str]
    array_modules: ClassVar[tuple[str, ...]]
    requires: ClassVar[tuple[str, ...]]
    install: ClassVar[str]

    members: tuple[Backend, ...] = ()

    def __init__(self, device: str, xp: Any, native_device: Any = None) -> None:
        self.device = device
        self.xp = xp
        self.native_device = native_device
        self.tile_bytes = 32 << 20

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def __repr__(self) -> str:
        return f"<backend {self.name}:{self.device}>"

    # What a library does in its own way

    def asarray(self, x: Array) -> Array:
        return self.xp.asarray(x, device=self.native_device)

    def upload(self, x: np.ndarray) -> Array:
        return self.asarray(x)

    def shards(self, x: Array) -> list[tuple[str, Array]] | None:
        return None

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def synchronize(self) -> None:
        """Array-API libraries have no such notion; an asynchronous one overrides this."""

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError)

    def on_device(self) -> AbstractContextManager[object]:
        return nullcontext()

    def float64(self) -> AbstractContextManager[object]:
        return nullcontext()

    def matmul(self, a: Array, b: Array) -> Array:
        return a @ b

    manhattan_broadcasts: ClassVar[bool] = True
    """Whether `manhattan` holds the differences of all pairs at once."""

    def manhattan(self, a: Array, b: Array) -> Array:
        return self.xp.sum(self.xp.abs(a[:, None, :] - b[None, :, :]), axis=2)

    def norms(self, x: Array) -> Array:
        return self.xp.sqrt(self.xp.sum(x * x, axis=1))

    def largest(self, scores: Array, count: int) -> Array:
        return self.xp.argsort(scores, axis=1, descending=True)[:, :count]

    def fill(self, out: Array, rows: slice, columns: slice, block: Array) -> Array:
        out[rows, columns] = block
        return out

    def put(self, out: Array, rows: Array, columns: Array, values: Array) -> Array:
        """`out` with `values` at (rows, columns), each place once."""
        xp = self.xp
        try:
            out[rows, columns] = values
        except (IndexError, TypeError, NotImplementedError):
            # The standard has no such assignment, so what is new is sorted in before what was there.
            places = xp.arange(out.shape[0] * out.shape[1], device=self.native_device)
            first = xp.unique_all(xp.concat([rows * out.shape[1] + columns, places])).indices
            out = xp.reshape(xp.take(xp.concat([values, xp.reshape(out, (-1,))]), first, axis=0), out.shape)
        return out

    # Operations

    def normalize(self, x: Array) -> Array:
        def run() -> Array:
            out = self.xp.empty(x.shape, dtype=x.dtype, device=self.native_device)
            for rows in self.blocks(x.shape[0], 16 * x.shape[1]):
                part, norm, _ = self._scaled(self.widened(x[rows, :]))
                out = self.fill(out, rows, slice(None), self.xp.astype(part / self._nonzero(norm)[:, None], x.dtype))
            return out

        return self.retried(run)

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        def run() -> Array:
            dtype = self.result_dtype(a, b)
            block_of = self._block_function(metric, a, b)
            out = self.xp.empty((a.shape[0], b.shape[0]), dtype=dtype, device=self.native_device)
            depth = a.shape[1] if metric is Metric.MANHATTAN and self.manhattan_broadcasts else 1
            for columns in self.blocks(b.shape[0], 16 * (a.shape[1] + 64 * depth)):
                row_bytes = 16 * (a.shape[1] + (columns.stop - columns.start) * depth)
                for rows in self.blocks(a.shape[0], row_bytes):
                    left = self.xp.astype(self.widened(a[rows, :]), dtype)
                    right = self.xp.astype(self.widened(b[columns, :]), dtype)
                    out = self.fill(out, rows, columns, block_of(left, right))
            return out

        return self.retried(run)

    def paired(self, metric: Metric, a: Array, b: Array) -> Array:
        def run() -> Array:
            dtype = self.result_dtype(a, b)
            parts = [self.xp.empty((0,), dtype=dtype, device=self.native_device)]
            for rows in self.blocks(a.shape[0], 32 * a.shape[1]):
                left = self.xp.astype(self.widened(a[rows, :]), dtype)
                right = self.xp.astype(self.widened(b[rows, :]), dtype)
                parts.append(self._paired(metric, left, right))
            return self.xp.concat(parts)

        return self.retried(run)

    # Blocks of all pairs

    def _block_function(self, metric: Metric, a: Array, b: Array) -> Callable[[Array, Array], Array]:
        if metric is Metric.COSINE:
            return self._cosine
        if metric is Metric.DOT:
            reach = self._reach(a) * self._reach(b) * max(a.shape[1], 1)
            # Beyond float32 two infinities of different sign would meet in a sum; in float64 they never come to be.
            return self._wide_dot if reach > 1e38 else lambda left, right: self.matmul(left, right.T)
        if metric is Metric.MANHATTAN:
            return self.manhattan
        center = self.xp.astype(self.mean(b), self.result_dtype(a, b))
        return lambda left, right: self._euclidean(metric, left, right, center)

    def _cosine(self, a: Array, b: Array) -> Array:
        a, a_norm, _ = self._scaled(a)
        b, b_norm, _ = self._scaled(b)
        products = self.matmul(a / self._nonzero(a_norm)[:, None], (b / self._nonzero(b_norm)[:, None]).T)
        return self.xp.clip(products, -1.0, 1.0)

    def _wide_dot(self, a: Array, b: Array) -> Array:
        with self.float64():
            wide = self.matmul(self.xp.astype(a, self.xp.float64), self.xp.astype(b, self.xp.float64).T)
            return self.xp.astype(wide, a.dtype)

    def _euclidean(self, metric: Metric, a: Array, b: Array, center: Array) -> Array:
        block, untrusted = self._expanded(metric, a, b, center)
        rows, columns = self.xp.nonzero(untrusted)
        for part in self.blocks(rows.shape[0], 32 * a.shape[1]):
            i, j = rows[part], columns[part]
            direct = self._paired(metric, self.xp.take(a, i, axis=0), self.xp.take(b, j, axis=0))
            block = self.put(block, i, j, direct)
        return block

    def _expanded(self, metric: Metric, a: Array, b: Array, center: Array) -> tuple[Array, Array]:
        """Distances by |a|^2 + |b|^2 - 2ab, and where that lost too many digits; what stands there is meaningless."""
        xp = self.xp
        near_a, near_b = a - center, b - center
        total = xp.sum(near_a * near_a, axis=1)[:, None] + xp.sum(near_b * near_b, axis=1)[None, :]
        squares = total - 2.0 * self.matmul(near_a, near_b.T)
        trusted = (squares >= CANCELS * total) & (total > 1e-30) & (total < 1e30)
        squares = xp.where(trusted, squares, 1.0)  # not 0, where the square root has no gradient
        return xp.sqrt(squares) if metric is Metric.EUCLIDEAN else squares, ~trusted

    def _paired(self, metric: Metric, a: Array, b: Array) -> Array:
        xp = self.xp
        if metric is Metric.DOT:
            with self.float64():
                return xp.astype(xp.sum(xp.astype(a, xp.float64) * xp.astype(b, xp.float64), axis=1), a.dtype)
        if metric is Metric.COSINE:
            a, a_norm, _ = self._scaled(a)
            b, b_norm, _ = self._scaled(b)
            unit_a, unit_b = a / self._nonzero(a_norm)[:, None], b / self._nonzero(b_norm)[:, None]
            return xp.clip(xp.sum(unit_a * unit_b, axis=1), -1.0, 1.0)
        if metric is Metric.MANHATTAN:
            return xp.sum(xp.abs(a - b), axis=1)
        _, norm, scale = self._scaled(a - b)
        distances = norm / scale
        return distances if metric is Metric.EUCLIDEAN else distances * distances

    # Numbers

    def _scaled(self, x: Array) -> tuple[Array, Array, Array]:
        """`x` with each row times a power of two that keeps its squares in range, the norms of that, and the powers.

        Two fixed scales, as in Blue, A portable Fortran program to find the Euclidean norm of a vector, ACM TOMS 4 (1978).
        """
        xp = self.xp
        limit, factor = (2.0**40, 2.0**90) if x.dtype == xp.float32 else (2.0**400, 2.0**700)
        reach = xp.max(xp.abs(x), axis=1)
        one = xp.ones_like(reach)
        scale = xp.where(reach > limit, one / factor, xp.where(reach < 1 / limit, one * factor, one))
        x = x * scale[:, None]
        return x, self.norms(x), scale

    def _nonzero(self, norm: Array) -> Array:
        return self.xp.where(norm == 0.0, self.xp.ones_like(norm), norm)

    def _reach(self, x: Array) -> float:
        """The largest magnitude in `x` (n, dim) that is not NaN."""
        parts = [self.xp.zeros((), dtype=self.scan_dtype(x), device=self.native_device)]
        for rows in self.blocks(x.shape[0], 8 * x.shape[1]):
            part = self.xp.abs(self.widened(x[rows, :]))
            parts.append(self.xp.max(self.xp.where(self.xp.isnan(part), 0.0, part)))
        return float(self.xp.max(self.xp.stack(parts)))  # one wait for the device, not one a block

    def mean(self, x: Array) -> Array:
        """The mean row, float32 or float64; what is not finite counts as zero."""
        xp = self.xp
        with self.float64():
            total = xp.zeros((x.shape[1],), dtype=xp.float64, device=self.native_device)
            for rows in self.blocks(x.shape[0], 16 * x.shape[1]):
                part = xp.astype(self.widened(x[rows, :]), xp.float64)
                total = total + xp.sum(xp.where(xp.isfinite(part), part, 0.0), axis=0)
            return xp.astype(total / max(x.shape[0], 1), self.scan_dtype(x))

    def widened(self, x: Array) -> Array:
        """float16 and bfloat16 as float32; float32 and float64 as they are."""
        return x if x.dtype in (self.xp.float32, self.xp.float64) else self.xp.astype(x, self.xp.float32)

    def result_dtype(self, a: Array, b: Array) -> Any:
        wide = self.xp.float64 in (a.dtype, b.dtype)
        return self.xp.float64 if wide else self.xp.float32

    def scan_dtype(self, vectors: Array) -> Any:
        return self.xp.float64 if vectors.dtype == self.xp.float64 else self.xp.float32

    # Tiles

    def blocks(self, rows: int, row_bytes: int) -> Iterator[slice]:
        """Slices of `rows` rows that take `tile_bytes` at most, if a row takes `row_bytes`."""
        step = max(1, self.tile_bytes // max(row_bytes, 1))
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))

    def retried(self, run: Callable[[], Result]) -> Result:
        """What `run` returns; when the device's memory does not suffice, again with half the tile, down to 1 MB."""
        while True:
            try:
                return run()
            except Exception as exc:
                if self.tile_bytes <= FLOOR_BYTES or not self.is_out_of_memory(exc):
                    raise
            self.tile_bytes //= 2
