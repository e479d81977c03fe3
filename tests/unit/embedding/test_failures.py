"""One bad text costs one error; the others arrive."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding.cache import open_cache

WIDTH = 3


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text)) % 97), 1.0]


class Picky:
    """Embeds, but fails on a batch that has a bad text; knows how often it was called."""

    def __init__(self, *bad: str) -> None:
        self.bad, self.calls = set(bad), 0

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.calls += 1
        for text in texts:
            if text in self.bad:
                raise LookupError(f"cannot embed {text!r}\nand more to say of it")
        return np.array([vector(text) for text in texts])


def test_a_bad_text_is_a_row_of_nan_and_one_error_that_says_why() -> None:
    texts = ["a", "bb", "bad", "dddd"]
    result = vj.Embedder(Picky("bad")).embed(texts, on_error="collect")
    assert result.ok.tolist() == [True, True, False, True]
    assert result.ok.dtype == np.bool_
    assert result.errors == (
        vj.ItemError(index=2, code="EMBEDDING_GENERATION_FAILED", message="LookupError: cannot embed 'bad'"),
    )
    assert np.isnan(result.embeddings[2]).all()
    np.testing.assert_array_equal(result.embeddings[[0, 1, 3]], [vector(texts[i]) for i in (0, 1, 3)])
    assert (result.statistics.texts, result.statistics.embedded, result.statistics.failed) == (4, 3, 1)


def test_errors_are_raised_at_the_end_with_the_whole_result() -> None:
    texts = ["a", "bad", "ccc", "worse"]
    with pytest.raises(vj.EmbeddingErrors, match=r"2 of 4 texts .* index 1: LookupError: cannot embed 'bad'") as raised:
        vj.Embedder(Picky("bad", "worse")).embed(texts)
    result = raised.value.result
    assert [error.index for error in result.errors] == [1, 3]
    np.testing.assert_array_equal(result.embeddings[result.ok], [vector("a"), vector("ccc")])
    assert raised.value.code == "EMBEDDING_ERRORS"


@pytest.mark.parametrize("bad", [0, 1, 500, 1023])
def test_a_bad_text_costs_no_more_batches_than_halving_finds_it_by(bad: int) -> None:
    texts = [f"{i:04}" for i in range(1024)]
    picky = Picky(texts[bad])
    result = vj.Embedder(picky).embed(texts, on_error="collect")
    assert result.ok.sum() == 1023
    assert picky.calls == result.statistics.batches == 1 + 2 * math.log2(1024)


def test_texts_that_all_fail_cost_less_than_two_batches_each() -> None:
    texts = [f"{i:03}" for i in range(100)]
    picky = Picky(*texts)
    result = vj.Embedder(picky).embed(texts, on_error="collect")
    assert not result.ok.any()
    assert [error.index for error in result.errors] == list(range(100))
    assert picky.calls == 199
    assert result.embeddings.shape == (100, 0)


@pytest.mark.parametrize("strange", [None, 7, b"bytes", ["a list"], float("nan")])
def test_what_is_no_text_is_its_own_error(strange: object) -> None:
    result = vj.Embedder(Picky()).embed(["a", strange, "c"], on_error="collect")  # type: ignore[list-item]  # the point
    assert result.ok.tolist() == [True, False, True]
    assert result.errors == (vj.ItemError(1, "INVALID_TEXT", f"a text is a str, not {type(strange).__name__}"),)


def test_a_text_that_cannot_be_tokenised_is_its_own_error(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('mean').folder}", device="cpu") as embedder:
        texts = ["one", "two", "half a pair: \ud800", "four", "five"]
        result = embedder.embed(texts, on_error="collect")
        whole = embedder.embed([text for text in texts if text.isascii()])
    assert result.ok.tolist() == [True, True, False, True, True]
    assert [(error.index, error.code) for error in result.errors] == [(2, "INVALID_TEXT")]
    np.testing.assert_allclose(result.embeddings[result.ok], whole.embeddings, atol=1e-6)
    assert result.statistics.tokens == whole.statistics.tokens


def test_nothing_but_bad_texts_is_a_result_too(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('mean').folder}", device="cpu") as embedder:
        result = embedder.embed([None, "\udfff"], on_error="collect")  # type: ignore[list-item]  # the point
        assert result.embeddings.shape == (2, embedder.dim)
    assert np.isnan(result.embeddings).all()
    assert [error.index for error in result.errors] == [0, 1]
    assert (result.statistics.tokens, result.statistics.batches) == (0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_with_what_is_no_number_is_that_texts_error(value: float) -> None:
    def found(texts: list[str]) -> np.ndarray:
        return np.array([[1.0, value if text == "bad" else 2.0] for text in texts])

    result = vj.Embedder(found).embed(["a", "bad", "c"], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "INVALID_EMBEDDING")]
    np.testing.assert_array_equal(result.embeddings, [[1, 2], [np.nan, np.nan], [1, 2]])
    assert result.statistics.batches == 2, "it was tried once more, alone"


def test_a_vector_of_zeros_is_that_texts_error_and_one_that_is_right_alone_is_kept() -> None:
    def found(texts: list[str]) -> np.ndarray:
        return np.array([[0.0, 1.0 if len(texts) == 1 and text == "moody" else len(text) % 2] for text in texts])

    result = vj.Embedder(found).embed(["abc", "moody?", "nothing.", "moody"], on_error="collect")
    assert [(e.index, e.code, e.message) for e in result.errors] == [
        (1, "INVALID_EMBEDDING", "its vector is zero"),
        (2, "INVALID_EMBEDDING", "its vector is zero"),
    ]
    moody = vj.Embedder(lambda texts: np.ones((len(texts), 2)) * (len(texts) == 1)).embed(["a", "b"])
    assert moody.embeddings.tolist() == [[1, 1], [1, 1]]


def test_a_vector_of_another_width_is_that_texts_error() -> None:
    def ragged(texts: list[str]) -> list[list[float]]:
        return [[1.0, 2.0, 3.0] if text == "bad" else [1.0, 2.0] for text in texts]

    result = vj.Embedder(ragged).embed(["aaaa", "bad", "c"], on_error="collect")
    assert result.errors == (vj.ItemError(1, "DIMENSION_MISMATCH", "its vector has width 3, not 2"),)
    np.testing.assert_array_equal(result.embeddings[[0, 2]], [[1, 2], [1, 2]])


def test_the_first_vectors_width_ends_a_run_whose_next_batches_agree_on_another() -> None:
    def odd(texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 3 if "first" in texts else 2))

    chunks = vj.Embedder(odd).stream(["first", "a", "b", "c"], chunk_size=1, on_error="collect")
    with pytest.raises(
        vj.ProviderRefused, match="the first vectors have width 3, and those of two batches since then 2"
    ):
        list(chunks)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_batch_of_another_width_is_its_own_error_where_others_confirm_the_first(place: int) -> None:
    texts = ["a", "b", "c", "d"]

    def odd(some: list[str]) -> np.ndarray:
        return np.ones((len(some), 3 if texts[place] in some else 2))

    chunks = list(vj.Embedder(odd).stream(texts, chunk_size=1, on_error="collect"))
    errors = [error for chunk in chunks for error in chunk.errors]
    assert errors == [vj.ItemError(place, "DIMENSION_MISMATCH", "its vector has width 3, not 2")]


def test_a_cache_of_another_model_ends_the_run_and_condemns_no_text() -> None:
    cache = open_cache("memory")

    def embedded(width: int, texts: list[str]) -> list[vj.EmbeddingResult]:
        with vj.Embedder(lambda some: np.ones((len(some), width)), name="m", cache=cache) as embedder:
            return list(embedder.stream(texts, chunk_size=1, on_error="collect"))

    assert all(chunk.ok.all() for chunk in embedded(3, ["a"]))
    with pytest.raises(vj.ProviderRefused, match=r"width 3, .* 2: .* whether the cache is of another model"):
        embedded(2, ["a", "b", "c"])


def test_a_width_that_earlier_vectors_had_is_that_of_the_first_reply_too() -> None:
    widths = iter([3, 2, 2])
    embedder = vj.Embedder(lambda texts: np.ones((len(texts), next(widths))), batch_tokens=1)
    (result,) = embedder.stream(["a", "b", "c"], dim=2, on_error="collect")
    assert result.errors == (vj.ItemError(0, "DIMENSION_MISMATCH", "its vector has width 3, not 2"),)
    assert embedder.dim == 2
    with pytest.raises(vj.InvalidInput, match="dim=5 contradicts the model, whose vectors have width 2"):
        embedder.stream(["a"], dim=5)


def test_the_width_is_one_for_all_chunks_and_runs() -> None:
    widths = iter([2, 2, 5, 5])
    embedder = vj.Embedder(lambda texts: np.ones((len(texts), next(widths))))
    assert embedder.dim is None
    first, second, third = embedder.stream(["a", "b", "c"], chunk_size=1, on_error="collect")
    assert (first.ok.all(), second.ok.all(), third.ok.any()) == (True, True, False)
    assert third.embeddings.shape == (1, 2)
    assert embedder.dim == embedder.identity.dimensions == 2
    result = embedder.embed(["d"], on_error="collect")
    assert [error.code for error in result.errors] == ["DIMENSION_MISMATCH"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda texts: np.ones((len(texts) + 1, 2)), id="a row too many"),
        pytest.param(lambda texts: np.ones((len(texts) - 1, 2)), id="a row too few"),
        pytest.param(lambda texts: np.ones(len(texts)), id="no matrix"),
        pytest.param(lambda texts: None, id="nothing"),
        pytest.param(lambda texts: [["x"]] * len(texts), id="words"),
    ],
)
def test_an_answer_that_is_no_vectors_of_these_texts_is_each_texts_error(answer: Callable[..., object]) -> None:
    result = vj.Embedder(answer).embed(["a", "b"], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [
        (0, "EMBEDDING_GENERATION_FAILED"),
        (1, "EMBEDDING_GENERATION_FAILED"),
    ]


def test_running_out_of_memory_halves_the_batches_and_is_remembered() -> None:
    tried: list[int] = []

    def small(texts: list[str]) -> np.ndarray:
        tried.append(len(texts))
        if len(texts) > 10:
            raise MemoryError
        return np.ones((len(texts), 2))

    embedder = vj.Embedder(small, batch_tokens=320)
    result = embedder.embed([f"{i:08}" for i in range(100)])
    assert result.ok.all()
    # What was planned as 40 is not tried as 40 again, once 20 and 10 are known.
    assert tried == [40, 20, *[10] * 10]
    tried.clear()
    assert embedder.embed([f"{i:08}" for i in range(25)]).ok.all()
    assert tried == [10, 10, 5]


def test_one_text_too_large_for_the_memory_is_one_error_and_no_smaller_budget() -> None:
    def small(texts: list[str]) -> np.ndarray:
        if "x" * 50 in texts:
            raise MemoryError("no room")
        return np.ones((len(texts), 2))

    embedder = vj.Embedder(small, batch_tokens=50)
    result = embedder.embed(["x" * 50, *(f"{i:05}" for i in range(20))], on_error="collect")
    assert result.errors == (vj.ItemError(0, "EMBEDDING_GENERATION_FAILED", "MemoryError: no room"),)
    assert result.statistics.batches == 3


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_ends_a_program_ends_the_run_and_is_not_an_error_of_a_text(
    stop: type[BaseException], workers: int
) -> None:
    def stopping(texts: list[str]) -> np.ndarray:
        raise stop

    with pytest.raises(stop):
        vj.Embedder(stopping, workers=workers, batch_tokens=2).embed(["a", "b", "c"] * 4)
