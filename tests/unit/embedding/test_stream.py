"""Streams: any length, in order, in bounded memory, and nothing left running when they end early."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from itertools import count, islice

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding import Progress


def numbers(texts: list[str]) -> np.ndarray:
    return np.array([[float(text), 1.0] for text in texts])


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


class Source:
    """Endless numbers as texts; knows how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        for number in count():
            self.taken += 1
            yield str(number)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_endless_stream_comes_in_order_and_little_is_read_ahead(workers: int) -> None:
    source = Source()
    chunks = vj.Embedder(numbers, workers=workers, batch_tokens=10).stream(source, chunk_size=10)
    for nth in range(20):
        chunk = next(chunks)
        np.testing.assert_array_equal(chunk.embeddings[:, 0], np.arange(10 * nth, 10 * nth + 10))
        assert source.taken <= 10 * (nth + 3)
    chunks.close()
    assert not ours()


def test_nothing_is_read_before_the_first_chunk_is_asked_for() -> None:
    source = Source()
    chunks = vj.Embedder(numbers).stream(source, chunk_size=5)
    assert source.taken == 0
    assert not ours()
    chunks.close()


@pytest.mark.parametrize("total", [0, 1, 9, 10, 11, 45])
def test_a_stream_that_ends_gives_every_text_once(total: int) -> None:
    chunks = list(vj.Embedder(numbers).stream(map(str, range(total)), chunk_size=10))
    assert [len(chunk) for chunk in chunks] == [10] * (total // 10) + [total % 10] * (total % 10 > 0)
    found = [row for chunk in chunks for row in chunk.embeddings[:, 0]]
    assert found == list(range(total))
    assert not ours()


def test_a_stream_of_a_model_is_what_embed_gives(tiny: Callable[[str], Tiny]) -> None:
    texts = ["some", "text of", "any length that there is", ""] * 10
    with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu") as embedder:
        streamed = np.concatenate([chunk.embeddings for chunk in embedder.stream(texts, chunk_size=7)])
        np.testing.assert_allclose(streamed, embedder.embed(texts).embeddings, atol=1e-6)


def test_a_chunk_is_its_consumers_own() -> None:
    chunks = vj.Embedder(numbers).stream(map(str, range(30)), chunk_size=10)
    first = next(chunks)
    kept = first.embeddings.copy()
    list(chunks)
    np.testing.assert_array_equal(first.embeddings, kept)
    assert first.embeddings.base is None


def test_a_stream_that_is_dropped_leaves_no_thread() -> None:
    chunks = vj.Embedder(numbers).stream(Source(), chunk_size=5)
    next(chunks)
    assert ours()
    del chunks
    gc.collect()
    assert not ours()


def test_indices_and_statistics_count_over_the_whole_stream() -> None:
    def failing(texts: list[str]) -> np.ndarray:
        if any(text in ("3", "25") for text in texts):
            raise ValueError("no")
        return numbers(texts)

    texts = [str(number) if number != 12 else None for number in range(30)]
    chunks = list(vj.Embedder(failing).stream(texts, chunk_size=10, on_error="collect"))  # type: ignore[arg-type]  # one is no text
    assert [[error.index for error in chunk.errors] for chunk in chunks] == [[3], [12], [25]]
    assert [np.flatnonzero(~chunk.ok).tolist() for chunk in chunks] == [[3], [2], [5]]
    assert [chunk.statistics.texts for chunk in chunks] == [10, 20, 30]
    assert [chunk.statistics.failed for chunk in chunks] == [1, 2, 3]
    assert all(np.isnan(chunk.embeddings[~chunk.ok]).all() for chunk in chunks)


def test_the_first_chunk_with_a_failure_raises_and_ends_the_stream() -> None:
    texts = ["0", "1", "2", "three", "4", "5", "6", "7"]
    chunks = vj.Embedder(numbers).stream(texts, chunk_size=2)
    np.testing.assert_array_equal(next(chunks).embeddings[:, 0], [0, 1])
    with pytest.raises(vj.EmbeddingErrors) as raised:
        next(chunks)
    assert [error.index for error in raised.value.result.errors] == [3]
    assert raised.value.result.embeddings[0, 0] == 2
    assert list(chunks) == []
    assert not ours()


def test_an_error_of_the_source_comes_after_what_was_read_before_it() -> None:
    def broken() -> Iterator[str]:
        yield from map(str, range(7))
        raise OSError("the disk is gone")

    chunks = vj.Embedder(numbers).stream(broken(), chunk_size=3)
    found = [float(value) for chunk in islice(chunks, 3) for value in chunk.embeddings[:, 0]]
    with pytest.raises(OSError, match="the disk is gone"):
        next(chunks)
    assert found == list(range(7))
    assert not ours()


def test_an_interrupt_while_reading_comes_at_once() -> None:
    def interrupted() -> Iterator[str]:
        yield from map(str, range(7))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(vj.Embedder(numbers).stream(interrupted(), chunk_size=3))
    assert not ours()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_function_ends_the_stream(stop: type[BaseException]) -> None:
    def stopping(texts: list[str]) -> np.ndarray:
        if "25" in texts:
            raise stop
        return numbers(texts)

    chunks = vj.Embedder(stopping, workers=2).stream(Source(), chunk_size=10)
    next(chunks)
    next(chunks)
    with pytest.raises(stop):
        next(chunks)
    assert not ours()


@pytest.mark.parametrize("total", [None, 25])
def test_progress_counts_over_the_stream_and_knows_a_total_that_it_is_told(total: int | None) -> None:
    told: list[Progress] = []
    list(vj.Embedder(numbers).stream(map(str, range(25)), chunk_size=10, total=total, progress=told.append))
    assert [(at.done, at.total, at.tokens) for at in told] == [(done, total, None) for done in (10, 20, 25)]


@pytest.mark.parametrize("ordered", [True, False])
def test_progress_is_told_while_a_model_hangs(ordered: bool) -> None:
    told: list[Progress] = []
    heard = threading.Event()

    def hanging(texts: list[str]) -> np.ndarray:
        assert heard.wait(60)
        return np.ones((len(texts), 2))

    def progress(now: Progress) -> None:
        told.append(now)
        heard.set()

    with vj.Embedder(hanging) as embedder:
        list(embedder.stream(["a", "b"], progress=progress, ordered=ordered))
    assert (told[0].done, told[-1].done) == (0, 2)
    assert np.isfinite(told[0].recording.timeline.values["memory_bytes"]).sum() >= 2


def test_progress_has_the_tokens_of_what_is_done(tiny: Callable[[str], Tiny]) -> None:
    told: list[Progress] = []
    with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu") as embedder:
        texts = ["a b c", "b c a", "c a b", "a c b", "b a c", "c b a"]
        chunks = list(embedder.stream(texts, chunk_size=2, progress=told.append))
    assert [at.tokens for at in told] == [chunk.statistics.tokens for chunk in chunks] == [10, 20, 30]


def test_closing_the_embedder_ends_its_streams_and_waits_for_what_runs(tiny: Callable[[str], Tiny]) -> None:
    embedder = vj.Embedder(f"local:{tiny('cls').folder}", device="cpu")
    chunks = embedder.stream(Source(), chunk_size=4)
    other = embedder.stream(Source(), chunk_size=4)
    assert next(chunks).ok.all()
    embedder.close()
    with pytest.raises(vj.InvalidInput, match="closed"):
        next(chunks)
    with pytest.raises(vj.InvalidInput, match="closed"):
        next(other)
    assert not ours()


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "4"])
def test_a_chunk_size_that_is_none_is_refused_at_once(size: object) -> None:
    with pytest.raises(vj.InvalidInput, match="chunk_size"):
        vj.Embedder(numbers).stream(["1"], chunk_size=size)  # type: ignore[arg-type]  # the point
