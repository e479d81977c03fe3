"""The same from an event loop, which is never blocked, and with functions that are async themselves."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny


def numbers(texts: list[str]) -> np.ndarray:
    return np.array([[float(text), 1.0] for text in texts])


async def later(texts: list[str]) -> np.ndarray:
    await asyncio.sleep(0)
    return numbers(texts)


class Client:
    """An async client that belongs to the loop of its first use, as those of HTTP libraries do."""

    def __init__(self) -> None:
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.at_once = self.most = 0

    async def __call__(self, texts: list[str]) -> np.ndarray:
        self.loops.add(asyncio.get_running_loop())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        return numbers(texts)


def ours(*names: str) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


@pytest.mark.parametrize("function", [numbers, later], ids=["sync", "async"])
def test_sync_and_async_functions_from_no_loop(function: Callable[[list[str]], object]) -> None:
    with vj.Embedder(function) as embedder:
        np.testing.assert_array_equal(embedder.embed(["3", "4"]).embeddings, [[3, 1], [4, 1]])
    assert not ours()


@pytest.mark.parametrize("function", [numbers, later], ids=["sync", "async"])
def test_sync_and_async_functions_inside_a_running_loop(function: Callable[[list[str]], object]) -> None:
    async def inside() -> np.ndarray:
        with vj.Embedder(function) as embedder:
            return np.concatenate([chunk.embeddings for chunk in embedder.stream(["3", "4", "5"], chunk_size=2)])

    assert asyncio.run(inside())[:, 0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("function", [numbers, later], ids=["sync", "async"])
def test_aembed_gives_what_embed_gives(function: Callable[[list[str]], object]) -> None:
    async def main() -> vj.EmbeddingResult:
        async with vj.Embedder(function) as embedder:
            return await embedder.aembed(["3", "x", "5"], on_error="collect")

    result = asyncio.run(main())
    assert result.ok.tolist() == [True, False, True]
    assert result.embeddings[[0, 2], 0].tolist() == [3, 5]


def test_aembed_does_not_block_the_loop() -> None:
    ticked = threading.Event()

    def waiting(texts: list[str]) -> np.ndarray:
        assert ticked.wait(20)
        return numbers(texts)

    async def tick() -> None:
        ticked.set()

    async def main() -> vj.EmbeddingResult:
        with vj.Embedder(waiting) as embedder:
            result, _ = await asyncio.gather(embedder.aembed(["1"]), tick())
            return result

    assert asyncio.run(main()).ok.all()


def test_aembed_that_is_cancelled_stops_after_its_next_batch() -> None:
    begun, calls = threading.Event(), []

    def slow(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        begun.set()
        time.sleep(0.02)
        return numbers(texts)

    async def main() -> None:
        embedding = asyncio.ensure_future(vj.Embedder(slow, batch_tokens=1).aembed(map(str, range(500))))
        await asyncio.to_thread(begun.wait, 20)
        embedding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await embedding

    asyncio.run(main())  # which waits for the threads of its pool
    assert len(calls) < 100
    assert not ours()


def test_aembed_passes_progress_on() -> None:
    told: list[int] = []
    with vj.Embedder(numbers) as embedder:
        asyncio.run(embedder.aembed(["1", "2"], progress=lambda at: told.append(at.done)))
    assert told == [2]


def test_batches_of_an_async_function_are_awaited_in_one_loop_and_at_once() -> None:
    client = Client()
    with vj.Embedder(client, workers=3, batch_tokens=1) as embedder:
        for _ in range(2):
            assert embedder.embed(["1", "2", "3", "4", "5", "6"]).ok.all()
    assert len(client.loops) == 1
    assert client.most == 3
    assert all(loop.is_closed() for loop in client.loops)
    assert not ours()


def test_the_loop_of_an_embedder_that_nobody_closes_ends_with_it() -> None:
    embedder = vj.Embedder(later)
    embedder.embed(["1"])
    assert ours() == {"vjaccel-loop"}
    del embedder
    gc.collect()
    assert not ours()


def test_an_async_functions_failure_is_its_texts_error() -> None:
    async def failing(texts: list[str]) -> np.ndarray:
        if "2" in texts:
            raise ConnectionError("gone")
        return numbers(texts)

    with vj.Embedder(failing) as embedder:
        result = embedder.embed(["1", "2", "3"], on_error="collect")
    assert result.errors == (vj.ItemError(1, "EMBEDDING_GENERATION_FAILED", "ConnectionError: gone"),)


def test_a_function_may_return_any_awaitable() -> None:
    def returns(texts: list[str]) -> Awaitable[np.ndarray]:
        return later(texts)

    with vj.Embedder(returns) as embedder:
        assert embedder.embed(["7"]).embeddings[0, 0] == 7


def test_astream_comes_in_order_and_reads_its_source_in_one_other_thread() -> None:
    threads: set[str] = set()

    def source() -> Iterator[str]:
        for number in range(25):
            threads.add(threading.current_thread().name)
            yield str(number)

    async def main() -> list[float]:
        async with vj.Embedder(numbers) as embedder:
            return [row async for chunk in embedder.astream(source(), chunk_size=10) for row in chunk.embeddings[:, 0]]

    assert asyncio.run(main()) == list(range(25))
    assert len(threads) == 1
    assert threads != {threading.current_thread().name}
    assert not ours()


def test_astream_that_is_left_early_leaves_no_thread() -> None:
    async def main() -> None:
        chunks = vj.Embedder(numbers).astream(map(str, count()), chunk_size=10)
        async for chunk in chunks:
            assert chunk.ok.all()
            break
        await chunks.aclose()  # type: ignore[attr-defined]  # it is a generator

    asyncio.run(main())
    assert not [name for name in ours() if not name.startswith("vjaccel-stream")]


def test_astream_that_is_cancelled_while_a_chunk_runs_ends_in_order() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(texts: list[str]) -> np.ndarray:
        begun.set()
        assert go_on.wait(20)
        return numbers(texts)

    async def consume() -> None:
        async for _ in vj.Embedder(held).astream(map(str, count()), chunk_size=2):
            pass

    async def main() -> None:
        consuming = asyncio.ensure_future(consume())
        await asyncio.to_thread(begun.wait, 20)
        consuming.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await consuming

    asyncio.run(main())
    assert not [name for name in ours() if not name.startswith("vjaccel-stream")]


def test_a_model_called_by_several_tasks_at_once(tiny: Callable[[str], Tiny]) -> None:
    folder, model = tiny("cls")
    lists = [[f"text {i} of list {j}" for i in range(30)] for j in range(4)]

    async def main() -> list[vj.EmbeddingResult]:
        async with vj.Embedder(f"local:{folder}", device="cpu", batch_tokens=64) as embedder:
            return await asyncio.gather(*(embedder.aembed(texts) for texts in lists))

    for texts, result in zip(lists, asyncio.run(main()), strict=True):
        np.testing.assert_allclose(result.embeddings, model.encode(texts), atol=1e-5)
