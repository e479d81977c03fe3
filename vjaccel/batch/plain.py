"""The plain path: every operation in NumPy alone, without the compiled kernels."""

from __future__ import annotations

from typing import ClassVar

import array_api_compat.numpy as xp
import numpy as np

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array

__all__ = ["PLAIN"]


class _Plain(GenericBackend):
    name: ClassVar[str] = "plain"
    array_modules: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    install: ClassVar[str] = "pip install numpy"

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return "cpu"

    def asarray(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def largest(self, scores: np.ndarray, count: int) -> np.ndarray:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]


PLAIN = _Plain("cpu", xp)
