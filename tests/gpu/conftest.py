"""Which backends the tests of real hardware run on, and how much memory there is."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import pytest

import vjaccel as vj
from tests.gpu.memory import memory
from vjaccel.arrays.testing.subject import REQUIRED

SPECS = os.environ.get("VJACCEL_GPU_SPECS", "torch:gpu,jax:gpu,cupy:gpu").split(",")
"""The tests themselves are tried on CPUs by other specs."""

SMALL = os.environ.get("VJACCEL_REHEARSE") == "1"


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> str:
    """A backend that works here on one device. One that does not is skipped, or has failed if it is asked for."""
    name: str = request.param
    try:
        vj.get_backend(name)
    except vj.BackendUnavailable as exc:
        if name in os.environ.get(REQUIRED, "").split(","):
            pytest.fail(f"{REQUIRED} asks for it: {exc}")
        pytest.skip(str(exc))
    return name


@pytest.fixture(scope="session")
def sized() -> Callable[[int], int]:
    """A number of rows, or so few of them that a CPU is done in a moment."""
    return lambda rows: max(400, rows // 2000) if SMALL else rows


@pytest.fixture
def room(spec: str) -> Callable[[float], None]:
    """Skips the test if the device has fewer bytes free, or this machine fewer than twice as many."""

    def asked(wanted: float) -> None:
        if SMALL:
            return
        here = psutil.virtual_memory().available
        if here < 2 * wanted:
            pytest.skip(f"needs {2 * wanted / 1e9:.0f} GB of the host's memory, and {here / 1e9:.0f} are free")
        if "gpu" in spec:
            free, _ = memory()
            if free < wanted:
                pytest.skip(f"needs {wanted / 1e9:.0f} GB of the device's memory, and {free / 1e9:.0f} are free")

    return asked
