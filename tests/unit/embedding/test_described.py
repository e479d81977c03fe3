"""An embedder's `repr`: its model, what was asked, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding.cache import open_cache


def ones(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 3))


def test_a_local_model_is_named_with_its_width_and_once_they_were_read_its_weights(tiny: Callable[[str], Tiny]) -> None:
    model = f"local:{tiny('mean').folder}"
    with vj.Embedder(model) as embedder:
        assert repr(embedder) == f"<Embedder {model}: width {embedder.dim}>"
        digest = embedder.identity.digest
        assert digest is not None
        assert repr(embedder) == f"<Embedder {model}: width {embedder.dim}, weights {digest[:12]}>"


def test_a_function_is_named_and_its_width_once_a_vector_has_shown_it() -> None:
    with vj.Embedder(ones) as embedder:
        assert repr(embedder) == "<Embedder function:ones>"
        embedder.embed(["a"])
        assert repr(embedder) == "<Embedder function:ones: width 3>"
    assert repr(vj.Embedder(ones, name="m-v1")) == "<Embedder function:m-v1>"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 2, "batch_tokens": 9}, "workers=2, batch_tokens=9"),
        ({"precision": "ubinary", "prompt": "query: "}, "precision='ubinary', prompt='query: '"),
        ({"cache": "memory"}, "cache='memory'"),
        pytest.param({"cache": open_cache("memory")}, "cache='MemoryCache'", id="a cache that is open"),
    ],
    ids=["how much at once", "what of vectors", "a cache by its name", "a cache of one's own"],
)
def test_what_was_asked_and_is_not_usual_is_said(options: dict[str, Any], said: str) -> None:
    with vj.Embedder(ones, **options) as embedder:
        assert repr(embedder) == f"<Embedder function:ones: {said}>"


def test_a_folder_of_a_cache_is_said_and_a_long_prompt_is_cut(tmp_path: Path) -> None:
    with vj.Embedder(ones, cache=tmp_path) as embedder:
        assert f"cache='{str(tmp_path)[:20]}" in repr(embedder)
    assert len(repr(vj.Embedder(ones, prompt="word " * 500))) < 120


def test_no_key_and_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with vj.Embedder("openai:m", base_url="https://me:secret@example.com/v1?key=secret", timeout=9.0) as embedder:
        assert repr(embedder) == "<Embedder openai:m: base_url='https://example.com/v1', timeout=9.0>"


def test_a_redis_is_said_without_its_password() -> None:
    with pytest.warns(UserWarning, match="cannot be used"):
        embedder = vj.Embedder(ones, cache="redis://me:secret@localhost:1/0")
    with embedder:
        assert repr(embedder) == "<Embedder function:ones: cache='redis://localhost:1/0'>"
