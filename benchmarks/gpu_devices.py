"""The devices that the GPU benchmarks measure, and each library's own way to do the same work.

By default the GPUs; VJACCEL_GPU_SPECS names others, and with VJACCEL_REHEARSE=1 sizes are so small that a CPU is done in a
moment: that shows that the benchmarks run, and measures nothing.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

__all__ = ["SMALL", "SPECS", "Device", "Torch", "device_of", "drawn", "sized"]

SPECS = os.environ.get("VJACCEL_GPU_SPECS", "torch:gpu,jax:gpu,cupy:gpu").split(",")
SMALL = os.environ.get("VJACCEL_REHEARSE") == "1"


def sized(rows: int) -> int:
    """`rows`, or a few in a rehearsal."""
    return max(32, rows // 5000) if SMALL else rows


def drawn(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors of norm one, of which one in twenty is a copy of another."""
    generator = np.random.default_rng(seed)
    found = generator.standard_normal((rows, dim), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    places = generator.permutation(rows)[: 2 * (rows // 20)]
    found[places[::2]] = found[places[1::2]]
    return found


class Device(ABC):
    """One library on one device. What is timed ends when the device has done it."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.backend = vj.get_backend(spec)
        self.scans = self.backend.capabilities.scans

    def give(self, x: np.ndarray) -> Any:
        with self.backend.on_device():
            return self.backend.asarray(x)

    def timed(self, call: Callable[[], object]) -> Callable[[], object]:
        def done() -> object:
            with self.backend.on_device():
                found = call()
                self.backend.synchronize()
            return found

        return done

    def product(self, a: Any, b: Any) -> Any:
        """a b^T in float32, without TF32."""
        return a @ b.T

    @abstractmethod
    def copy(self, x: Any) -> Any: ...

    @abstractmethod
    def normalized(self, x: Any) -> Any: ...

    @abstractmethod
    def topk(self, a: Any, b: Any, k: int) -> Any:
        """The ids by a product and the library's own selection, not certified."""

    @abstractmethod
    def sent(self, parts: list[np.ndarray]) -> Callable[[], object]:
        """A call that sends `parts`, one after the other, from memory that is best for it: what the bus can do."""


class Torch(Device):
    def __init__(self, spec: str) -> None:
        import torch

        super().__init__(spec)
        self.torch = torch

    def copy(self, x: Any) -> Any:
        return x.clone()

    def normalized(self, x: Any) -> Any:
        return self.torch.nn.functional.normalize(x)

    def topk(self, a: Any, b: Any, k: int) -> Any:
        return self.torch.topk(self.product(a, b), k).indices

    def sent(self, parts: list[np.ndarray]) -> Callable[[], object]:
        place = self.backend.native_device  # type: ignore[attr-defined]  # as ours have
        gpu = place.type == "cuda"
        pinned = [self.torch.from_numpy(x).pin_memory() if gpu else self.torch.from_numpy(x) for x in parts]
        there = self.torch.empty(parts[0].shape, device=place)
        return lambda: [there[: len(x)].copy_(x, non_blocking=True) for x in pinned]


class Jax(Device):
    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        import jax

        self.jax = jax
        numbers = jax.numpy
        self._product = jax.jit(lambda a, b: numbers.matmul(a, b.T, precision="highest"))
        self._topk = jax.jit(lambda a, b, k: jax.lax.top_k(numbers.matmul(a, b.T, precision="highest"), k)[1],
                             static_argnums=2)  # fmt: skip
        self._normalized = jax.jit(lambda x: x / numbers.linalg.norm(x, axis=1, keepdims=True))

    def product(self, a: Any, b: Any) -> Any:
        return self._product(a, b)

    def copy(self, x: Any) -> Any:
        return self.jax.numpy.copy(x)

    def normalized(self, x: Any) -> Any:
        return self._normalized(x)

    def topk(self, a: Any, b: Any, k: int) -> Any:
        return self._topk(a, b, k)

    def sent(self, parts: list[np.ndarray]) -> Callable[[], object]:
        place = self.backend.native_device  # type: ignore[attr-defined]  # as ours have
        return lambda: [self.jax.device_put(x, place).block_until_ready() for x in parts]


class Cupy(Device):
    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        import cupy

        self.cupy = cupy

    def copy(self, x: Any) -> Any:
        return x.copy()

    def normalized(self, x: Any) -> Any:
        return x / self.cupy.linalg.norm(x, axis=1, keepdims=True)

    def topk(self, a: Any, b: Any, k: int) -> Any:
        scores = self.product(a, b)
        some = self.cupy.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = self.cupy.argsort(-self.cupy.take_along_axis(scores, some, axis=1), axis=1)
        return self.cupy.take_along_axis(some, order, axis=1)

    def sent(self, parts: list[np.ndarray]) -> Callable[[], object]:
        pinned = []
        for x in parts:
            memory = np.frombuffer(self.cupy.cuda.alloc_pinned_memory(x.nbytes), x.dtype, x.size).reshape(x.shape)
            memory[...] = x
            pinned.append(memory)
        with self.backend.on_device():
            there = self.cupy.empty(parts[0].shape, parts[0].dtype)
        return lambda: [there[: len(x)].set(x) for x in pinned]


def device_of(spec: str) -> Device:
    """The device, or the test is skipped with the reason why there is none."""
    try:
        return {"torch": Torch, "jax": Jax, "cupy": Cupy}[spec.partition(":")[0]](spec)
    except (vj.BackendUnavailable, ImportError) as exc:
        pytest.skip(str(exc))
