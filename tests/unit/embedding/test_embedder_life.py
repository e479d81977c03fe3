"""An embedder's life: closed while it works, called by several threads, and its provider told when a run begins and ends."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding import Progress
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions

WAIT = 20


def numbers(texts: list[str]) -> np.ndarray:
    return np.array([[float(text), 1.0] for text in texts])


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


class Gate:
    """A function that says when it was called, and goes on when it is let."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.reached.set()
        assert self.open.wait(WAIT)
        return numbers(texts)


class Watched(FunctionProvider):
    """Counts what a run calls besides `embed`."""

    made: Watched

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        super().__init__(numbers, ProviderOptions(workers=options.workers, batch_tokens=options.batch_tokens))
        self.calls: Counter[str] = Counter()
        self.threads: set[str] = set()
        Watched.made = self

    def begun(self) -> None:
        self.calls["begun"] += 1

    def started(self) -> None:
        self.calls["started"] += 1
        self.threads.add(threading.current_thread().name)

    def ended(self) -> None:
        assert not ours()
        self.calls["ended"] += 1

    def close(self) -> None:
        self.calls["close"] += 1


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> vj.Embedder:
    folder = tmp_path_factory.mktemp("plugin")
    information = folder / "watched-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: watched\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[vjaccel.providers]\nwatched = {__name__}:Watched\n")
    monkeypatch.syspath_prepend(str(folder))
    return vj.Embedder("watched:it", workers=2, batch_tokens=2)


def calls() -> dict[str, int]:
    return dict(Watched.made.calls)


def test_a_run_begins_once_starts_each_worker_once_and_ends_once(watched: vj.Embedder) -> None:
    watched.embed(["1"] * 40)
    found = calls()
    assert found.pop("started") in (1, 2)
    assert found == {"begun": 1, "ended": 1}
    assert all(name.startswith("vjaccel-embed") for name in Watched.made.threads)
    watched.close()
    watched.close()
    assert calls()["close"] == 1


def _interrupted() -> Iterator[str]:
    yield from ["1", "2", "3"]
    raise KeyboardInterrupt


def _stopping(at: Progress) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("run", "error"),
    [
        pytest.param(lambda e: e.embed(["1", "x"]), vj.EmbeddingErrors, id="a bad text"),
        pytest.param(lambda e: e.embed(["1"] * 40, progress=_stopping), ZeroDivisionError, id="the progress callback"),
        pytest.param(lambda e: list(e.stream(["1"] * 40, progress=_stopping)), ZeroDivisionError, id="in a stream"),
        pytest.param(lambda e: list(e.stream(_interrupted(), chunk_size=1)), KeyboardInterrupt, id="an interrupt"),
        pytest.param(
            lambda e: list(e.stream(["1", "x"], chunk_size=1)), vj.EmbeddingErrors, id="a bad text in a stream"
        ),
    ],
)
def test_a_run_that_fails_ends_too_and_leaves_no_thread(
    watched: vj.Embedder, run: Callable[[vj.Embedder], object], error: type[BaseException]
) -> None:
    with pytest.raises(error):
        run(watched)
    assert not ours()
    assert (calls()["begun"], calls()["ended"]) == (1, 1)
    assert watched.embed(["1"]).ok.all()
    watched.close()
    assert calls()["close"] == 1


