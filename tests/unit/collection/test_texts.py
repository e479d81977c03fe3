"""Texts into a collection and found again, by one model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding import ModelIdentity

WORDS = ["butter", "solid", "liquid", "plan"]


ASKED: list[str] = []


def counted(texts: list[str]) -> np.ndarray:
    """How often each of a few words is in a text, and its length."""
    ASKED.extend(texts)
    if any("fail" in text for text in texts):
        raise RuntimeError("the model does not like it")
    return np.array([[*(text.count(word) for word in WORDS), 0.01 * len(text)] for text in texts], np.float32)


def embedder(name: str = "words") -> vj.Embedder:
    return vj.Embedder(counted, name=name)


@pytest.fixture(params=["memory", "disk", "sharded"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], vj.Collection]:
    if request.param == "memory":
        return lambda: vj.Collection("notes", 5, embedder=embedder())
    pytest.importorskip("lance", reason="the extra store is not installed")
    if request.param == "disk":
        return lambda: vj.Collection.open(tmp_path / "notes", 5, embedder=embedder(), create=True)
    return lambda: vj.ShardedCollection.open(tmp_path / "notes", 5, shards=3, embedder=embedder(), create=True)


def test_a_text_is_found_by_another_and_comes_with_its_metadata(opened: Callable[[], vj.Collection]) -> None:
    with opened() as col:
        done = col.add_texts(["a", "b"], ["melt the butter", "a floor plan"], [{"year": 1}, None])
        assert (done.ok, done.errors) == (("a", "b"), ())
        hits = col.search("butter, how to melt", k=1)
        assert [(hit.id, hit.metadata) for hit in hits] == [("a", {"year": 1, "text": "melt the butter"})]
        assert [[hit.id for hit in found] for found in col.search(["plan", "butter"], k=1)] == [["b"], ["a"]]
        assert col.count("text LIKE '%butter%'") == 1


def test_what_cannot_be_embedded_or_taken_is_its_texts_error(opened: Callable[[], vj.Collection]) -> None:
    with opened() as col:
        col.add_texts(["there"], ["a plan"])
        texts: list[Any] = ["butter", None, "it will fail", "plan", "solid", "liquid", "a", "b"]
        ids = ["a", "b", "c", "there", "", "a", "e", "f"]
        metadata: list[Any] = [None, None, None, None, None, None, {"text": "mine"}, "none"]
        done = col.add_texts(ids, texts, metadata)
        assert done.ok == ("a",)
        assert [(error.index, error.id, error.code) for error in done.errors] == [
            (1, "b", "INVALID_TEXT"), (2, "c", "EMBEDDING_GENERATION_FAILED"), (3, "there", "ALREADY_EXISTS"),
            (4, None, "INVALID_VECTOR_ID"), (5, "a", "DUPLICATE_ID"),
            (6, "e", "INVALID_METADATA"), (7, "f", "INVALID_METADATA"),
        ]  # fmt: skip
        assert len(col) == 2


@pytest.mark.parametrize(("ids", "texts", "at"), [(["x", "y"], ["plan", None], 1), (["x", ""], ["plan", "solid"], 1)])
def test_all_or_nothing_holds_for_texts_too(
    opened: Callable[[], vj.Collection], ids: list[str], texts: list[Any], at: int
) -> None:
    with opened() as col:
        with pytest.raises(vj.CollectionErrors) as caught:
            col.add_texts(ids, texts, on_error="raise")
        assert [error.index for error in caught.value.result.errors] == [at]
        assert len(col) == 0


def test_what_is_known_to_be_wrong_costs_no_embedding(opened: Callable[[], vj.Collection]) -> None:
    with opened() as col:
        col.add_texts(["there"], ["plan"], [{"year": 1}])
        ids: list[Any] = ["there", "", 7, "a", "a", "b", "c", "d"]
        texts: list[Any] = ["t", "u", "v", "butter", "w", "x", None, "y"]
        metadata: list[Any] = [None, None, None, None, None, {"year": "late"}, None, {"text": "mine"}]
        codes = {
            0: "ALREADY_EXISTS", 1: "INVALID_VECTOR_ID", 2: "INVALID_VECTOR_ID", 4: "DUPLICATE_ID", 5: "INVALID_METADATA",
            6: "INVALID_TEXT", 7: "INVALID_METADATA",
        }  # fmt: skip
        ASKED.clear()
        with pytest.raises(vj.CollectionErrors) as caught:
            col.add_texts(ids, texts, metadata, on_error="raise")
        with pytest.raises(vj.InvalidInput, match="on_error 'never' is neither"):
            col.add_texts(["e"], ["solid"], on_error="never")  # type: ignore[arg-type]  # what is tested
        assert ASKED == []
        done = col.add_texts(ids, texts, metadata)
        assert ASKED == ["butter"]
        assert done.ok == ("a",)
        assert done.errors == caught.value.result.errors
        assert {error.index: error.code for error in done.errors} == codes


def test_another_model_is_refused_and_none_leaves_the_vectors_usable(tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="the extra store is not installed")
    place = tmp_path / "notes"
    with vj.Collection.open(place, 5, embedder=embedder(), create=True) as col:
        col.add_texts(["a"], ["butter"])
        kept = col.model
    with pytest.raises(vj.InvalidInput, match="are of another model: model 'words' and not 'others'"):
        vj.Collection.open(place, embedder=embedder("others"))
    with vj.Collection.open(place) as col:
        assert col.model == kept
        assert len(col.search([1.0, 0, 0, 0, 0])) == 1
        with pytest.raises(vj.InvalidInput, match="texts need a model"):
            col.search("butter")
    vj.Collection.open(tmp_path / "bare", 5, create=True).close()
    with pytest.raises(vj.InvalidInput, match="does not say which model"):
        vj.Collection.open(tmp_path / "bare", embedder=embedder())


def test_a_model_of_codes_is_refused(tmp_path: Path) -> None:
    model = ModelIdentity("letters", "26", None, 5, "", True, precision="int8")
    with pytest.raises(vj.InvalidInput, match="a collection has float32 vectors, and the model's precision is 'int8'"):
        vj.Collection.open(tmp_path / "notes", 5, create=True, model=model)
    assert not (tmp_path / "notes").exists()


def test_a_width_that_is_not_the_models_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="a new collection needs dim"):
        vj.Collection("notes")
    with vj.Embedder(counted, name="words") as known:
        known.embed(["butter"])
        with pytest.raises(vj.InvalidInput, match="dim=7 contradicts the embedder, whose vectors have 5 numbers"):
            vj.Collection("notes", 7, embedder=known)
        assert vj.Collection("notes", embedder=known).dim == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: vj.Collection("n", 5, embedder=3), vj.InvalidType, "embedder is an Embedder"),
        (
            lambda: vj.Collection("n", 5, embedder=embedder()).add_texts(["a"], ["b", "c"]),
            vj.InvalidInput,
            "1 ids, 2 texts",
        ),
        (lambda: vj.Collection("n", 5, embedder=embedder()).add_texts(["a"], "b"), vj.InvalidType, "texts is a list"),
        (
            lambda: vj.Collection(
                "n", 5, embedder=vj.Embedder(counted, name="w", precision="int8", calibration=np.eye(5))
            ),
            vj.InvalidInput,
            "precision is 'int8'",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
