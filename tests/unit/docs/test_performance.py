"""docs/performance.md says what the files in benchmarks/results say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PERFORMANCE = runpy.run_path(str(DOCS / "performance.py"))
KEEP = runpy.run_path(str(DOCS.parent / "benchmarks" / "keep.py"))
FILES = sorted((DOCS.parent / "benchmarks" / "results").glob("*.json"))

MADE_UP: dict[str, Any] = {
    "machine_info": {
        "cpu": {"brand_raw": "A made-up processor"}, "cores": 4, "memory_gb": 8, "python_version": "3.11", "versions": {},
    },
    "datetime": "2000-01-01T00:00:00",
    "benchmarks": [
        {"name": f"test_by_a_sketch[{k}]", "measured": "2000-01-01, abc",
         "extra_info": {"bar": "P1b", "best_ms": {"vjaccel": 1.0, "faiss": faiss}}}
        for k, faiss in ((1, 3.0), (4, 2.0))
    ],
}  # fmt: skip


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "performance.md").read_text(encoding="utf-8") == PERFORMANCE["page"](FILES), (
        "python docs/performance.py"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_plot_of_the_page_is_there(path: Path) -> None:
    bars = {bench["bar"] for bench in PERFORMANCE["benches"](json.loads(path.read_text(encoding="utf-8"))).values()}
    assert {plot.stem for plot in (DOCS / "performance").glob(f"{path.stem}-*.svg")} == {
        f"{path.stem}-{x}" for x in bars
    }


def test_a_bar_is_reached_or_missed_by_its_figure(tmp_path: Path) -> None:
    path = tmp_path / "made-up.json"
    path.write_text(json.dumps(MADE_UP))
    rows = [line for line in PERFORMANCE["page"]([path]).splitlines() if "by_a_sketch" in line and "asked" not in line]
    assert "| 3x | reached |" in rows[0]
    assert "| 2x | **missed** |" in rows[1]


def test_some_benchmarks_measured_again_leave_the_others_results() -> None:
    again = MADE_UP | {
        "machine_info": MADE_UP["machine_info"] | {"commit": "def"},
        "datetime": "2000-01-02T00:00:00",
        "benchmarks": [{"name": "test_by_a_sketch[4]", "extra_info": {"bar": "P1b", "best_ms": {"vjaccel": 2.0}}}],
    }
    found = KEEP["kept"](again, MADE_UP)["benchmarks"]
    assert found[0] == MADE_UP["benchmarks"][0]
    assert found[1] == again["benchmarks"][0] | {"measured": "2000-01-02, def"}
    assert KEEP["kept"](again, None)["benchmarks"] == found[1:]


@pytest.mark.parametrize(("bar", "said"), [("P1b", True), ("P12", False)])
def test_without_results_of_a_gpu_the_page_says_so(tmp_path: Path, bar: str, said: bool) -> None:
    path = tmp_path / "made-up.json"
    bench = {
        "name": "test_anything",
        "measured": "2000-01-01, abc",
        "extra_info": {"bar": bar, "best_ms": {"vjaccel": 1.0}},
    }
    path.write_text(json.dumps(MADE_UP | {"benchmarks": [bench]}))
    assert ("No figure here was measured on a GPU" in PERFORMANCE["page"]([path])) is said
