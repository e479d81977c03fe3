"""The provider `openai:` at a real server, infinity, beside the local provider with the same model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.infinity import MODEL, infinity_server

KEY = "sk-right"
GLOSSES = Path(__file__).parents[2] / "examples" / "data" / "glosses.jsonl"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with infinity_server("--api-key", KEY, threads=1) as url:
        yield url


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    lines = GLOSSES.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines[:100]] + ["", "é ñ 漢字", "a " * 600]


def test_its_vectors_are_those_of_the_local_provider(address: str, texts: list[str]) -> None:
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as local:
        expected = local.embed(texts).embeddings
    with vj.Embedder(f"openai:{MODEL}", base_url=address) as remote:
        result = remote.embed(texts)
    assert np.abs(result.embeddings - expected).max() < 1e-5
    assert result.statistics.tokens is not None
    assert (result.statistics.retries, result.statistics.failed) == (0, 0)


def test_texts_of_several_requests_arrive_all(address: str) -> None:
    texts = [f"number {i}" for i in range(700)]
    with vj.Embedder(f"openai:{MODEL}", base_url=address, timeout=120.0) as remote:
        result = remote.embed(texts)
    assert result.ok.all()
    assert result.statistics.batches == 3


def test_a_place_where_it_is_not_is_refused_at_once(address: str) -> None:
    with (
        vj.Embedder(f"openai:{MODEL}", base_url=f"{address}/v7") as remote,
        pytest.raises(vj.ProviderRefused, match="is not at that address"),
    ):
        remote.embed(["a"])


def test_a_key_that_it_does_not_take_is_refused_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with (
        vj.Embedder(f"openai:{MODEL}", base_url=address) as remote,
        pytest.raises(vj.ProviderRefused, match="refuses the key in OPENAI_API_KEY"),
    ):
        remote.embed(["a"])
