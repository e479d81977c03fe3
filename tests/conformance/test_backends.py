"""The conformance suite on every backend there is, and on variants of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import vjaccel_numpy.backend
from tests.conformance import plugins
from vjaccel.arrays import Backend, get_backend, registry
from vjaccel.arrays.testing import BackendConformance
from vjaccel.arrays.testing.changes import ChangeConformance
from vjaccel.arrays.testing.ranges import RangeConformance
from vjaccel.arrays.testing.search import SearchConformance
from vjaccel_torch import TorchBackend


class TestNumpy(BackendConformance):
    spec = "numpy"

    def grown(self, call: Callable[[], object]) -> int:
        if os.environ.get("NUMBA_DISABLE_JIT") == "1":
            pytest.skip("kernels as Python take minutes for what is large enough to be seen in memory")
        return super().grown(call)


class TestNumpyReadOnly(TestNumpy):
    """Every input is memory that may not be written to."""

    def given(self, x: Any, dtype: str = "float32") -> Any:
        array = super().given(x, dtype)
        array.flags.writeable = False
        return array


class TestNumpyWithoutNumba(BackendConformance):
    """The generic path."""

    spec = "numpy"

    @pytest.fixture
    def subject(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setattr(vjaccel_numpy.backend, "_numba_failure", lambda: "ImportError: not installed")
        return get_backend("numpy")


class TestTorch(BackendConformance):
    spec = "torch:cpu"


class TestTorchSharded(ChangeConformance, RangeConformance, SearchConformance):
    """A corpus is cut over two devices of torch: its CPU by two names, so that what is on which is not told apart."""

    @pytest.fixture
    def subject(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setattr(registry, "_instances", {})
        monkeypatch.setattr(TorchBackend, "devices", classmethod(lambda cls: ("cpu", "cpu:1")))
        backend = get_backend("torch:cpu:all")
        assert [member.device for member in backend.members] == ["cpu", "cpu:1"]
        return backend


class TestJax(BackendConformance):
    spec = "jax:cpu"


@pytest.fixture(scope="class")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    pytest.importorskip("array_api_strict")
    entries = {"strict": "tests.conformance.strict_backend:StrictBackend"}
    with plugins.installed(tmp_path_factory.mktemp("strict"), "strict-backend", entries):
        yield


class TestStrict(BackendConformance):
    """The array API standard and nothing more, on a device that mixes with no other."""

    @pytest.fixture
    def subject(self, strict: None) -> Backend:
        return get_backend("strict:gpu:1")


class TestStrictSharded(ChangeConformance, RangeConformance, SearchConformance):
    """A corpus is cut over two devices that do not mix."""

    @pytest.fixture
    def subject(self, strict: None) -> Backend:
        return get_backend("strict:gpu:1,2")
