"""Runs on Ray: two workers against one, and the engine against the local one at equal cores. Bars: 1.8 times, within 10%.

All are whole commands, from the start of the process to its end: each begins a Ray of its own or none, loads its models, and
embeds, so that nothing is counted for one and not for another. A worker is one thread of torch with one core of Ray's, and the
local engine has as many such threads as there are workers; a worker of two cores has two of them, as the local engine does.
One worker of one core has half the rows, so that it takes as long as two have with all, and what comes once weighs the same.

A run takes some five minutes on two cores, as the bar is for: what comes once, Ray's start above all, weighs the more the
shorter a run is. In the half hour that all take a machine may become slower by more than the bar: the local engine is
measured first and last, and what counts is the mean.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import texts

ROWS = 90_000
WAYS = {
    "local": ("in.jsonl", "--workers", "2"),
    "vjaccel 2 workers": ("in.jsonl", "--engine", "ray", "--workers", "2:2"),
    "a worker of 2 cores": ("in.jsonl", "--engine", "ray", "--workers", "1:1", "--resources", "cpu=2"),
    "one worker, half the rows": ("half.jsonl", "--engine", "ray", "--workers", "1:1"),
}
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def seconds_of(folder: Path, number: int, given: str, *arguments: str) -> float:
    """Of a whole command, whose output nothing has been before."""
    command = [sys.executable, "-m", "vjaccel", "embed", given, "-o", f"{number}.parquet", *arguments]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def test_workers(benchmark: Any, tmp_path: Path) -> None:
    glosses = texts.glosses()
    rows = [json.dumps({"text": f"{glosses[i % len(glosses)]} {i}"}) + "\n" for i in range(ROWS)]
    (tmp_path / "in.jsonl").write_text("".join(rows))
    (tmp_path / "half.jsonl").write_text("".join(rows[: ROWS // 2]))
    took: dict[str, float] = {}

    def all_of_them() -> None:
        for number, (name, way) in enumerate(WAYS.items()):
            took[name] = seconds_of(tmp_path, number, *way)
        took["local"] = (took["local"] + seconds_of(tmp_path, len(WAYS), *WAYS["local"])) / 2

    benchmark.pedantic(all_of_them, rounds=1)
    local, two, whole, one = took.values()
    benchmark.extra_info["bar"] = "Ray"
    benchmark.extra_info["best_ms"] = {name: seconds * 1e3 for name, seconds in took.items()}
    benchmark.extra_info["cost"] = (
        f"2 workers {2 * one / two:.2f} times 1; against local {two / local - 1:+.1%}, "
        f"one worker of 2 cores {whole / local - 1:+.1%}"
    )
