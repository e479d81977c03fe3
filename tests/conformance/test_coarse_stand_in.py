"""TF32 on a machine without it: its numbers are made by cutting bits off, and all else is real."""

from __future__ import annotations

from typing import Any

import pytest

from vjaccel.arrays import Backend
from vjaccel.arrays.testing.coarse import CoarseConformance

torch = pytest.importorskip("torch")

from vjaccel_torch import TorchBackend  # noqa: E402


def cut(x: Any) -> Any:
    """Float32 numbers without their lower 13 bits."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


class CutTorch(TorchBackend):
    """torch on the CPU, with products as a GPU's matrix units may make them."""

    _scans: Any = ("tf32",)

    def tf32_product(self, a: Any, b: Any) -> Any:
        return cut(a) @ cut(b)


class TestTf32(CoarseConformance):
    @pytest.fixture
    def subject(self) -> Backend:
        return CutTorch("cpu")
