"""Which prompt is put before a text: the call's, the embedder's, or the model's own for a role; and the identity says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions


class Prompted(FunctionProvider):
    """Has prompts of its own, and remembers what it was given."""

    seen: list[str]

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        super().__init__(self.noted, ProviderOptions())
        Prompted.seen = []
        self.dimensions = 2

    def noted(self, texts: list[str]) -> np.ndarray:
        Prompted.seen.extend(texts)
        return np.ones((len(texts), 2))

    def prompt(self, role: str | None) -> str:
        return {None: "", "query": "find: ", "document": "read: "}[role]

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("prompted", "it", "digest", self.dimensions, prompt, False)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "prompted-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: prompted\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[vjaccel.providers]\nprompted = {__name__}:Prompted\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("call", "own", "asked", "before"),
    [
        ("embed", None, None, ""),
        ("embed_query", None, None, "find: "),
        ("embed_document", None, None, "read: "),
        ("embed", "mine: ", None, "mine: "),
        ("embed_query", "mine: ", None, "mine: "),
        ("embed_document", "mine: ", None, "mine: "),
        ("embed", "mine: ", "now: ", "now: "),
        ("embed_query", None, "now: ", "now: "),
        ("embed_query", None, "", ""),
        ("embed", "mine: ", "", ""),
        ("embed_document", "", None, ""),
    ],
)
def test_the_calls_prompt_comes_before_the_embedders_and_that_before_the_models(
    call: str, own: str | None, asked: str | None, before: str
) -> None:
    with vj.Embedder("prompted:it", prompt=own) as embedder:
        getattr(embedder, call)(["text"], prompt=asked)
    assert Prompted.seen == [f"{before}text"]


@pytest.mark.parametrize("call", ["embed_query", "embed_document"])
def test_one_text_is_one_row(call: str) -> None:
    with vj.Embedder("prompted:it") as embedder:
        assert getattr(embedder, call)("text").embeddings.shape == (1, 2)


@pytest.mark.parametrize("call", ["embed_query", "embed_document"])
def test_many_texts_are_many_rows_and_options_are_passed_on(call: str) -> None:
    out = np.zeros((2, 2), np.float32)
    with vj.Embedder("prompted:it") as embedder:
        result = getattr(embedder, call)(("text", None), out=out, on_error="collect")
    assert result.embeddings is out
    assert result.ok.tolist() == [True, False]


@pytest.mark.parametrize("call", ["embed_query", "embed_document"])
def test_bytes_are_no_text(call: str) -> None:
    with vj.Embedder("prompted:it") as embedder, pytest.raises(vj.InvalidInput, match="texts is one text"):
        getattr(embedder, call)(b"text")


def test_a_stream_takes_the_same_prompts() -> None:
    with vj.Embedder("prompted:it", prompt="mine: ") as embedder:
        list(embedder.stream(["a"]))
        list(embedder.stream(["b"], prompt="now: "))
    assert Prompted.seen == ["mine: a", "now: b"]


@pytest.mark.parametrize(
    ("own", "roles"), [(None, ["", "find: ", "read: "]), ("mine: ", ["mine: "] * 3), ("", ["", "", ""])]
)
def test_prompt_for_says_what_comes_before_each_role(own: str | None, roles: list[str]) -> None:
    with vj.Embedder("prompted:it", prompt=own) as embedder:
        assert [embedder.prompt_for(role) for role in (None, "query", "document")] == roles
        assert embedder.identity == ModelIdentity("prompted", "it", "digest", 2, roles[0], False)


def test_an_identity_survives_json_and_leaves_out_what_it_does_not_know() -> None:
    with vj.Embedder("prompted:it") as embedder:
        identity = embedder.identity
    assert ModelIdentity.from_dict({**identity.to_dict(), "of a later version": 1}) == identity
