"""The CuPy backend: what of the contract CuPy does in its own way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array
from vjaccel_cupy.precision import full_precision

__all__ = ["CupyBackend"]

Result = TypeVar("Result")


class CupyBackend(GenericBackend):
    """CuPy arrays on one GPU. CuPy computes on the thread's current device, so every operation makes that its own."""

    name: ClassVar[str] = "cupy"
    array_modules: ClassVar[tuple[str, ...]] = ("cupy",)
    requires: ClassVar[tuple[str, ...]] = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
    install: ClassVar[str] = "pip install 'vjaccel[cupy13]'  # or cupy12, by your CUDA version"

    def __init__(self, device: str) -> None:
        import array_api_compat.cupy as xp
        import cupy

        super().__init__(device, xp)
        self.cuda_device = cupy.cuda.Device(int(device.partition(":")[2]))

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        import cupy

        return tuple(f"gpu:{i}" for i in range(cupy.cuda.runtime.getDeviceCount()))

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

        return isinstance(exc, cupy.cuda.memory.OutOfMemoryError | MemoryError)

    def on_device(self) -> AbstractContextManager[object]:
        context: AbstractContextManager[object] = self.cuda_device
        return context

    def largest(self, scores: Array, count: int) -> Array:
        return self.xp.argpartition(-scores, count - 1, axis=1)[:, :count]

    def retried(self, run: Callable[[], Result]) -> Result:
        with self.cuda_device, full_precision():
            return super().retried(run)
