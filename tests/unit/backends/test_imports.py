"""What importing a backend loads, and what a backend says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vjaccel as vj
from vjaccel.arrays.protocol import Backend
from vjaccel.arrays.registry import backend_class

FRAMEWORKS = ("torch", "jax", "jaxlib", "cupy")


@pytest.mark.parametrize("name", ["vjaccel_torch", "vjaccel_jax", "vjaccel_cupy"])
def test_a_backends_module_imports_no_framework(name: str) -> None:
    code = f"import sys, {name}; print([f for f in {FRAMEWORKS} if f in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_an_installed_backend_is_a_backend_and_sees_the_cpu(name: str) -> None:
    pytest.importorskip(name)
    assert isinstance(vj.get_backend(f"{name}:cpu"), Backend)
    assert "cpu" in backend_class(name).devices()


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_cpu_build_is_said_to_be_one(name: str) -> None:
    pytest.importorskip(name)
    row = next(row for row in vj.backends() if row.name == name)
    if row.devices == ("cpu",):
        assert row.usable
        assert "GPU" in str(row.reason)


def test_a_backend_that_is_not_installed_says_what_to_install() -> None:
    row = next(row for row in vj.backends(probe=False) if row.name == "cupy")
    if row.version is not None:
        pytest.skip("CuPy is installed")
    assert "cupy13" in str(row.install)
    with pytest.raises(vj.BackendUnavailable, match="cupy-cuda13x"):
        vj.get_backend("cupy")
