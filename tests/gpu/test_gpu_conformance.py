"""The conformance suite on every backend that has a GPU here."""

from __future__ import annotations

import pytest

from vjaccel.arrays.testing import BackendConformance
from vjaccel.arrays.testing.changes import ChangeConformance
from vjaccel.arrays.testing.ranges import RangeConformance
from vjaccel.arrays.testing.search import SearchConformance

pytestmark = pytest.mark.gpu


class TestTorchGpu(BackendConformance):
    spec = "torch:gpu"


class TestJaxGpu(BackendConformance):
    spec = "jax:gpu"


class TestCupy(BackendConformance):
    """CuPy has GPUs alone."""

    spec = "cupy:gpu"


class TestTwoGpusOfTorch(ChangeConformance, RangeConformance, SearchConformance):
    spec = "torch:gpu:0,1"


class TestTwoGpusOfJax(ChangeConformance, RangeConformance, SearchConformance):
    spec = "jax:gpu:0,1"


class TestTwoGpusOfCupy(ChangeConformance, RangeConformance, SearchConformance):
    spec = "cupy:gpu:0,1"
