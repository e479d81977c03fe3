"""Reports of made-up runs, written once."""

from __future__ import annotations

from pathlib import Path

import made_up
import pytest

from vjaccel.benchmark.compare import write_comparison
from vjaccel.benchmark.report import write_report


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cpu.html`, `gpu.html`, `hostile.html` and `comparison.html`."""
    folder = tmp_path_factory.mktemp("reports")
    write_report(made_up.cpu_run(), folder / "cpu.html")
    write_report(made_up.gpu_run(), folder / "gpu.html")
    write_report(made_up.hostile_run(), folder / "hostile.html")
    write_comparison(made_up.cpu_run(), made_up.gpu_run(), folder / "comparison.html")
    return folder
