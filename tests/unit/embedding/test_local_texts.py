"""Texts through a local model: cut off and counted as its own tokenizer does, and the same vectors by any number of workers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import vjaccel as vj
from tests.unit.embedding.tiny_models import LONGEST, Tiny

LONG = ["", "short", "word " * 300, "x" * 150, "melt butter " * 400, "\N{GRINNING FACE}\u4e2d\u0301\0 " * 200]
PIECES = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


def own_tokens(model: SentenceTransformer, texts: list[str], *, cut: bool = True) -> list[int]:
    options = {"truncation": True, "max_length": model.max_seq_length} if cut else {"verbose": False}
    return [len(ids) for ids in model.tokenizer(texts, **options)["input_ids"]]


def test_long_texts_are_cut_off_where_encode_cuts_them(minilm: vj.Embedder, reference: SentenceTransformer) -> None:
    found = minilm.embed(LONG)
    np.testing.assert_allclose(found.embeddings, reference.encode(LONG), rtol=0, atol=1e-5)
    whole, kept = own_tokens(reference, LONG, cut=False), own_tokens(reference, LONG)
    assert found.statistics.truncated == sum(a > b for a, b in zip(whole, kept, strict=True)) > 1
    assert found.statistics.tokens_lost == sum(whole) - sum(kept)
    assert found.statistics.tokens == sum(kept)


@pytest.mark.parametrize("kind", ["cls", "last token, padded left", "last token, padded right"])
@pytest.mark.parametrize("extra", [0, 1, 40])
def test_what_is_cut_off_a_tiny_model_is_counted(tiny: Callable[[str], Tiny], kind: str, extra: int) -> None:
    folder, model = tiny(kind)
    special = 2 if kind == "cls" else 0
    text = " ".join(["a"] * (LONGEST - special + extra))
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        found = embedder.embed([text, "b"])
    assert (found.statistics.truncated, found.statistics.tokens_lost) == (int(extra > 0), extra)
    np.testing.assert_allclose(found.embeddings, model.encode([text, "b"]), rtol=0, atol=1e-5)


def test_a_prompt_takes_its_room_from_a_long_text(tiny: Callable[[str], Tiny]) -> None:
    folder, model = tiny("prompts")
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        found = embedder.embed_query(PIECES)
    # "find: " is five tokens, its colon an unknown one.
    assert found.statistics.tokens_lost == 26 + 5 + 2 - LONGEST
    np.testing.assert_allclose(found.embeddings, model.encode([PIECES], prompt_name="query"), rtol=0, atol=1e-5)


def test_tokens_are_counted_as_the_models_tokenizer_does(minilm: vj.Embedder, reference: SentenceTransformer) -> None:
    counted = minilm.count_tokens(LONG)
    assert counted is not None
    assert (counted.dtype, counted.tolist()) == (np.int64, own_tokens(reference, LONG))
    prompted = minilm.count_tokens(LONG, prompt="query: ")
    assert prompted is not None
    assert prompted.tolist() == own_tokens(reference, [f"query: {text}" for text in LONG])


def test_a_model_that_reads_in_its_own_way_does_not_count(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('static').folder}", device="cpu") as embedder:
        assert embedder.count_tokens(["a b"]) is None
        statistics = embedder.embed(["a b"]).statistics
    assert (statistics.truncated, statistics.tokens_lost, statistics.tokens) == (None, None, None)


@pytest.mark.parametrize("kind", ["cls", "static"])
def test_half_a_surrogate_pair_is_its_own_error_alone(tiny: Callable[[str], Tiny], kind: str) -> None:
    folder, model = tiny(kind)
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        found = embedder.embed(["a", "b \ud83d", "c"], on_error="collect")
    (error,) = found.errors
    assert (error.index, error.code) == (1, "INVALID_TEXT")
    assert "surrogates not allowed" in error.message
    assert np.isnan(found.embeddings[1]).all()
    np.testing.assert_allclose(found.embeddings[[0, 2]], model.encode(["a", "c"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["cls", "mean", "dense", "last token, padded left", "static"])
def test_workers_do_not_change_a_vector(tiny: Callable[[str], Tiny], kind: str) -> None:
    texts = [PIECES[: 1 + 7 * i % 60] for i in range(150)]
    vectors = []
    for workers in (1, 4):
        with vj.Embedder(f"local:{tiny(kind).folder}", device="cpu", workers=workers, batch_tokens=96) as embedder:
            vectors.append(embedder.embed(texts).embeddings)
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=0, atol=1e-6)


def test_one_worker_and_several_agree_on_a_real_model(minilm: vj.Embedder, glosses: list[str]) -> None:
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", workers=1) as alone:
        one = alone.embed(glosses[:40]).embeddings
    np.testing.assert_allclose(minilm.embed(glosses[:40]).embeddings, one, rtol=0, atol=1e-6)
