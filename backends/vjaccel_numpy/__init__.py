"""NumPy on the CPU."""
from __future__ import annotations
from typing import ClassVar
import numpy as np
import array_api_compat.numpy as xp
from vjaccel.arrays.generic import GenericBackend


class NumpyBackend(GenericBackend):
    name: ClassVar[str] = "numpy"
    array_modules: ClassVar[tuple[str, ...]] = ("numpy",)
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    install: ClassVar[str] = "pip install numpy"

    @classmethod
    def devices(cls): return ("cpu",)
    @classmethod
    def device_of(cls, x): return "cpu"
    def __init__(self, device): super().__init__(device, xp, None)
