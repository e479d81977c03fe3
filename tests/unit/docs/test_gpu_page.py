"""What docs/gpu.md says is checked, and where, is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
OWN_KERNELS = re.compile(r"RawKernel|RawModule|__global__|\bpallas\b|\btriton\b|cuda\.jit|load_inline")


def test_no_kernel_is_there_that_ci_would_have_to_compile() -> None:
    sources = [path for folder in ("vjaccel", "backends") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 50
    assert [str(path) for path in sources if OWN_KERNELS.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:[\w/]+/)?test_\w+\.py)`", PAGE))))
def test_a_test_that_the_page_names_is_there(name: str) -> None:
    assert list((ROOT / "tests").rglob(Path(name).name))


def test_the_page_names_every_file_of_tests_for_a_gpu() -> None:
    files = [
        path.name for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    named = {name for name in files if name in PAGE}
    assert set(files) - named <= {"test_local_model.py", "test_gpu_page.py"}


def test_the_page_says_that_nothing_was_measured_on_a_gpu_as_long_as_that_is_so() -> None:
    measured = list((ROOT / "benchmarks" / "results").glob("*gpu*.json"))
    assert bool(measured) != ("No figure from a GPU has been measured yet" in PAGE)
