"""What the benchmarks share: the machine they ran on, interleaved rounds, and honest data."""

from __future__ import annotations

import platform
import subprocess

import numpy as np
import psutil
import pytest

from vjaccel.benchmark.machine import versions

ROWS, DIM = 200_000, 384


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """The versions and the commit beside the processor; not the machine's own name."""
    kept = {key: machine_info[key] for key in ("python_version", "system")}
    kept["cpu"] = {"brand_raw": machine_info["cpu"].get("brand_raw")}
    machine_info.clear()
    machine_info.update(kept)
    machine_info["versions"] = versions()
    machine_info["cores"] = psutil.cpu_count(logical=False)
    machine_info["memory_gb"] = round(psutil.virtual_memory().total / 1e9)
    machine_info["platform"] = platform.platform()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine_info["commit"] = commit.stdout.strip() or None


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list, output_json: dict) -> None:
    """Keep what the contenders took: pytest-benchmark's own figures are of a whole round of them."""
    output_json["benchmarks"] = [
        {key: bench[key] for key in ("name", "extra_info")} for bench in output_json["benchmarks"]
    ]
    del output_json["commit_info"]


@pytest.fixture(scope="session")
def corpus() -> np.ndarray:
    """200,000 unit vectors of 384 dimensions, one in twenty of them the same."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[rng.permutation(ROWS)[: ROWS // 20]] = rows[7]
    return rows


@pytest.fixture(scope="session")
def queries(corpus: np.ndarray) -> np.ndarray:
    """A thousand vectors near rows of the corpus."""
    rng = np.random.default_rng(1)
    near = corpus[rng.integers(0, ROWS, 1000)] + rng.standard_normal((1000, DIM), dtype=np.float32) * np.float32(0.02)
    return near / np.linalg.norm(near, axis=1, keepdims=True)
