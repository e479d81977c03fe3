"""Backends of another distribution that are not what they should be, and one that is. `ENTRIES` is how a test installs them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np

from tests.unit.arrays.loopback import LoopbackArray, Recording
from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Metric

__all__ = ["ENTRIES", "MARK"]

MARK = "VJACCEL_TEST_MARK"
"""The environment's name for the file that `Hanging` makes before it hangs, and that others write into."""


class Honest(GenericBackend):
    """NumPy, by the generic kernels."""

    name: ClassVar[str] = "honest"
    array_modules: ClassVar[tuple[str, ...]] = ("nobody",)
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    install: ClassVar[str] = "pip install numpy"

    def __init__(self, device: str) -> None:
        super().__init__(device, array_api_compat.numpy)
        self.calls = 0

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return "cpu"

    def asarray(self, x: Array) -> Array:
        return np.asarray(x)

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x)


class Wrong(Honest):
    """One part in a hundred off, and at another operation it raises, with two lines."""

    name: ClassVar[str] = "wrong"

    def normalize(self, x: Array) -> Array:
        return super().normalize(x) * np.float32(1.01)

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        raise RuntimeError("the kernel does not compile\nand more that nobody needs")


class SometimesWrong(Honest):
    """Right at first, and mostly."""

    name: ClassVar[str] = "sometimes"

    def normalize(self, x: Array) -> Array:
        self.calls += 1
        result = super().normalize(x)
        if self.calls % 5 == 0:
            result[len(result) // 2 :] = 0
        return result


class Skipping(Honest):
    """Gives a result that it has, if the shape is right."""

    name: ClassVar[str] = "skipping"

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._kept: dict[Any, Array] = {}

    def normalize(self, x: Array) -> Array:
        key = x.shape, x.dtype
        if key not in self._kept:
            self._kept[key] = super().normalize(x)
        return self._kept[key]

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        """Of a few columns, and zeros elsewhere."""
        result = np.zeros((len(a), len(b)), np.float32)
        result[:, :9] = super().scores(metric, a, b[:9])
        return result


class LaterArray(LoopbackArray):
    """An array whose numbers are not there yet."""

    later: Any = None


LaterArray.__module__ = "later.arrays"


class PuttingOff(Recording):
    """Computes when the result is fetched."""

    name: ClassVar[str] = "later"
    array_modules: ClassVar[tuple[str, ...]] = ("later",)
    kind: ClassVar[type[LoopbackArray]] = LaterArray

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("gpu:0",)

    def normalize(self, x: Array) -> Array:
        result = self.asarray(np.empty(x.shape, x.dtype))
        result.later = x
        return result

    def to_numpy(self, x: Array) -> np.ndarray:
        waiting = getattr(x, "later", None)
        if waiting is None:
            return super().to_numpy(x)
        time.sleep(0.1)
        return super().to_numpy(super().normalize(waiting))


class Crashing(Honest):
    """Takes its process with it, in the middle."""

    name: ClassVar[str] = "crashing"

    def normalize(self, x: Array) -> Array:
        self.calls += 1
        if self.calls > 4:
            os.write(2, b"a fault in the driver\n")
            os._exit(3)
        return super().normalize(x)


class Hanging(Honest):
    """Never comes back, once it was started."""

    name: ClassVar[str] = "hanging"

    def normalize(self, x: Array) -> Array:
        if len(x) > 2:
            if MARK in os.environ:
                Path(os.environ[MARK]).touch()
            time.sleep(1e6)
        return super().normalize(x)


class FirstNoting(Honest):
    """Writes down when it computes."""

    name: ClassVar[str] = "noting-first"

    def normalize(self, x: Array) -> Array:
        began = time.monotonic()
        result = super().normalize(x)
        if len(x) > 2:
            with Path(os.environ[MARK]).open("a") as file:
                file.write(f"{self.name} {len(x)} {x.dtype} {began!r} {time.monotonic()!r}\n")
        return result


class SecondNoting(FirstNoting):
    """Another."""

    name: ClassVar[str] = "noting-second"


ENTRIES = {
    cls.name: f"tests.unit.benchmark.dishonest:{cls.__name__}"
    for cls in (Honest, Wrong, SometimesWrong, Skipping, PuttingOff, Crashing, Hanging, FirstNoting, SecondNoting)
}
