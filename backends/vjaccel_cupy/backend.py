"""The CuPy backend: what of the contract CuPy does in its own way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.grouped import largest_by_groups
from vjaccel.arrays.protocol import Array, Capabilities, Coarse, Metric
from vjaccel.arrays.search import PreparedRows
from vjaccel_cupy.pool import share_with_torch
from vjaccel_cupy.precision import full_precision, launching, tf32

__all__ = ["CupyBackend"]

Result = TypeVar("Result")

VOLTA, AMPERE = 70, 80
"""The first compute capabilities that have units for float16 and for TF32."""


class CupyBackend(GenericBackend):
    """CuPy arrays on one GPU. CuPy computes on the thread's current device, so every operation makes that its own.

    And on the thread's current stream: arrays of other libraries are waited for as DLPack says, and a corpus is there for
    every stream once it is prepared.
    """

    name: ClassVar[str] = "cupy"
    array_modules: ClassVar[tuple[str, ...]] = ("cupy",)
    requires: ClassVar[tuple[str, ...]] = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
    install: ClassVar[str] = "pip install 'vjaccel[cupy13]'  # or cupy12, by your CUDA version"
    _scans: tuple[Coarse, ...] = ()

    def __init__(self, device: str) -> None:
        import array_api_compat.cupy as xp
        import cupy

        super().__init__(device, xp)
        self.cuda_device = cupy.cuda.Device(int(device.partition(":")[2]))
        if not cupy.cuda.runtime.is_hip:
            capability = int(self.cuda_device.compute_capability)
            self._scans = (*(("tf32",) if capability >= AMPERE else ()), *(("float16",) if capability >= VOLTA else ()))
        share_with_torch()

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        import cupy

        return tuple(f"gpu:{i}" for i in range(cupy.cuda.runtime.getDeviceCount()))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(scans=self._scans)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return f"gpu:{x.device.id}"

    def asarray(self, x: Array) -> Array:
        import cupy

        with self.cuda_device:
            if isinstance(x, cupy.ndarray):
                return x if x.device == self.cuda_device else x.copy()  # a copy is made on the current device
            if isinstance(x, np.ndarray | np.generic):
                return cupy.asarray(x, blocking=True)  # the caller may change its memory as soon as this returns
            return self.asarray(cupy.from_dlpack(x))

    def upload(self, x: np.ndarray) -> Array:
        import cupy

        with self.cuda_device:
            memory = cupy.cuda.alloc_pinned_memory(x.nbytes)  # of CuPy's pool, which may give more
            pinned = np.frombuffer(memory, x.dtype, x.size).reshape(x.shape)
            pinned[...] = x
            with self._uploads:
                found = cupy.empty(x.shape, x.dtype)
                found.set(pinned)
            # Waited for by this thread alone. Whoever takes it reads its results before letting it go, so that its memory,
            # which goes back to this stream, is not written to while it is read.
            self._uploads.synchronize()
            return found

    @cached_property
    def _uploads(self) -> Any:
        import cupy

        return cupy.cuda.Stream(non_blocking=True)

    def to_numpy(self, x: Array) -> np.ndarray:
        import cupy

        with self.cuda_device:
            host: np.ndarray = cupy.asnumpy(x)
            return host

    def synchronize(self) -> None:
        self.cuda_device.synchronize()

    def is_out_of_memory(self, exc: BaseException) -> bool:
        import cupy

        # torch's own comes out of CuPy where the two share a pool.
        shared = type(exc).__module__.startswith("torch") and type(exc).__name__ == "OutOfMemoryError"
        return shared or isinstance(exc, cupy.cuda.memory.OutOfMemoryError | MemoryError)

    def on_device(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self.cuda_device
        return context

    def largest(self, scores: Array, count: int) -> Array:
        return largest_by_groups(self.xp, self._sorted_largest, scores, count)  # what CuPy calls a partition is a sort

    def _sorted_largest(self, scores: Array, count: int) -> Array:
        return self.xp.argpartition(-scores, count - 1, axis=1)[:, :count]

    def matmul(self, a: Array, b: Array) -> Array:
        with launching:  # never while `tf32` is on in another thread
            return a @ b

    def tf32_product(self, a: Array, b: Array) -> Array:
        with tf32():
            return a @ b

    def half_product(self, a: Array, b: Array) -> Array:
        # CuPy's own product of halves is rounded to halves at the end. cuBLAS counts by columns: to it an array by rows is
        # its transpose, and this is the transposed product.
        from cupy._core._routines_linalg import tensordot_core_v11

        left, right = (self.xp.asarray(x, order="C") for x in (a, b.T))
        (n, dim), m = left.shape, right.shape[0]
        out = self.xp.empty((n, m), dtype=self.xp.float32)
        with launching:
            tensordot_core_v11(1, 0, m, n, dim, right, dim, left, dim, out, m)
        return out

    def prepare(self, vectors: Array, metric: Metric) -> PreparedRows:
        return self._finished(super().prepare(vectors, metric))

    def prepare_scanned(self, vectors: Array, metric: Metric, scan: Coarse) -> PreparedRows:
        return self._finished(super().prepare_scanned(vectors, metric, scan))

    def extended(self, prepared: PreparedRows, vectors: Array) -> PreparedRows:
        return self._finished(super().extended(prepared, vectors))

    def replaced(self, prepared: PreparedRows, ids: np.ndarray, vectors: Array) -> PreparedRows:
        return self._finished(super().replaced(prepared, ids, vectors))

    def removed(self, prepared: PreparedRows, ids: np.ndarray) -> PreparedRows:
        return self._finished(super().removed(prepared, ids))

    def _finished(self, prepared: PreparedRows) -> PreparedRows:
        """A corpus that is there: who searches it next may do so on another stream, which does not wait for this one."""
        self.synchronize()
        return prepared

    def retried(self, run: Callable[[], Result]) -> Result:
        with self.cuda_device, full_precision():
            return super().retried(run)
