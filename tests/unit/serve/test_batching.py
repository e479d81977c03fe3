"""Many requests through one run: taken in turn, told apart, refused when there are too many, failed alone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding.providers.protocol import BatchFailed
from vjaccel.errors import InvalidInput, ProviderRefused
from vjaccel.serve import Batcher, Busy

PATIENCE = 30.0


def sizes(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def test_every_request_gets_the_vectors_of_its_own_texts_in_their_order() -> None:
    with vj.Embedder(sizes) as embedder, Batcher(embedder) as batcher, ThreadPoolExecutor(16) as pool:
        asked = [["x" * (1 + (i * 7 + j) % 90) for j in range(1 + i % 13)] for i in range(300)]
        answers = list(pool.map(lambda texts: batcher.submit(texts).result(PATIENCE), asked))
    for texts, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer.vectors, sizes(texts))
        assert answer.errors == ()
    assert batcher.waiting == 0


def test_requests_that_come_together_are_embedded_together() -> None:
    batches: list[int] = []
    free = threading.Event()

    def counted(texts: list[str]) -> np.ndarray:
        batches.append(len(texts))
        if not free.is_set():
            free.wait(PATIENCE)
        return sizes(texts)

    # Longer than to read those that are there takes, however busy the machine is.
    with vj.Embedder(counted) as embedder, Batcher(embedder, max_latency=0.2) as batcher:
        first = batcher.submit(["first"])
        while not batches:
            time.sleep(0.001)
        others = [batcher.submit([f"text {i}"]) for i in range(100)]
        free.set()
        assert all(future.result(PATIENCE).errors == () for future in [first, *others])
    assert sum(batches) == 101
    assert len(batches) < 20


def test_a_small_request_does_not_wait_for_all_of_a_large_one() -> None:
    def slow(texts: list[str]) -> np.ndarray:
        time.sleep(0.001 * len(texts))
        return sizes(texts)

    with vj.Embedder(slow) as embedder, Batcher(embedder) as batcher:
        large = batcher.submit(["a long one"] * 4000)
        small = batcher.submit(["b"])
        assert small.result(PATIENCE).vectors[0, 0] == 1
        assert not large.done()
        assert len(large.result(PATIENCE).vectors) == 4000


def test_more_than_there_is_room_for_is_refused_with_how_long_to_wait() -> None:
    free = threading.Event()

    def held(texts: list[str]) -> np.ndarray:
        free.wait(PATIENCE)
        return sizes(texts)

    with vj.Embedder(held) as embedder, Batcher(embedder, max_waiting=10) as batcher:
        # One that is alone is taken however large it is: it would never be otherwise.
        large = batcher.submit(["x"] * 50)
        with pytest.raises(Busy) as refused:
            batcher.submit(["y"])
        assert refused.value.seconds >= 1
        assert "50 texts are waiting" in str(refused.value)
        free.set()
        assert len(large.result(PATIENCE).vectors) == 50
        assert len(batcher.submit(["y"]).result(PATIENCE).vectors) == 1


def test_what_is_taken_back_is_not_embedded() -> None:
    seen: list[str] = []
    free = threading.Event()

    def held(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        free.wait(PATIENCE)
        return sizes(texts)

    with vj.Embedder(held) as embedder, Batcher(embedder) as batcher:
        first = batcher.submit(["first"] * 600)
        while not seen:
            time.sleep(0.001)
        gone = batcher.submit(["gone"] * 4000)
        assert gone.cancel()
        free.set()
        first.result(PATIENCE)
        batcher.submit(["last"]).result(PATIENCE)
        assert seen.count("gone") < 2000
        assert batcher.waiting == 0


def test_a_text_that_fails_is_an_error_of_its_request_alone() -> None:
    def choosy(texts: list[str]) -> np.ndarray:
        if "bad" in texts:
            raise ValueError("no")
        return sizes(texts)

    with vj.Embedder(choosy) as embedder, Batcher(embedder) as batcher:
        mixed, good = batcher.submit(["good", "bad", "fine"]), batcher.submit(["good"])
        answer = mixed.result(PATIENCE)
        assert [(error.index, error.code) for error in answer.errors] == [(1, "EMBEDDING_GENERATION_FAILED")]
        np.testing.assert_array_equal(answer.vectors[[0, 2], 0], [4, 4])
        assert good.result(PATIENCE).errors == ()


def test_a_run_that_is_refused_fails_what_was_under_way_and_the_next_requests_are_tried() -> None:
    refuses = threading.Event()
    refuses.set()

    def service(texts: list[str]) -> np.ndarray:
        if refuses.is_set():
            raise BatchFailed("the key is refused", then="stop") from ProviderRefused("the key is refused")
        return sizes(texts)

    with vj.Embedder(service) as embedder, Batcher(embedder) as batcher:
        for _ in range(2):
            with pytest.raises(ProviderRefused, match="the key is refused"):
                batcher.submit(["a"]).result(PATIENCE)
        refuses.clear()
        assert len(batcher.submit(["a", "b"]).result(PATIENCE).vectors) == 2
        assert batcher.waiting == 0


def test_what_was_answered_before_a_run_failed_waits_no_more() -> None:
    free = threading.Event()

    def service(texts: list[str]) -> np.ndarray:
        free.wait(PATIENCE)
        if "fatal" in texts:
            raise BatchFailed("the key is refused", then="stop") from ProviderRefused("the key is refused")
        return sizes(texts)

    with vj.Embedder(service) as embedder, Batcher(embedder, max_waiting=10_000) as batcher:
        # So many that neither all that is read ahead, nor all that fails, has both texts of the request.
        before = [batcher.submit(["a"]) for _ in range(3000)]
        half_done = batcher.submit(["first", "second"])
        after = [batcher.submit(["fatal" if i == 2000 else "b"]) for i in range(4000)]
        free.set()
        assert len(half_done.result(PATIENCE).vectors) == 2
        failed = [one for one in [*before, *after] if one.exception(PATIENCE) is not None]
    assert after[2000] in failed
    assert batcher.waiting == 0


def test_where_no_run_can_begin_whoever_asks_is_told() -> None:
    with vj.Embedder(sizes) as embedder:
        pass
    with Batcher(embedder) as batcher:
        for _ in range(2):
            with pytest.raises(InvalidInput, match="closed"):
                batcher.submit(["a", "b"]).result(PATIENCE)
    assert batcher.waiting == 0


def test_closing_does_what_is_there_refuses_what_comes_and_leaves_no_thread() -> None:
    def slow(texts: list[str]) -> np.ndarray:
        time.sleep(0.05)
        return sizes(texts)

    with vj.Embedder(slow) as embedder:
        batcher = Batcher(embedder)
        futures = [batcher.submit([f"{i}"]) for i in range(20)]
        batcher.close()
        assert all(future.done() for future in futures)
        with pytest.raises(InvalidInput, match="is being stopped"):
            batcher.submit(["late"])
        batcher.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")]


def test_a_request_without_texts_is_refused() -> None:
    with (
        vj.Embedder(sizes) as embedder,
        Batcher(embedder) as batcher,
        pytest.raises(InvalidInput, match="at least one"),
    ):
        batcher.submit([])
