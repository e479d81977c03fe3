"""Runs on Ray: two workers against one, and the engine against the local one at equal cores. Bars: 1.8 times, within 10%.

A Ray is begun for each run, as where no address is given: that is in the time of the whole command. That of embedding, which
the manifest has, has in it that workers begin and load their models, unlike the local one: so a run is to take minutes.
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

ROWS = 8_000
"""Some minutes on two cores: enough that what comes once is little."""

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def embed(folder: Path, name: str, *arguments: str) -> tuple[float, float]:
    """Seconds of a whole command, and of what it embedded."""
    output = folder / f"{name}.parquet"
    command = [
        sys.executable,
        "-m",
        "vjaccel",
        "embed",
        str(folder / "in.jsonl"),
        "-o",
        str(output),
        "--restart",
        *arguments,
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.perf_counter() - began
    manifest = json.loads(output.with_name(f"{output.name}.run.json").read_text())
    return whole, manifest["statistics"]["seconds"]


def test_workers(benchmark: Any, tmp_path: Path) -> None:
    glosses = texts.glosses()
    rows = [json.dumps({"text": f"{glosses[i % len(glosses)]} {i}"}) for i in range(ROWS)]
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    ways = {
        "vjaccel 2 workers": ("--engine", "ray", "--workers", "2:2"),
        "one worker": ("--engine", "ray", "--workers", "1:1"),
        "local": ("--workers", "2"),
    }
    took: dict[str, tuple[float, float]] = {}

    def all_of_them() -> None:
        for name, arguments in ways.items():
            took[name] = embed(tmp_path, name.replace(" ", "-"), *arguments)

    benchmark.pedantic(all_of_them, rounds=1)
    two, one, local = (took[name] for name in ways)
    against = f"against local {two[1] / local[1] - 1:+.1%}, whole {two[0] / local[0] - 1:+.1%}"
    benchmark.extra_info["bar"] = "Ray"
    benchmark.extra_info["best_ms"] = {name: seconds * 1e3 for name, (_, seconds) in took.items()}
    benchmark.extra_info["cost"] = f"2 workers {one[1] / two[1]:.2f} times 1; {against}"
