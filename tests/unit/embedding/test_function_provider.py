"""A function as a provider: what it may be, what cannot be asked of it, and the loop that an async one gets."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions


def sized(texts: list[str]) -> np.ndarray:
    return np.array([[float(len(text)), 1.0] for text in texts])


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


class Sized:
    def __call__(self, texts: list[str]) -> np.ndarray:
        return sized(texts)

    def method(self, texts: list[str]) -> np.ndarray:
        return sized(texts)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        pytest.param(sized, "sized", id="function"),
        pytest.param(Sized(), "Sized", id="object"),
        pytest.param(Sized().method, "Sized.method", id="method"),
        pytest.param(functools.partial(sized), "partial", id="partial"),
    ],
)
def test_anything_that_can_be_called_embeds_and_has_a_name(function: Callable[..., object], name: str) -> None:
    with vj.Embedder(function) as embedder:
        assert embedder.embed(["abc"]).embeddings.tolist() == [[3, 1]]
        assert embedder.identity == vj.embedding.ModelIdentity("function", name, None, 2, "", None)


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cpu"},
        {"dtype": "float32"},
        {"dimensions": 8},
        {"normalize": False},
        {"revision": "main"},
        {"device": "gpu", "normalize": True},
    ],
    ids=lambda options: " and ".join(options),
)
def test_what_a_function_decides_for_itself_cannot_be_asked_of_it(options: dict[str, object]) -> None:
    with pytest.raises(vj.InvalidInput, match=rf"decides for itself: {', '.join(options)}= "):
        vj.Embedder(sized, **options)  # type: ignore[arg-type]  # one of several types


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda texts: sized(texts).tolist(), id="lists"),
        pytest.param(lambda texts: tuple(map(tuple, sized(texts))), id="tuples"),
        pytest.param(lambda texts: sized(texts).astype(np.float16), id="float16"),
        pytest.param(lambda texts: sized(texts).astype(np.int8), id="int8"),
        pytest.param(lambda texts: sized(texts).astype(">f8"), id="big-endian"),
        pytest.param(lambda texts: sized(texts)[::-1][::-1], id="not contiguous"),
        pytest.param(lambda texts: np.asfortranarray(sized(texts)), id="by columns"),
    ],
)
def test_vectors_of_any_kind_become_float32(answer: Callable[..., object]) -> None:
    found = vj.Embedder(answer).embed(["abc", "a"]).embeddings
    assert (found.dtype, found.tolist()) == (np.float32, [[3, 1], [1, 1]])


def test_batches_hold_the_budget_in_characters_and_at_most_1024_texts() -> None:
    sizes: list[tuple[int, int]] = []

    def noted(texts: list[str]) -> np.ndarray:
        sizes.append((len(texts), max(map(len, texts))))
        return sized(texts)

    vj.Embedder(noted, batch_tokens=50).embed([c * 20 for c in "abcde"] + ["y" * 70])
    assert sizes == [(1, 70), (2, 20), (2, 20), (1, 20)]
    sizes.clear()
    vj.Embedder(noted).embed([chr(n) for n in range(0x4E00, 0x4E00 + 1501)])
    assert sizes == [(1024, 1), (477, 1)]


def test_an_empty_text_is_embedded_as_any_other() -> None:
    result = vj.Embedder(sized).embed(["", "a", ""])
    assert result.ok.all()
    assert result.embeddings[:, 0].tolist() == [0, 1, 0]


def test_a_prompt_is_put_before_each_text_and_counts_in_the_budget() -> None:
    provider = FunctionProvider(sized, ProviderOptions())
    ready = provider.prepare(["a", ""], "say: ")
    assert (ready.items, ready.lengths.tolist(), ready.lost.tolist()) == (["say: a", "say: "], [6, 5], [0, 0])
    assert not ready.counted
    assert provider.prompt("query") == provider.prompt(None) == ""


def test_the_list_that_a_function_gets_is_its_own() -> None:
    def emptied(texts: list[str]) -> np.ndarray:
        found = sized(texts)
        texts.clear()
        return found

    texts = ["a", "bb"]
    with vj.Embedder(emptied) as embedder:
        assert embedder.embed(texts).embeddings[:, 0].tolist() == [1, 2]
    assert texts == ["a", "bb"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_inside_an_async_function_ends_the_run(stop: type[BaseException]) -> None:
    async def stopping(texts: list[str]) -> np.ndarray:
        await asyncio.sleep(0)
        if "stop" in texts:
            raise stop
        return sized(texts)

    with vj.Embedder(stopping, batch_tokens=1, workers=2) as embedder:
        with pytest.raises(stop):
            embedder.embed(["a", "stop", "b", "c"])
        assert embedder.embed(["abc"]).ok.all()
    assert not ours()


def test_an_async_function_that_is_cancelled_is_its_texts_error() -> None:
    async def cancelled(texts: list[str]) -> np.ndarray:
        raise asyncio.CancelledError

    with vj.Embedder(cancelled) as embedder:
        result = embedder.embed(["a"], on_error="collect")
    assert [(error.code, error.message) for error in result.errors] == [
        ("EMBEDDING_GENERATION_FAILED", "CancelledError: ")
    ]


def test_tasks_that_an_async_function_leaves_are_cancelled_when_the_embedder_closes() -> None:
    left: list[asyncio.Task[None]] = []

    async def leaving(texts: list[str]) -> np.ndarray:
        left.append(asyncio.create_task(asyncio.sleep(1000)))
        await asyncio.sleep(0)
        return sized(texts)

    with vj.Embedder(leaving) as embedder:
        embedder.embed(["a"])
        assert not left[0].done()
    assert left[0].cancelled()
    assert not ours()


def test_a_loop_stopped_in_its_own_thread_ends_without_waiting_for_itself() -> None:
    async def later(texts: list[str]) -> np.ndarray:
        return sized(texts)

    provider = FunctionProvider(later, ProviderOptions())
    provider.embed(["a"], "")
    loop = provider._loop
    assert loop is not None

    async def close() -> None:
        provider.close()

    asyncio.run_coroutine_threadsafe(close(), loop.loop).result(20)
    loop._thread.join(20)
    assert not ours()
    assert loop.loop.is_closed()
    provider.close()
