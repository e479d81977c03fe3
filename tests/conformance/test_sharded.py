"""A corpus over several devices: eight of JAX's on the CPU, in a process of their own, held to the suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")

ROOT = Path(__file__).parents[2]
ONE_OF_EACH_KIND = (
    "changes_are_made or seen_and_named or cannot_be or awkward_rows or where_it_lies or sharded_by_columns"
)
"""Devices, refusals, and searches of rows from the host, of an array on all of them, and of one that lies otherwise."""


@pytest.mark.parametrize("asked", [ONE_OF_EACH_KIND, pytest.param("", marks=pytest.mark.soak)], ids=["few", "all"])
def test_eight_devices_of_jax_answer_as_one(asked: str) -> None:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        # Each kernel is compiled for each device, and run a few times.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        "VJACCEL_REQUIRE_BACKENDS": "jax",
    }
    suite = ROOT / "tests/conformance/eight_devices.py"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", asked, str(suite)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
