"""The JAX backend: what of the contract JAX does in its own way. Searching is in `search`, changing a corpus in `changes`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Capabilities, Coarse, Metric
from vjaccel_jax.changes import JaxChanges
from vjaccel_jax.importing import import_jax
from vjaccel_jax.shapes import bucket, power_of_two_below, tiles

__all__ = ["JaxBackend"]

logger = logging.getLogger("vjaccel.arrays")

ROWS, COLUMNS = 1024, 2048
"""The most of one tile of all pairs; fewer where they are wide."""

COPIED_BYTES = 64 << 20
"""The most of a host array that is copied on its way to a GPU."""

DIRECT = 4096
"""Pairs that are computed directly at once."""

COMPILED = {
    "_best_codes": ("metric", "count"),
    "_code_found": ("kind",),
    "_code_queries": ("kind",),
    "_column_reach": (),
    "_cosine": (),
    "_encode_block": ("kind",),
    "_expanded": ("metric",),
    "_near": (),
    "_paired": ("metric",),
    "_pairs_directly": ("metric",),
    "_prepare_block": ("metric",),
    "_scaled_rows": (),
    "_scan_queries": (),
    "_scored": (),
    "_summed": (),
    "_wide_dot": (),
    "_widened_reach": (),
    "bounds": (),
    "half_block": (),
    "judged": ("k", "complete"),
    "manhattan": (),
    "matmul": (),
    "summed_terms": ("metric",),
    "terms_of": ("metric",),
}
"""The formulas that are compiled, and their static arguments. Never `exact_terms` and `fixed_sum` in one: see there."""

AMPERE = 8
"""The first compute capability of NVIDIA's GPUs that has TF32."""

_outside: ContextVar[bool] = ContextVar("vjaccel_jax_x64")
"""Inside `float64()`: whether x64 was on around it."""