def test_a_stream_left_early_ends_its_run_and_lets_the_embedder_close(watched: vj.Embedder) -> None:
    chunks = watched.stream(["1"] * 40, chunk_size=4)
    next(chunks)
    watched.close()
    assert "close" not in calls()
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
    assert (calls()["ended"], calls()["close"]) == (1, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_closing_while_a_run_goes_on_lets_it_end(workers: int) -> None:
    gate = Gate()
    embedder = vj.Embedder(gate, workers=workers, batch_tokens=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embedder.embed, ["1", "2", "3"])
        assert gate.reached.wait(WAIT)
        embedder.close()
        with pytest.raises(vj.InvalidInput, match="closed"):
            embedder.embed(["1"])
        gate.open.set()
        assert running.result(WAIT).embeddings[:, 0].tolist() == [1, 2, 3]
    assert not ours()


def test_the_loop_of_an_async_function_outlives_the_closing_until_its_run_has_ended() -> None:
    reached, go_on = threading.Event(), threading.Event()

    async def held(texts: list[str]) -> np.ndarray:
        reached.set()
        assert await asyncio.to_thread(go_on.wait, WAIT)
        return numbers(texts)

    embedder = vj.Embedder(held, batch_tokens=1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embedder.embed, ["1", "2"])
        assert reached.wait(WAIT)
        embedder.close()
        go_on.set()
        assert running.result(WAIT).ok.all()
    assert not ours()


def test_the_block_of_a_with_closes_also_when_it_fails(watched: vj.Embedder) -> None:
    def main() -> None:
        with watched as held:
            assert held is watched
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
    assert calls() == {"close": 1}


def test_the_block_of_an_async_with_closes_also_when_it_fails(watched: vj.Embedder) -> None:
    async def main() -> None:
        async with watched as held:
            assert held is watched
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert calls() == {"close": 1}


@pytest.mark.parametrize("call", ["aembed", "astream"])
def test_a_closed_embedder_says_so_to_a_task_too(call: str) -> None:
    embedder = vj.Embedder(numbers)
    embedder.close()

    async def main() -> None:
        if call == "aembed":
            await embedder.aembed(["1"])
        async for _ in embedder.astream(["1"]):
            pass

    with pytest.raises(vj.InvalidInput, match="closed"):
        asyncio.run(main())


def test_several_threads_may_embed_at_once_and_each_gets_its_own() -> None:
    together = threading.Barrier(3)

    def meeting(texts: list[str]) -> np.ndarray:
        together.wait(WAIT)
        return numbers(texts)

    lists = [[str(100 * i + j) for j in range(50)] for i in range(3)]
    with vj.Embedder(meeting) as embedder, ThreadPoolExecutor(3) as pool:
        results = list(pool.map(embedder.embed, lists))
    assert [result.embeddings[:, 0].tolist() for result in results] == [[float(t) for t in texts] for texts in lists]
    assert [result.statistics.texts for result in results] == [50, 50, 50]
    assert not ours()


@pytest.mark.parametrize("workers", [2, 4])
def test_a_bad_text_for_each_worker_costs_one_error_each(workers: int) -> None:
    # Of one length, so that a batch is eight neighbours; each worker meets a bad one at the same moment.
    texts = [f"{number:04}" for number in range(8 * workers)]
    bad = set(texts[3::8])
    together = threading.Barrier(workers)

    def picky(batch: list[str]) -> np.ndarray:
        if len(batch) == 8:
            together.wait(WAIT)
        if bad.intersection(batch):
            raise ValueError("no")
        return numbers(batch)

    result = vj.Embedder(picky, workers=workers, batch_tokens=32).embed(texts, on_error="collect")
    assert [error.index for error in result.errors] == list(range(3, 8 * workers, 8))
    assert result.embeddings[result.ok, 0].tolist() == [float(text) for text in texts if text not in bad]
    assert result.statistics.batches == workers * 7


def test_workers_out_of_memory_together_halve_the_budget_once() -> None:
    together, tried = threading.Barrier(2), []

    def small(texts: list[str]) -> np.ndarray:
        tried.append(len(texts))
        if len(texts) == 16:
            together.wait(WAIT)
            raise MemoryError
        return numbers(texts)

    embedder = vj.Embedder(small, workers=2, batch_tokens=64)
    result = embedder.embed([f"{i:04}" for i in range(1, 33)])
    assert result.ok.all()
    assert sorted(tried) == [8, 8, 8, 8, 16, 16]
    assert embedder.embed([f"{i:04}" for i in range(1, 17)]).statistics.batches == 2


def test_an_embedder_says_what_it_was_asked_for() -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 2))

    with vj.Embedder(embed, workers=3, name="ones", cache="memory") as embedder:
        assert (embedder.model, embedder.workers, embedder.has_cache) == ("function:ones", 3, True)
        assert (embedder.options.workers, embedder.options.requests_per_minute) == (3, None)
    with vj.Embedder(embed) as embedder:
        assert embedder.model.startswith("function:test_an_embedder_says")
        assert not embedder.has_cache


def test_a_prompt_that_is_none_is_refused_before_a_cache_is_opened(tmp_path: Path) -> None:
    with pytest.raises(vj.InvalidType):
        vj.Embedder(lambda texts: [[1.0]] * len(texts), cache=tmp_path / "cache", prompt=5)  # type: ignore[arg-type]  # what is wrong
    assert not (tmp_path / "cache").exists()
