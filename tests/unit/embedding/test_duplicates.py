"""Texts that come twice in a run are embedded once, and nobody can tell from the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.counting import Counting
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.window import WINDOW


def expected(numbers: list[int]) -> np.ndarray:
    return np.array([[n, 1] for n in numbers], np.float32)


@pytest.fixture
def counting() -> Counting:
    return Counting()


NUMBERS = pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([1, 2, 1, 1, 3], id="one chunk"),
        pytest.param([i % 700 for i in range(3 * CHUNK + 5)], id="across chunks"),
        pytest.param([5] * 2 * CHUNK, id="all the same"),
    ],
)


@NUMBERS
@pytest.mark.parametrize("workers", [1, 3])
def test_each_text_is_embedded_once_and_every_place_gets_its_vector(
    counting: Counting, numbers: list[int], workers: int
) -> None:
    result = vj.Embedder(counting, workers=workers).embed([str(n) for n in numbers])
    np.testing.assert_array_equal(result.embeddings, expected(numbers))
    assert set(counting.asked.values()) == {1}
    assert result.statistics.duplicates == len(numbers) - len(set(numbers))
    assert result.statistics.embedded == len(numbers)


@NUMBERS
def test_a_stream_gives_later_texts_the_vector_that_was_given_out_and_changed(
    counting: Counting, numbers: list[int]
) -> None:
    found = []
    for chunk in vj.Embedder(counting).stream([str(n) for n in numbers], chunk_size=1000):
        found.append(chunk.embeddings.copy())
        chunk.embeddings[:] = np.nan
    np.testing.assert_array_equal(np.concatenate(found), expected(numbers))
    assert set(counting.asked.values()) == {1}


@NUMBERS
def test_vectors_that_stay_on_a_backend_are_the_same(counting: Counting, numbers: list[int]) -> None:
    result = vj.Embedder(counting, workers=2).embed([str(n) for n in numbers], backend="torch:cpu")
    np.testing.assert_array_equal(result.embeddings.numpy(), expected(numbers))


def test_a_text_that_fails_fails_wherever_it_stands(counting: Counting) -> None:
    result = vj.Embedder(counting).embed(["1", "bad", "2", "bad", "1"], on_error="collect")
    assert [(e.index, e.code) for e in result.errors] == [
        (1, "EMBEDDING_GENERATION_FAILED"),
        (3, "EMBEDDING_GENERATION_FAILED"),
    ]
    assert result.errors[0].message == result.errors[1].message
    np.testing.assert_array_equal(result.embeddings[[0, 2, 4]], expected([1, 2, 1]))
    assert (result.statistics.failed, result.statistics.duplicates) == (2, 2)


def test_a_text_is_forgotten_after_a_hundred_thousand_others_so_that_memory_does_not_grow(counting: Counting) -> None:
    near, far = WINDOW - CHUNK, 2 * WINDOW
    texts = [str(i) for i in range(far)]
    texts[near], texts[-1] = "0", "1"
    assert sum(len(chunk) for chunk in vj.Embedder(counting).stream(texts)) == far
    assert (counting.asked["0"], counting.asked["1"]) == (1, 2)


def test_without_looking_for_them_every_text_is_embedded(counting: Counting) -> None:
    (chunk,) = vj.Embedder(counting).stream(["1", "2", "1"], deduplicate=False)
    np.testing.assert_array_equal(chunk.embeddings, expected([1, 2, 1]))
    assert counting.asked == {"1": 2, "2": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_told_as_they_come_each_text_once(counting: Counting, workers: int) -> None:
    told: dict[int, list[float]] = {}

    def keep(numbers: np.ndarray, vectors: np.ndarray) -> None:
        assert not set(numbers.tolist()) & set(told)
        told.update(zip(numbers.tolist(), vectors.tolist(), strict=True))

    numbers = [i % 300 for i in range(1000)]
    embedder = vj.Embedder(counting, workers=workers)
    for chunk in embedder.stream([str(n) for n in numbers], chunk_size=250, on_batch=keep):
        assert len(told) >= len(chunk)
    assert sorted(told) == list(range(1000))
    np.testing.assert_array_equal([told[i] for i in range(1000)], expected(numbers))


def test_a_run_that_may_bear_few_errors_stops(counting: Counting) -> None:
    def texts() -> Iterator[str]:
        for i in range(10_000):
            yield f"no number {i}"

    chunks = vj.Embedder(counting).stream(texts(), chunk_size=50, on_error="collect", max_errors=7)
    with pytest.raises(vj.TooManyErrors, match=r"texts have failed, and max_errors is 7 \(EMBEDDING_GENERATION_FAILED"):
        list(chunks)
    assert counting.asked.total() < 5000


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_stops_for_errors_names_the_first(counting: Counting, workers: int) -> None:
    texts = ["1", "bad", None, "2", "bad", "3", *("bad" for _ in range(20))]
    said = r"26 .*max_errors is 3 .*; the first: 1 \(EMBEDDING_GENERATION_FAILED\), 2 \(INVALID_TEXT\), 4 \(EMB"
    with pytest.raises(vj.TooManyErrors, match=said.replace("26", "(22|23)")) as stopped:
        vj.Embedder(counting, workers=workers).embed(texts, max_errors=3)
    assert [(error.index, error.code) for error in stopped.value.errors] == [
        (1, "EMBEDDING_GENERATION_FAILED"),
        (2, "INVALID_TEXT"),
        (4, "EMBEDDING_GENERATION_FAILED"),
        (6, "EMBEDDING_GENERATION_FAILED"),
        (7, "EMBEDDING_GENERATION_FAILED"),
    ]


@pytest.mark.parametrize("call", [lambda e: e.embed(["a"], max_errors=-1), lambda e: e.stream(["a"], max_errors=True)])
def test_a_number_of_errors_that_is_none_is_refused(call: Callable[[vj.Embedder], object]) -> None:
    with pytest.raises(vj.InvalidInput, match="max_errors must be a whole number"):
        call(vj.Embedder(Counting()))
