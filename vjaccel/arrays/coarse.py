"""Coarser scans of a corpus, by matrix products as a GPU is fastest at: of TF32 or float16 numbers, summed in float32.

Both keep 11 bits of a number, so a scan's scores are further from the exact ones than float32's, and its bound says so:
docs/numerics.md derives it. `certify` then asks for more candidates; the queries that it cannot certify are scanned again
by the vectors themselves. So the answers are those of every other scan.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from vjaccel.arrays import certify
from vjaccel.arrays.protocol import Array, Backend, Coarse, Metric, Prepared, Scanning, TopK
from vjaccel.arrays.search import EXPANDED, ORDINARY, TINY, GenericSearch, PreparedRows, rounding_bound
from vjaccel.errors import NotSupported

__all__ = ["GenericCoarse", "HalfRows", "Tf32Rows", "coarse_error", "halves", "prepared_for"]

STEP = {"tf32": 2.0**-10, "float16": 2.0**-11}
"""How far a number moves when it becomes a scan's, relative: TF32's lower bits may be cut off, float16's are rounded."""

TOP = 2.0**15
"""What a row's largest number becomes in float16, whose own largest is 65504."""

SMALL = 2.0**-90
"""A row of smaller numbers alone is zero in float16, so that its scale is no subnormal number, however it is multiplied."""


@dataclass(frozen=True, slots=True)
class Tf32Rows(PreparedRows):
    """A corpus whose products are taken in TF32."""

    scan: ClassVar[str | None] = "tf32"


@dataclass(frozen=True, slots=True)
class HalfRows(PreparedRows):
    """A corpus with a copy in float16, whose products are scanned.

    Attributes
    ----------
    half : array (rows, dim), float16
        The rows as the scan sees them (euclidean: less the center), each divided by its scale: so none overflows, and what
        falls below float16's normal numbers is below 2^-29 of the row's largest.
    scales : array (rows,)
    """

    row_fields: ClassVar[tuple[str, ...]] = (*PreparedRows.row_fields, "half", "scales")
    scan: ClassVar[str | None] = "float16"

    half: Array
    scales: Array


def prepared_for(backend: Backend, vectors: Array, metric: Metric, scan: Coarse) -> Prepared:
    """`vectors` for a coarser scan by `metric`.

    Raises
    ------
    NotSupported
        The backend's device has no such scan, or the metric is no product of vectors.
    """
    there = backend.capabilities.scans
    if scan not in there:
        others = f"it has {' and '.join(repr(x) for x in there)}" if there else "it scans in the vectors' own precision"
        raise NotSupported(f"backend '{backend.name}:{backend.device}' has no scan {scan!r}: {others}; leave it out")
    if metric is Metric.MANHATTAN:
        raise NotSupported(f"scan={scan!r} is a product of vectors, and metric 'manhattan' is none; leave the scan out")
    assert isinstance(backend, Scanning)  # as its capabilities say
    return backend.prepare_scanned(vectors, metric, scan)


def coarse_error(scan: str, dim: int) -> float:
    """How far a coarse product can be from the exact one, as a part of ``|q| |x|``: docs/numerics.md."""
    step = STEP[scan]
    inputs = 2 * step + step * step + (2.0**-27 * dim**0.5 if scan == "float16" else 0.0)
    # The sums: matrix units align the terms of a block and cut off what is below float32's last bit.
    return 1.01 * (inputs + (dim + 2) * 2.0**-22)


def halves(xp: Any, x: Array) -> tuple[Array, Array]:
    """Rows (n, dim) in float16, each divided by a scale so that its largest magnitude is `TOP`; and the scales."""
    reach = xp.max(xp.abs(x), axis=1)
    zero = reach < SMALL
    scales = xp.where(zero, 0.0, reach) / TOP
    return xp.astype(xp.where(zero[:, None], 0.0, x) / xp.where(zero, 1.0, scales)[:, None], xp.float16), scales


