"""A third party's backend: a library that is the array API standard and nothing more, with devices that do not mix."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Capabilities

__all__ = ["DEVICES", "StrictBackend"]

DEVICES = {"cpu": "CPU_DEVICE", "gpu:1": "device1", "gpu:2": "device2"}


class StrictBackend(GenericBackend):
    """All that a third party writes."""

    name: ClassVar[str] = "strict"
    array_modules: ClassVar[tuple[str, ...]] = ("array_api_strict",)
    requires: ClassVar[tuple[str, ...]] = ("array-api-strict",)
    install: ClassVar[str] = "pip install array-api-strict"

    def __init__(self, device: str) -> None:
        import array_api_strict as strict

        super().__init__(device, strict, strict.Device(DEVICES[device]))

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return tuple(DEVICES)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return next(name for name, native in DEVICES.items() if native in repr(x.device))

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(float16=False)

    def asarray(self, x: Array) -> Array:
        moved = hasattr(x, "to_device") and not isinstance(x, np.ndarray)
        return x.to_device(self.native_device) if moved else self.xp.asarray(x, device=self.native_device)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x.to_device(self.xp.Device("CPU_DEVICE")))
