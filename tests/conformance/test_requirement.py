"""A backend that is absent is skipped with its reason, unless the environment requires it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.plugins import write_metadata

SUITE = """
from vjaccel.arrays.testing import BackendConformance

class TestAbsent(BackendConformance):
    spec = "absent:cpu"
"""
BACKEND = """
from vjaccel.arrays.generic import GenericBackend

class Absent(GenericBackend):
    name, array_modules, requires, install = "absent", ("absent",), ("absent-library",), "pip install absent-library"
"""


def run(folder: Path, required: str) -> str:
    write_metadata(folder, "absent-backend", {"absent": "absent_backend:Absent"})
    (folder / "absent_backend.py").write_text(BACKEND)
    (folder / "test_absent.py").write_text(SUITE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", "-k", "zero_row", "test_absent.py"],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(folder), "VJACCEL_REQUIRE_BACKENDS": required},
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("required", ["", "numpy,absent:gpu"])
def test_an_absent_backend_is_skipped_with_its_reason(tmp_path: Path, required: str) -> None:
    shown = run(tmp_path, required)
    assert "1 skipped" in shown
    assert "not installed (absent-library); pip install absent-library" in shown


@pytest.mark.parametrize("required", ["numpy, absent", "absent:cpu"])
def test_an_absent_backend_that_is_required_is_a_failure(tmp_path: Path, required: str) -> None:
    shown = run(tmp_path, required)
    assert "1 failed" in shown
    assert "VJACCEL_REQUIRE_BACKENDS asks for it" in shown
