"""Corpora beyond the device's memory, and tiles beyond it: with the allocator's own errors, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]


def told(story: str, spec: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu.limited", story, spec], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def test_a_corpus_larger_than_the_devices_memory_is_streamed(spec: str) -> None:
    told("streamed", spec)


def test_a_tile_for_which_there_is_no_memory_is_halved(spec: str) -> None:
    told("halved", spec)