class GenericCoarse(GenericSearch):
    """Searching by a coarser scan, where a backend's `capabilities` have one."""

    def tf32_product(self, a: Array, b: Array) -> Array:
        """``a @ b`` of float32 arrays in TF32, summed in float32."""
        raise NotImplementedError("a backend whose capabilities have the scan 'tf32' has a product for it")

    def half_product(self, a: Array, b: Array) -> Array:
        """``a @ b`` of float16 arrays, summed in float32, a float32 array."""
        return self.matmul(self.xp.astype(a, self.xp.float32), self.xp.astype(b, self.xp.float32))

    def prepare_scanned(self, vectors: Array, metric: Metric, scan: Coarse) -> PreparedRows:
        return self.for_scan(self.prepare(vectors, metric), scan)

    def prepare_again(self, vectors: Array, prepared: PreparedRows) -> PreparedRows:
        return self.for_scan(super().prepare_again(vectors, prepared), prepared.scan)

    def prepare_like(self, vectors: Array, prepared: PreparedRows) -> PreparedRows:
        return self.for_scan(super().prepare_like(vectors, prepared), prepared.scan)

    def topk(self, queries: Array, prepared: PreparedRows, k: int, mask: Array | None) -> TopK:
        if prepared.scan is None:
            return super().topk(queries, prepared, k, mask)
        return certify.topk(self, queries, prepared, k, mask, self.finer(prepared), self.judged)  # type: ignore[arg-type]  # as there

    def finer(self, prepared: PreparedRows) -> PreparedRows:
        """The same corpus, scanned by its vectors."""
        return PreparedRows(**_fields(prepared))

    def scan_bound(self, prepared: PreparedRows, norms: Array) -> tuple[Array, float]:
        if prepared.scan is None:
            return super().scan_bound(prepared, norms)
        dim, largest = prepared.dim, prepared.largest
        absolute, relative = rounding_bound(prepared.metric, dim, 2.0**-24, norms, largest)
        error = coarse_error(prepared.scan, dim)
        if prepared.metric is Metric.COSINE:
            return absolute + error + 4 * TINY * ORDINARY, relative
        error = error * norms * largest
        if prepared.scan == "float16":
            error = error + SMALL * dim**0.5 * (norms + largest) + dim * TOP**2 * TINY
        return absolute + (2 if prepared.metric in EXPANDED else 1) * error, relative

    def tile_products(self, wanted: Array, prepared: PreparedRows, tile: slice) -> Array:
        if prepared.scan is None:
            return super().tile_products(wanted, prepared, tile)
        xp = self.xp
        if isinstance(prepared, HalfRows):
            half, scales = halves(xp, wanted)
            products = xp.astype(self.half_product(half, prepared.half[tile, :].T), wanted.dtype)
            return products * scales[:, None] * prepared.scales[tile][None, :]
        narrow = (xp.astype(x, xp.float32) for x in (wanted, self.tile_rows(prepared, tile).T))
        return xp.astype(self.tf32_product(*narrow), wanted.dtype)

    def half_block(self, vectors: Array, center: Array | None, ordinary: Array) -> tuple[Array, Array]:
        """`HalfRows.half` and `scales` of some rows; zero where a row is not ordinary."""
        xp = self.xp
        rows = xp.astype(self.widened(vectors), self.scan_dtype(vectors))
        near = rows if center is None else rows - center
        return halves(xp, xp.where(ordinary[:, None], near, 0.0))

    def for_scan(self, prepared: PreparedRows, scan: str | None) -> PreparedRows:
        """A corpus that is prepared for the usual scan, prepared for another."""
        if scan is None:
            return prepared
        if scan == "tf32":
            return Tf32Rows(**_fields(prepared))
        half, scales = self.retried(lambda: self.half_rows(prepared))
        return HalfRows(**_fields(prepared), half=half, scales=scales)

    def half_rows(self, prepared: PreparedRows) -> tuple[Array, Array]:
        """`half_block` of all rows."""
        parts = [
            self.half_block(prepared.vectors[rows, :], prepared.center, prepared.ordinary[rows])
            for rows in self.blocks(prepared.rows, 16 * prepared.dim)
        ]
        half, scales = (self.xp.concat(list(column)) for column in zip(*parts, strict=True))
        return half, scales


def _fields(prepared: PreparedRows) -> dict[str, Any]:
    return {field.name: getattr(prepared, field.name) for field in fields(PreparedRows)}
