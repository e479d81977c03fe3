"""Streams from sources that do not always have a next text: results come within a latency, in order or as they are done."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import numpy as np
import pytest

import vjaccel as vj

WAIT = 20


def numbers(texts: list[str]) -> np.ndarray:
    return np.array([[float(text), 1.0] for text in texts])


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


def check_nothing_is_left() -> None:
    """A thread that was told to end may still be about to."""
    deadline = time.monotonic() + WAIT
    while ours():
        assert time.monotonic() < deadline, ours()
        time.sleep(0.01)


class Fed:
    """Gives what is put in, and waits for more."""

    def __init__(self) -> None:
        self.queue: queue.Queue[str | None] = queue.Queue()

    def __iter__(self) -> Iterator[str]:
        while (text := self.queue.get(timeout=WAIT)) is not None:
            yield text


def test_a_text_comes_back_before_the_next_one_is_there() -> None:
    fed = Fed()
    chunks = vj.Embedder(numbers).stream(fed, max_latency=0.01)
    for number in range(1, 6):
        fed.queue.put(str(number))
        chunk = next(chunks)
        assert (chunk.start, chunk.embeddings.tolist()) == (number - 1, [[number, 1]])
    fed.queue.put(None)
    assert list(chunks) == []
    assert not ours()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("total", [0, 1, 1000])
def test_a_source_that_has_all_at_once_is_cut_by_size_alone(total: int, ordered: bool) -> None:
    chunks = list(
        vj.Embedder(numbers).stream(map(str, range(1, total + 1)), chunk_size=300, max_latency=WAIT, ordered=ordered)
    )
    assert sorted((chunk.start, len(chunk)) for chunk in chunks) == [
        (start, min(300, total - start)) for start in range(0, total, 300)
    ]
    found = np.concatenate([np.empty((0, 2)), *(chunk.embeddings for chunk in sorted(chunks, key=lambda c: c.start))])
    np.testing.assert_array_equal(found[:, 0], np.arange(1, total + 1))


@pytest.mark.parametrize("latency", [None, 0.01])
def test_a_slow_result_does_not_hold_up_others_that_may_come_before_it(latency: float | None) -> None:
    release = threading.Event()

    def uneven(texts: list[str]) -> np.ndarray:
        if "1" in texts:
            release.wait(WAIT)
        return numbers(texts)

    chunks = vj.Embedder(uneven, workers=2).stream(
        map(str, range(1, 9)), chunk_size=1, ordered=False, max_latency=latency
    )
    assert next(chunks).start == 1
    release.set()
    assert sorted(chunk.start for chunk in chunks) == [0, *range(2, 8)]


def test_little_is_read_ahead_of_a_reader_that_is_slow() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(taken)

    chunks = vj.Embedder(numbers).stream(endless(), chunk_size=10, max_latency=0.0)
    with closing(chunks):  # type: ignore[type-var]  # it is a generator
        given = sum(len(next(chunks)) for _ in range(5))
        time.sleep(0.05)
        # Chunks of ten: three and one a worker, the two that are waiting to be cut, and a text in hand.
        assert taken <= given + 10 * (3 + 1) + 2 * 10 + 1
    assert not ours() - {"vjaccel-read"}


def test_a_reading_thread_that_waits_ends_with_the_next_text() -> None:
    fed = Fed()
    chunks = vj.Embedder(numbers).stream(fed, max_latency=0.01)
    fed.queue.put("1")
    next(chunks)
    chunks.close()
    assert ours() == {"vjaccel-read"}
    fed.queue.put("2")
    check_nothing_is_left()


@pytest.mark.parametrize("latency", [None, 0.01])
def test_a_source_that_breaks_gives_what_came_before(latency: float | None) -> None:
    def breaking() -> Iterator[str]:
        yield from ("1", "2", "3")
        raise OSError("gone")

    chunks = vj.Embedder(numbers).stream(breaking(), chunk_size=2, max_latency=latency)
    found: list[float] = []
    with pytest.raises(OSError, match="gone"):
        found.extend(x for chunk in chunks for x in chunk.embeddings[:, 0])
    assert found == [1, 2, 3]


@pytest.mark.parametrize("latency", [-1, "soon", float("nan")])
def test_a_latency_that_is_none_is_refused(latency: object) -> None:
    with pytest.raises(vj.InvalidInput, match="max_latency"):
        vj.Embedder(numbers).stream(["1"], max_latency=latency)  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize("options", [{}, {"max_latency": 0.01}, {"ordered": False}])
def test_an_async_source_is_read_in_its_own_loop(options: dict[str, object]) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(1, 8):
            await asyncio.sleep(0)
            yield str(number)

    async def main() -> list[float]:
        embedder = vj.Embedder(numbers)
        return [
            x async for chunk in embedder.astream(source(), chunk_size=3, **options) for x in chunk.embeddings[:, 0]
        ]

    assert sorted(asyncio.run(main())) == list(range(1, 8))
    check_nothing_is_left()


def test_leaving_a_stream_early_ends_an_async_source_that_waits() -> None:
    ended = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "1"
            await asyncio.sleep(WAIT)
        finally:
            ended.append(True)

    async def main() -> None:
        chunks = vj.Embedder(numbers).astream(source(), max_latency=0.01)
        chunk = await anext(chunks)
        assert chunk.embeddings.tolist() == [[1, 1]]
        await chunks.aclose()  # type: ignore[attr-defined]  # it is a generator

    asyncio.run(asyncio.wait_for(main(), WAIT / 2))
    assert ended == [True]
    check_nothing_is_left()


def test_a_result_that_is_ready_does_not_wait_for_texts_that_come_after_it() -> None:
    """With a latency that no test would sit out, and a text that comes while another is embedded."""
    given, seen, over = threading.Event(), threading.Event(), threading.Event()

    def slow(texts: list[str]) -> np.ndarray:
        given.set()
        if "first" in texts:
            seen.wait(10)
        return np.ones((len(texts), 2))

    def texts() -> Iterator[str]:
        for _ in range(8):
            yield "first"
        given.wait(10)
        yield "second"
        seen.set()
        over.wait(600)

    stream = vj.Embedder(slow).stream(texts(), chunk_size=8, max_latency=300.0, deduplicate=False)
    results: list[vj.EmbeddingResult] = []
    reader = threading.Thread(target=lambda: results.append(next(stream)), daemon=True)
    reader.start()
    reader.join(60)
    over.set()
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert [len(result) for result in results] == [8]
