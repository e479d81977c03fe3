"""What the NumPy backend does where numba, or a folder for its cache, is not to be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_NUMBA = """
import logging, sys
sys.modules["numba"] = None  # as where it is not installed
logging.basicConfig(level=logging.WARNING)
import numpy as np
import vjaccel as vj
rng = np.random.default_rng(0)
x = rng.standard_normal((500, 16), dtype=np.float32)
x[100:300] = x[7]
assert vj.topk(x[7], x, 5).indices.tolist() == [7, 100, 101, 102, 103]
assert abs(vj.normalize(x) - x / np.linalg.norm(x, axis=1, keepdims=True)).max() < 1e-6
assert vj.distance(x[:9], x[:9]).diagonal().max() == 0
(row,) = [row for row in vj.backends() if row.name == "numpy"]
assert row.usable and "without numba" in row.reason, row
"""


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_without_numba_the_answers_are_the_same_and_the_log_says_that_they_are_slower() -> None:
    done = _run(WITHOUT_NUMBA)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("numba cannot be imported") == 1


def test_compiled_kernels_are_kept_on_disk_and_used_again(tmp_path: Path) -> None:
    code = "import vjaccel as vj; vj.topk([1.0, 0.0], [[1.0, 0.0]])"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    assert _run(code, **environment).returncode == 0
    compiled = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert compiled
    assert _run(code, **environment).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == compiled


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/nowhere"])
def test_where_no_cache_folder_can_be_written_kernels_are_compiled_for_the_process(folder: str) -> None:
    code = "import vjaccel as vj; assert vj.topk([1.0, 0.0], [[1.0, 0.0]], k=1).indices.tolist() == [0]"
    done = _run(code, NUMBA_CACHE_DIR=folder)
    assert done.returncode == 0, done.stderr