class JaxBackend(JaxChanges, GenericBackend):
    """JAX arrays on one device: the generic formulas, compiled for tiles whose shapes repeat."""

    name: ClassVar[str] = "jax"
    array_modules: ClassVar[tuple[str, ...]] = ("jax", "jaxlib")
    requires: ClassVar[tuple[str, ...]] = ("jax",)
    install: ClassVar[str] = "pip install 'vjaccel[jax]'"
    gpu_install: ClassVar[str] = "pip install 'jax[cuda13]'  # or cuda12, by your driver"
    _scans: tuple[Coarse, ...] = ("float16",)
    manhattan_broadcasts: ClassVar[bool] = False

    def __init__(self, device: str) -> None:
        import_jax()
        import jax
        import jax.numpy as jnp

        import vjaccel_jax.kernels  # noqa: F401  # which tells JAX what our records hold

        kind, _, number = device.partition(":")
        super().__init__(device, jnp, jax.local_devices(backend=kind)[int(number or 0)])
        capability = str(getattr(self.native_device, "compute_capability", "0"))  # AMD's are names
        if capability.partition(".")[0].isdecimal() and float(capability) >= AMPERE:
            self._scans = ("tf32", "float16")
        for formula, static in COMPILED.items():
            setattr(self, formula, jax.jit(getattr(self, formula), static_argnames=static))
        if not self.capabilities.float64:
            logger.debug("JAX gives float32 for float64 input: jax_enable_x64 is off")

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        jax = import_jax()
        jax.devices()  # where the chosen platform fails, its own error is the reason
        cpus = [f"cpu:{i}" if i else "cpu" for i in range(len(_local("cpu")))]
        return (*(f"gpu:{i}" for i in range(len(_local("gpu")))), *cpus)

    @classmethod
    def device_of(cls, x: Array) -> str:
        if _traced(x):
            return cls.devices()[0]  # what is being traced is nowhere yet
        places = sorted(map(_place, x.devices()))
        kind, number = places[0]
        if len(places) > 1:
            return f"{kind}:{','.join(str(number) for _, number in places)}"
        return kind if (kind, number) == ("cpu", 0) else f"{kind}:{number}"

    @classmethod
    def remark(cls) -> str | None:
        return None if _local("gpu") else "a CPU build of JAX, or no GPU for it"

    @property
    def capabilities(self) -> Capabilities:
        x64 = _outside.get(None)
        x64 = self._x64() if x64 is None else x64
        return Capabilities(
            float64=x64,
            bfloat16=True,
            index_dtype="int64" if x64 else "int32",
            gradients=True,
            scans=self._scans,
        )

    @staticmethod
    def _x64() -> bool:
        import jax

        return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]  # set when jax is imported

    @contextmanager
    def float64(self) -> Iterator[None]:
        import jax

        token = _outside.set(_outside.get(self._x64()))
        try:
            with jax.enable_x64(True):
                yield
        finally:
            _outside.reset(token)

    # Arrays

    def asarray(self, x: Array) -> Array:
        import jax

        if _traced(x):
            return x
        if isinstance(x, np.ndarray | np.generic):
            if x.nbytes > COPIED_BYTES and not self.device.startswith("cpu"):
                # A corpus, perhaps a file: waited for, so that it need not be copied on the host.
                return jax.device_put(np.ascontiguousarray(x), self.native_device).block_until_ready()
            # A copy: JAX would read the user's memory after this call, and on the CPU use it as its own.
            return jax.device_put(np.array(x, order="C"), self.native_device)
        if not isinstance(x, jax.Array):
            x = jax.dlpack.from_dlpack(x)
        if x.dtype == np.float64 and not self._x64():
            with jax.enable_x64(True):
                x = x.astype(np.float32)
        return x if x.devices() == {self.native_device} else jax.device_put(x, self.native_device)

    def shards(self, x: Array) -> list[tuple[str, Array]] | None:
        import jax

        if not isinstance(x, jax.Array) or _traced(x) or len(x.devices()) == 1 or not x.is_fully_addressable:
            return None
        parts = {}  # by their first rows: one of those that are the same on several devices
        for shard in x.addressable_shards:
            rows, columns = (part.indices(size)[:2] for part, size in zip(shard.index, x.shape, strict=True))
            if columns != (0, x.shape[1]):
                return None
            parts.setdefault(rows, shard.data)
        if len(parts) == 1:  # copies of all rows: each device takes some of its own
            n, copies = x.shape[0], [shard.data for shard in x.addressable_shards]
            cuts = ((n * i // len(copies), n * (i + 1) // len(copies)) for i in range(len(copies)))
            return [(self.device_of(copy), copy[low:high]) for copy, (low, high) in zip(copies, cuts, strict=True)]
        return [(self.device_of(parts[rows]), parts[rows]) for rows in sorted(parts)]

    def to_numpy(self, x: Array) -> np.ndarray:
        # NumPy has no bfloat16. A copy: JAX's own memory is not for writing to, and a user may want to.
        return np.array(x, dtype=np.float32 if x.dtype == self.xp.bfloat16 else None)

    def is_out_of_memory(self, exc: BaseException) -> bool:
        import jax

        # An error in a computation that was waiting to be dispatched has lost its own kind: INTERNAL.
        said = "RESOURCE_EXHAUSTED" in str(exc) or "Out of memory allocating" in str(exc)
        kinds = jax.errors.JaxRuntimeError | ValueError  # the latter from an operation on arrays that is not compiled
        return isinstance(exc, MemoryError) or (isinstance(exc, kinds) and said)

    def synchronize(self) -> None:
        import jax

        # A CPU computes in several threads and in any order, and a GPU copies beside its computations: nothing that is asked
        # of the device now waits for what was asked before.
        here = [x for x in jax.live_arrays() if not x.is_deleted() and self.native_device in x.devices()]
        jax.block_until_ready(here)

    def matmul(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b, precision="highest")

    def norms(self, x: Array) -> Array:
        from vjaccel_jax.kernels import squares_root

        return squares_root(self.xp.sum(x * x, axis=1))

    def blocks(self, rows: int, row_bytes: int) -> Iterator[slice]:
        step = power_of_two_below(self.tile_bytes // max(row_bytes, 1))
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))

    # Operations

    def normalize(self, x: Array) -> Array:
        return self._by_rows(lambda part: self._scaled_rows(part), x)

    def paired(self, metric: Metric, a: Array, b: Array) -> Array:
        dtype = self.result_dtype(a, b)

        def block(left: Array, right: Array) -> Array:
            return self._paired(metric, self.xp.astype(left, dtype), self.xp.astype(right, dtype))

        if metric is Metric.DOT:
            with self.float64():
                return self._by_rows(block, a, b)
        return self._by_rows(block, a, b)

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        return self.retried(lambda: self._all_pairs(metric, a, b))

    def _by_rows(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """`function` of row blocks of one shape, its results put together."""
        from vjaccel_jax import kernels

        rows = arrays[0].shape[0]

        def run() -> Array:
            size = min(bucket(rows, 1 << 30), power_of_two_below(self.tile_bytes // (16 * arrays[0].shape[1])))
            blocks = [self._sized(x, size) for x in arrays]
            out: Array = None
            for start, _ in tiles(max(rows, size), size):
                block = function(*(kernels.piece(x, start, size) for x in blocks))
                if out is None:
                    out = self.xp.zeros((rows, *block.shape[1:]), dtype=block.dtype, device=self.native_device)
                out = kernels.fill(out, block, *(start, 0)[: block.ndim])
            return out

        return self.retried(run)

    def _sized(self, x: Array, size: int) -> Array:
        """`x`, or `x` with rows of zeros, so that it has `size`."""
        from vjaccel_jax.kernels import padded

        return x if x.shape[0] >= size else padded(x, size, 0)

    def _all_pairs(self, metric: Metric, a: Array, b: Array) -> Array:
        from vjaccel_jax import kernels

        n, m, dim = a.shape[0], b.shape[0], a.shape[1]
        dtype = self.result_dtype(a, b)
        fitting = power_of_two_below(self.tile_bytes // (16 * dim))
        height, width = (min(bucket(rows, 1 << 30), most, fitting) for rows, most in ((n, ROWS), (m, COLUMNS)))
        block_of = self._traceable(metric) if _traced(a) or _traced(b) else self._block_function(metric, a, b)
        a, b = self._sized(a, height), self._sized(b, width)
        out = self.xp.zeros((n, m), dtype=dtype, device=self.native_device)
        for column, _ in tiles(b.shape[0], width):
            right = self.xp.astype(kernels.piece(b, column, width), dtype)
            for row, _ in tiles(a.shape[0], height):
                left = self.xp.astype(kernels.piece(a, row, height), dtype)
                out = kernels.fill(out, block_of(left, right), row, column)
        return out

    def _traceable(self, metric: Metric) -> Callable[[Array, Array], Array]:
        """A block's function without a step that looks at values."""
        if metric is Metric.COSINE:
            return self._cosine
        if metric is Metric.DOT:
            return lambda left, right: self.matmul(left, right.T)
        return lambda left, right: self._pairs_directly(metric, left, right)

    def _pairs_directly(self, metric: Metric, a: Array, b: Array) -> Array:
        import jax

        return jax.vmap(lambda row: self._paired(metric, a, self.xp.broadcast_to(row, a.shape)), out_axes=1)(b)

    def _wide_dot(self, a: Array, b: Array) -> Array:
        with self.float64():
            return super()._wide_dot(a, b)

    def _euclidean(self, metric: Metric, a: Array, b: Array, center: Array) -> Array:
        from vjaccel_jax import kernels

        block, untrusted = self._expanded(metric, a, b, center)
        rows, columns = np.nonzero(np.asarray(untrusted))
        for start in range(0, len(rows), DIRECT):
            # Padded with a row that is none: it is computed from the last, and put nowhere.
            i, j = (np.full(DIRECT, block.shape[0], np.int32) for _ in range(2))
            some = slice(start, min(start + DIRECT, len(rows)))
            i[: some.stop - start], j[: some.stop - start] = rows[some], columns[some]
            left, right = self.xp.take(a, i, axis=0, mode="clip"), self.xp.take(b, j, axis=0, mode="clip")
            block = kernels.place(block, i, j, self._paired(metric, left, right))
        return block

    # Formulas that JAX compiles, and the generic backend has inside a loop

    def _scaled_rows(self, x: Array) -> Array:
        part, norm, _ = self._scaled(self.widened(x))
        return self.xp.astype(part / self._nonzero(norm)[:, None], x.dtype)

    def _widened_reach(self, x: Array) -> Array:
        part = self.xp.abs(self.widened(x))
        return self.xp.max(self.xp.where(self.xp.isnan(part), 0.0, part))

    def _reach(self, x: Array) -> float:
        return float(self._widened_reach(x)) if x.shape[0] else 0.0

    def _summed(self, x: Array) -> Array:
        wide = self.xp.astype(self.widened(x), self.xp.float64)
        return self.xp.sum(self.xp.where(self.xp.isfinite(wide), wide, 0.0), axis=0)

    def mean(self, x: Array) -> Array:
        from vjaccel_jax.kernels import padded

        small = x.shape[0] < ROWS
        with self.float64():
            total = self._summed(padded(x, bucket(x.shape[0], ROWS), 0) if small else x)
            return self.xp.astype(total / max(x.shape[0], 1), self.scan_dtype(x))


def _local(kind: str) -> list[Any]:
    import jax

    try:
        return list(jax.local_devices(backend=kind))
    except RuntimeError:
        return []


@cache
def _place(device: Any) -> tuple[str, int]:
    """A device's kind in the common spelling, and its number among those of its kind."""
    kind = "gpu" if device.platform in ("gpu", "cuda", "rocm") else str(device.platform)
    return kind, _local(kind).index(device)


def _traced(x: Array) -> bool:
    import jax

    return isinstance(x, jax.core.Tracer)
