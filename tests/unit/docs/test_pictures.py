"""The pictures of the documentation are made from a results file."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

import vjaccel as vj
from tests.debian import program
from tests.unit.cli.letters import letters

ROOT = Path(__file__).parents[3]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One figure of NumPy and one of torch, made up."""
    subjects = [
        {"name": name, "kind": "backend", "device": "cpu", "hardware": None, "state": "ok", "reason": None, "start_s": 1.0,
         "copy_bytes_per_s": 1e9, "matmul_flops_per_s": 1e10, "upload_bytes_per_s": None}
        for name in ("numpy:cpu", "torch:cpu")
    ]  # fmt: skip
    case = {
        "id": "a",
        "operation": "topk",
        "metric": "dot",
        "dtype": "float32",
        "shape": {"rows": 9},
        "flops": 1e6,
        "bytes": 1e5,
    }
    measurements = [
        {
            "subject": s["name"],
            "case": "a",
            "from": "host",
            "first_s": 0.2,
            "seconds": [0.1, 0.2],
            "error": 0.0,
            "refused": None,
        }
        for s in subjects
    ]
    machine = {"cpu": "made up", "cores": 1, "physical_cores": None, "memory_bytes": 1, "system": "none", "python": "3.12",
               "clock": [0.1, 0.2], "clock_spread": 0.5}  # fmt: skip
    run = {"schema": "vjaccel-bench/1", "vjaccel": "0.1.0", "started": "now", "seconds": 1.0, "stopped_by": None,
           "command": "vjaccel bench", "machine": machine, "versions": {}, "subjects": subjects, "cases": [case],
           "measurements": measurements, "embedding": [], "recall": []}  # fmt: skip
    path = tmp_path / "results.json"
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def test_the_report_of_a_run_becomes_two_small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("chromium")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pictures = runpy.run_path(str(ROOT / "docs" / "run_pictures.py"))
    with vj.Embedder(lambda texts: letters(8, texts), batch_tokens=64) as embedder:
        embedder.embed([f"text {i}" for i in range(200)]).report(tmp_path / "run.html")
    made = pictures["make"](tmp_path / "run.html", tmp_path / "pictures")
    sys.modules.pop("chromium", None)
    assert [path.name for path in made] == ["run-light.png", "run-dark.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 200_000 for path in made)
    assert made[0].read_bytes() != made[1].read_bytes()


def test_every_plot_becomes_a_small_picture(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("chromium")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    made = pictures["make"](results, tmp_path / "pictures")
    sys.modules.pop("chromium", None)
    assert [path.name for path in made] == ["speedup.png", "roofline.png", "costs.png", "noise.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 200_000 for path in made)
