"""Runs with a cache: what was embedded once is not again, by whom and in which run ever."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.counting import Counting
from tests.unit.embedding.tiny_models import LONGEST, Tiny
from vjaccel.embedding.cache import flights_of
from vjaccel.embedding.cache.memory import MemoryCache
from vjaccel.embedding.driver import CHUNK

WAIT = 20


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return "memory" if request.param == "memory" else tmp_path / "cache"


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("backend", [None, "torch:cpu"])
def test_a_second_run_embeds_nothing_and_gives_the_same(cache: str | Path, workers: int, backend: str | None) -> None:
    counting, texts = Counting(), [str(i) for i in range(CHUNK + 100)]
    with vj.Embedder(counting, workers=workers, cache=cache) as embedder:
        first = embedder.embed(texts, backend=backend)
        assert (first.statistics.cache_hits, first.statistics.cache_misses) == (0, len(texts))
        second = embedder.embed(texts, backend=backend)
    assert (second.statistics.cache_hits, second.statistics.cache_misses, second.statistics.batches) == (
        len(texts),
        0,
        0,
    )
    np.testing.assert_array_equal(np.asarray(second.embeddings), np.asarray(first.embeddings))
    assert set(counting.asked.values()) == {1}


def test_a_run_may_pass_the_cache_over(cache: str | Path) -> None:
    counting, texts = Counting(), ["1", "2", "1"]
    with vj.Embedder(counting, cache=cache) as embedder:
        for use_cache in (False, True, False):
            found = embedder.embed(texts, use_cache=use_cache).statistics
            assert (found.cache_hits, found.cache_misses) == (0, 2 if use_cache else 0)
        assert embedder.embed(texts).statistics.cache_hits == 2
    assert set(counting.asked.values()) == {3}


def test_hits_misses_duplicates_and_failures_each_find_their_place(cache: str | Path) -> None:
    counting, told = Counting(), Counter[int]()
    with vj.Embedder(counting, cache=cache) as embedder:
        embedder.embed(["1", "3", "5"])
        counting.asked.clear()
        texts = ["1", "2", "bad", "3", "2", "1", "bad", "4"]
        (result,) = embedder.stream(
            texts, on_error="collect", on_batch=lambda numbers, _: told.update(numbers.tolist())
        )
    found = result.statistics
    assert (found.cache_hits, found.cache_misses, found.duplicates, found.failed) == (2, 3, 3, 2)
    assert result.embeddings[result.ok, 0].tolist() == [1, 2, 3, 2, 1, 4]
    assert [error.index for error in result.errors] == [2, 6]
    assert counting.asked.keys() == {"2", "bad", "4"}
    assert told == dict.fromkeys([0, 1, 3, 4, 5, 7], 1)


def test_what_failed_is_tried_again_by_the_next_run(cache: str | Path) -> None:
    fail = [True]

    def moody(texts: list[str]) -> np.ndarray:
        if fail[0]:
            raise ValueError("not now")
        return np.ones((len(texts), 2))

    with vj.Embedder(moody, cache=cache) as embedder:
        assert not embedder.embed(["a"], on_error="collect").ok.any()
        fail[0] = False
        assert embedder.embed(["a"]).ok.all()


def test_progress_counts_cached_texts_as_done(cache: str | Path) -> None:
    told: list[int] = []
    with vj.Embedder(Counting(), cache=cache) as embedder:
        embedder.embed(["1", "2"])
        embedder.embed(["1", "2", "3"], progress=lambda at: told.append(at.done))
    assert told == [2, 3]


@pytest.mark.parametrize(
    ("other", "hit"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"batch_tokens": 5, "workers": 2}, True, id="other batches"),
        pytest.param({"prompt": "say: "}, False, id="prompt"),
        pytest.param({"dimensions": 5}, False, id="dimensions"),
        pytest.param({"normalize": True}, False, id="normalize"),
    ],
)
def test_a_model_asked_otherwise_misses(
    tiny: Callable[[str], Tiny], tmp_path: Path, other: dict[str, Any], hit: bool
) -> None:
    model = f"local:{tiny('mean').folder}"
    with vj.Embedder(model, device="cpu", cache=tmp_path) as embedder:
        embedder.embed(["a quick fox", "a dog"])
    with vj.Embedder(model, device="cpu", cache=tmp_path, **other) as embedder:
        found = embedder.embed(["a quick fox", "a dog"]).statistics
    assert (found.cache_hits, found.cache_misses) == ((2, 0) if hit else (0, 2))


def test_a_function_is_known_to_other_embedders_by_its_name_alone(tmp_path: Path) -> None:
    def embedded(counting: Counting, name: str | None) -> None:
        with vj.Embedder(counting, name=name, cache=tmp_path) as embedder:
            embedder.embed(["1"])

    unnamed, named = Counting(), Counting()
    for _ in range(2):
        embedded(unnamed, None)
        embedded(named, "m-v1")
    embedded(named, "m-v2")
    assert (unnamed.asked["1"], named.asked["1"]) == (2, 2)


def test_a_name_is_no_models(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="is for a function"):
        vj.Embedder(f"local:{tiny('mean').folder}", name="mine")


@pytest.mark.parametrize("first_fails", [False, True])
def test_two_runs_at_once_that_want_the_same_text_embed_it_once(first_fails: bool) -> None:
    begun, release = threading.Event(), threading.Event()
    asked: list[list[str]] = []

    def slow(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        if len(asked) == 1:
            begun.set()
            release.wait(WAIT)
            if first_fails:
                raise KeyboardInterrupt
        return np.array([[float(text), 1.0] for text in texts])

    with vj.Embedder(slow, cache="memory") as embedder:
        found: list[vj.EmbeddingResult] = []
        ends: list[BaseException] = []

        def run(texts: list[str]) -> None:
            try:
                found.append(embedder.embed(texts))
            except KeyboardInterrupt as exc:
                ends.append(exc)

        threads = [threading.Thread(target=run, args=(["1", "2"],)), threading.Thread(target=run, args=(["2", "3"],))]
        threads[0].start()
        assert begun.wait(WAIT)
        threads[1].start()
        while len(asked) < 2:
            threads[1].join(0.01)
        release.set()
        for thread in threads:
            thread.join(WAIT)
    assert len(ends) == first_fails
    assert asked[:2] == [["1", "2"], ["3"]]
    assert asked[2:] == ([["2"]] if first_fails else [])
    assert sorted(result.embeddings[:, 0].tolist() for result in found) == (
        [[2, 3]] if first_fails else [[1, 2], [2, 3]]
    )


class Overtaken(MemoryCache):
    """In which somebody else is done with a text right after it was not found."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], object] | None = None

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        found, then = super().get(keys), self.then
        if then is not None:
            self.then = None
            then()
        return found


