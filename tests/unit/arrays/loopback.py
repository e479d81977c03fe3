"""Two array libraries that exist here alone: NumPy underneath, each with devices, and backends that record who was asked."""

from __future__ import annotations

from typing import Any, ClassVar

import array_api_compat.numpy
import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Metric, Prepared, TopK

__all__ = ["Loopback", "LoopbackArray", "Other", "OtherArray"]


class LoopbackArray(np.ndarray):
    """An array with a place."""

    place: str = "gpu:0"

    def __array_finalize__(self, source: Any) -> None:
        self.place = getattr(source, "place", "gpu:0")


class OtherArray(LoopbackArray):
    """Another library's."""


LoopbackArray.__module__, OtherArray.__module__ = "loopback.arrays", "otherlib"


class Recording(GenericBackend):
    """A backend that writes down each call."""

    requires: ClassVar[tuple[str, ...]] = ("no-such-thing", "numpy")
    install: ClassVar[str] = "pip install loopback"

    kind: ClassVar[type[LoopbackArray]]
    calls: ClassVar[list[tuple[str, str]]] = []
    """The operations that were asked for, and where."""

    def __init__(self, device: str) -> None:
        super().__init__(device, array_api_compat.numpy)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("gpu:0", "gpu:1", "cpu")

    @classmethod
    def device_of(cls, x: Array) -> str:
        return str(x.place)

    def asarray(self, x: Array) -> Array:
        if type(x) is not np.ndarray and type(x) is not self.kind:
            raise BufferError(f"{self.name} takes no {type(x).__name__}")
        found = np.asarray(x).view(self.kind)
        found.place = self.device
        return found

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x).view(np.ndarray)

    def normalize(self, x: Array) -> Array:
        self._record("normalize")
        return self.asarray(super().normalize(x))

    def scores(self, metric: Metric, a: Array, b: Array) -> Array:
        self._record("scores")
        return self.asarray(super().scores(metric, a, b))

    def paired(self, metric: Metric, a: Array, b: Array) -> Array:
        self._record("paired")
        return self.asarray(super().paired(metric, a, b))

    def topk(self, queries: Array, prepared: Prepared, k: int, mask: Array | None) -> TopK:
        self._record("topk")
        found = super().topk(queries, prepared, k, mask)  # type: ignore[arg-type]  # what its own `prepare` gave
        return TopK(*(self.asarray(self.to_numpy(x)) for x in found))

    def _record(self, operation: str) -> None:
        self.calls.append((operation, f"{self.name}:{self.device}"))


class Loopback(Recording):
    """The first library's."""

    name: ClassVar[str] = "loopback"
    array_modules: ClassVar[tuple[str, ...]] = ("loopback",)
    kind: ClassVar[type[LoopbackArray]] = LoopbackArray


class Other(Recording):
    """The other library's, on the same list."""

    name: ClassVar[str] = "other"
    array_modules: ClassVar[tuple[str, ...]] = ("otherlib",)
    kind: ClassVar[type[LoopbackArray]] = OtherArray
