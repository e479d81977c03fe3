"""Vectors are those of sentence-transformers' own `encode`, whatever the model is made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import vjaccel as vj
from tests.unit.embedding.tiny_models import KINDS, PROMPTS, Tiny

TEXTS = [
    "a",
    "the quick brown fox",
    "jumps over the lazy dog and over a much longer fence",
    "OVER\n it",
    "a b c 1",
]
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.soak)])
def test_glosses(minilm: vj.Embedder, reference: SentenceTransformer, glosses: list[str], count: int) -> None:
    glosses = glosses[:: len(glosses) // count]  # from the whole file
    result = minilm.embed(glosses)
    assert (result.embeddings.dtype, result.embeddings.shape) == (np.float32, (count, 384))
    assert result.ok.all()
    np.testing.assert_allclose(result.embeddings, reference.encode(glosses, batch_size=32), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(tiny: Callable[[str], Tiny], kind: str) -> None:
    folder, model = tiny(kind)
    with vj.Embedder(f"local:{folder}", device="cpu", batch_tokens=64) as embedder:
        found = embedder.embed(TEXTS)
        assert embedder.dim == found.embeddings.shape[1] == model.get_embedding_dimension()
    np.testing.assert_allclose(found.embeddings, model.encode(TEXTS), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_text_has_the_models_vector_or_is_an_error_where_that_is_zero(
    tiny: Callable[[str], Tiny], kind: str
) -> None:
    folder, model = tiny(kind)
    wanted = model.encode(["", "a b"])
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        found = embedder.embed(["", "a b"], on_error="collect")
    assert found.ok.tolist() == [bool(wanted[0].any()), True]
    np.testing.assert_allclose(found.embeddings[found.ok], wanted[found.ok], **CLOSE)


PROMPTED = ["prompts", "default prompt", "prompts left out of the mean", "last token, an end of its own, padded left"]


@pytest.mark.parametrize("kind", ["mean", "static", *PROMPTED])
@pytest.mark.parametrize("role", ["query", "document"])
def test_roles_have_the_models_own_prompts(tiny: Callable[[str], Tiny], kind: str, role: str) -> None:
    folder, model = tiny(kind)
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        found = getattr(embedder, f"embed_{role}")(TEXTS)
        one = getattr(embedder, f"embed_{role}")(TEXTS[1])
    prompted = kind in PROMPTED
    # `encode_document` takes the empty prompt that every model has as "document" and never comes to "passage".
    name = {"query": "query", "document": "passage" if prompted else "document"}[role]
    wanted = model.encode(TEXTS, prompt_name=name)
    np.testing.assert_allclose(found.embeddings, wanted, **CLOSE)
    np.testing.assert_allclose(one.embeddings, wanted[1:2], **CLOSE)


@pytest.mark.parametrize("kind", ["cls", "static", *PROMPTED])
def test_a_prompt_of_ones_own(tiny: Callable[[str], Tiny], kind: str) -> None:
    folder, model = tiny(kind)
    wanted = model.encode(TEXTS, prompt="say: ")
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS, prompt="say: ").embeddings, wanted, **CLOSE)
        np.testing.assert_allclose(embedder.embed_query(TEXTS, prompt="say: ").embeddings, wanted, **CLOSE)
        assert embedder.identity.prompt == PROMPTS["symmetric"] * (kind == "default prompt")
    with vj.Embedder(f"local:{folder}", device="cpu", prompt="say: ") as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS).embeddings, wanted, **CLOSE)
        assert embedder.identity.prompt == "say: "


@pytest.mark.parametrize("kind", ["cls", "mean", "dense", "last token, padded left", "static", "static, normalized"])
@pytest.mark.parametrize("dimensions", [5, 12])
def test_fewer_dimensions_are_normalized_again_where_the_whole_was(
    tiny: Callable[[str], Tiny], kind: str, dimensions: int
) -> None:
    folder, model = tiny(kind)
    wanted = model.encode(TEXTS, truncate_dim=dimensions, normalize_embeddings=kind not in ("mean", "static"))
    with vj.Embedder(f"local:{folder}", device="cpu", dimensions=dimensions) as embedder:
        assert embedder.dim == dimensions
        np.testing.assert_allclose(embedder.embed(TEXTS).embeddings, wanted, **CLOSE)


@pytest.mark.parametrize("kind", ["cls", "mean", "dense", "static"])
@pytest.mark.parametrize("normalize", [True, False, None])
def test_normalizing_is_as_asked_or_as_the_model_does(
    tiny: Callable[[str], Tiny], kind: str, normalize: bool | None
) -> None:
    folder, model = tiny(kind)
    normalizes = kind in ("cls", "dense")
    with vj.Embedder(f"local:{folder}", device="cpu", normalize=normalize) as embedder:
        found = embedder.embed(TEXTS).embeddings
        assert embedder.identity.normalized == (normalizes if normalize is None else normalize)
    if normalize is False and normalizes:
        plain = SentenceTransformer(modules=list(model)[:-1], device="cpu")
        np.testing.assert_allclose(found, plain.encode(TEXTS), **CLOSE)
    else:
        np.testing.assert_allclose(found, model.encode(TEXTS, normalize_embeddings=bool(normalize)), **CLOSE)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers(reference: SentenceTransformer, glosses: list[str], workers: int) -> None:
    some = glosses[:60]
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", workers=workers, batch_tokens=256) as embedder:
        np.testing.assert_allclose(embedder.embed(some).embeddings, reference.encode(some), **CLOSE)