def test_a_text_that_another_run_keeps_between_the_look_and_the_claim_is_not_embedded_again() -> None:
    cache, counting = Overtaken(), Counting()
    with vj.Embedder(counting, cache=cache) as embedder:

        def other() -> None:
            thread = threading.Thread(target=embedder.embed, args=(["1", "2"],))
            thread.start()
            thread.join(WAIT)

        cache.then = other
        result = embedder.embed(["1", "2", "3"])
        assert embedder.embed(["1", "2", "3"]).statistics.cache_hits == 3
    assert counting.asked == {"1": 1, "2": 1, "3": 1}
    assert (result.statistics.cache_hits, result.statistics.cache_misses) == (2, 1)
    assert result.embeddings[:, 0].tolist() == [1, 2, 3]
    assert len(flights_of(cache)) == 0


@pytest.mark.parametrize("waiters", [2, 4])
def test_of_runs_that_wait_for_a_text_that_fails_one_after_the_other_embeds_it(waiters: int) -> None:
    lock, at_once, asked = threading.Lock(), [0, 0], Counter[str]()
    begun = threading.Event()

    def failing(texts: list[str]) -> np.ndarray:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
            asked.update(texts)
        begun.set()
        time.sleep(0.3)
        with lock:
            at_once[0] -= 1
        raise ValueError("it is refused")

    with vj.Embedder(failing, cache="memory") as embedder:
        threads = [threading.Thread(target=embedder.embed, args=(["x"],), kwargs={"on_error": "collect"})]
        threads[0].start()
        assert begun.wait(WAIT)
        threads += [
            threading.Thread(target=embedder.embed, args=(["x"],), kwargs={"on_error": "collect"})
            for _ in range(waiters)
        ]
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert (at_once[1], asked["x"]) == (1, 1 + waiters)


def test_a_text_that_the_tokenizer_refuses_is_not_waited_for(tiny: Callable[[str], Tiny]) -> None:
    more, of_many = threading.Event(), "a " * (2 * LONGEST)

    def texts() -> Iterator[str]:
        yield of_many
        assert more.wait(WAIT)

    with vj.Embedder(f"local:{tiny('mean').folder}", device="cpu", cache="memory", truncate="error") as embedder:
        lines = embedder.stream(texts(), max_latency=0.01, on_error="collect")
        assert [error.code for error in next(lines).errors] == ["TOKEN_LIMIT_EXCEEDED"]
        found: list[vj.EmbeddingResult] = []
        other = threading.Thread(
            target=lambda: found.append(embedder.embed([of_many], on_error="collect")), daemon=True
        )
        other.start()
        other.join(WAIT / 2)
        waited = other.is_alive()
        more.set()
        assert list(lines) == []
        other.join(WAIT)
    assert not waited
    assert found[0].errors[0].code == "TOKEN_LIMIT_EXCEEDED"
