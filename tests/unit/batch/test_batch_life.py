"""Requests that go on at once: priorities, ends before their time, workers that die, closing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import vjaccel as vj
from tests.unit.batch.letters import Gate, Letters

ONE_AT_ONCE = vj.BatchConfig(embedding_config={"max_concurrent_batch": 1, "enable_cache": False})


def request(*texts: str, **options: Any) -> vj.BatchEmbeddingRequest:
    return vj.BatchEmbeddingRequest(texts=texts, **{"batch_size": 1, **options})


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(("vjaccel", "sampler"))}


def until(true: Callable[[], bool]) -> None:
    """Wait for something that other threads do."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def started(call: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


def test_batches_that_wait_are_served_by_priority_and_then_in_the_order_they_came() -> None:
    gate = Gate()
    with vj.BatchProcessor(ONE_AT_ONCE, embedder=gate) as processor:
        threads = [started(processor.process_batch_embeddings, request("first"))]
        gate.begun.acquire()
        for count, (text, priority) in enumerate(
            [("low", "low"), ("normal", "normal"), ("critical", "critical"), ("high", "high"), ("high again", "high")]
        ):
            threads.append(started(processor.process_batch_embeddings, request(text, priority=priority)))
            until(lambda: processor.get_statistics().active_batches == count + 2)  # noqa: B023  # waited for at once
            time.sleep(0.01)  # between being counted and waiting there are some steps
        gate.opened.set()
        for thread in threads:
            thread.join()
    assert gate.order == ["first", "critical", "high", "high again", "normal", "low"]


def test_a_request_of_high_priority_goes_before_the_next_batch_of_a_lower_one() -> None:
    gate = Gate()
    with vj.BatchProcessor(ONE_AT_ONCE, embedder=gate) as processor:
        one = started(processor.process_batch_embeddings, request("a", "b", "c"))
        gate.begun.acquire()
        other = started(processor.process_batch_embeddings, request("x", priority="high"))
        until(lambda: processor.get_statistics().active_batches == 2)
        time.sleep(0.01)
        gate.opened.set()
        one.join()
        other.join()
    assert gate.order == ["a", "x", "b", "c"]


def test_when_its_time_is_up_a_request_ends_with_what_is_done() -> None:
    gate = Gate()
    with vj.BatchProcessor(ONE_AT_ONCE, embedder=gate) as processor:
        with pytest.raises(vj.BatchTimeout, match=r"items were done when the request's 0\.1 s were up") as failure:
            processor.process_batch_embeddings(request(*"abcdefgh", timeout=0.1))
        response = failure.value.response
        assert [error.code for error in response.errors] == ["TIMEOUT"] * len(response.errors)
        assert response.statistics.failed == len(response.errors) == 8
        # And of it nothing is left but the batch under way.
        found = processor.get_statistics()
        assert (found.active_batches, found.abandoned_batches) == (0, 1)
        gate.opened.set()
        assert processor.process_batch_embeddings(request("z")).errors == ()
        assert sum(gate.asked.values()) == 2


def test_a_batch_that_hangs_is_left_when_the_time_is_up_and_disturbs_no_other_request() -> None:
    gate = Gate()
    told: list[object] = []
    with vj.Embedder(gate, workers=2) as embedder, vj.BatchProcessor(embedder=embedder) as processor:
        answers: list[vj.BatchEmbeddingResponse] = []
        other = started(lambda: answers.append(processor.process_batch_embeddings(request("other"))))
        gate.begun.acquire()
        processor.set_progress_callback(lambda *how_far: told.append(how_far))
        with pytest.raises(vj.BatchTimeout) as failure:  # while the gate is shut
            processor.process_batch_embeddings(request("left", timeout=0.1))
        assert processor.get_statistics().abandoned_batches == 1
        gate.opened.set()
        other.join()
        until(lambda: processor.get_statistics().abandoned_batches == 0)
    response = failure.value.response
    assert ([error.code for error in response.errors], response.embeddings.shape[0]) == (["TIMEOUT"], 1)
    assert response.statistics.average_latency is None
    assert np.isnan(response.embeddings).all()
    assert told == []
    assert answers[0].errors == ()


def test_closing_waits_for_a_batch_that_was_left() -> None:
    before, gate = ours(), Gate()
    processor = vj.BatchProcessor(embedder=gate)
    with pytest.raises(vj.BatchTimeout):
        processor.process_batch_embeddings(request("left", timeout=0.1))
    closing = started(processor.close)
    closing.join(0.1)
    assert closing.is_alive()
    gate.opened.set()
    closing.join()
    assert ours() == before


class Slow:
    """A vector that says so when it is read, and is there when `opened` is set."""

    def __init__(self) -> None:
        self.read, self.opened = threading.Event(), threading.Event()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self.read.set()
        assert self.opened.wait(60)
        return np.array([1.0, 0.0])


def test_an_operation_on_vectors_is_left_when_the_time_is_up() -> None:
    slow = Slow()
    with vj.BatchProcessor() as processor:
        with pytest.raises(vj.BatchTimeout) as failure:
            processor.process_batch_vectors(
                vj.BatchVectorRequest(operation="normalize", vectors=[[3.0, 4.0], slow], timeout=0.1)
            )
        slow.opened.set()
    assert np.isnan(failure.value.response.results).all()


def test_a_change_under_way_when_the_time_is_up_is_waited_for_and_told_as_it_is() -> None:
    slow = Slow()
    rows = [vj.Vector("a", [3.0, 4.0]), vj.Vector("b", slow), vj.Vector("c", [1.0, 1.0])]
    opener = started(lambda: (slow.read.wait(60), time.sleep(0.2), slow.opened.set()))
    with vj.BatchProcessor() as processor:
        with pytest.raises(vj.BatchTimeout) as failure:
            processor.process_batch_vectors(
                vj.BatchVectorRequest(operation="insert", collection="notes", vectors=rows, batch_size=2, timeout=0.1)
            )
        assert len(processor.collections["notes"]) == 2
    opener.join()
    assert failure.value.response.results == ["a", "b"]
    assert [(error.index, error.code) for error in failure.value.response.errors] == [(2, "TIMEOUT")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_timeout_in_the_middle_of_a_batch_ends_it_after_what_the_model_does(workers: int) -> None:
    before = ours()

    def slow(texts: list[str]) -> np.ndarray:
        time.sleep(0.02)
        return np.ones((len(texts), 2))

    with (
        vj.Embedder(slow, batch_tokens=1, workers=workers) as embedder,
        vj.BatchProcessor(embedder=embedder) as processor,
        pytest.raises(vj.BatchTimeout),
    ):
        processor.process_batch_embeddings(request(*"abcdefghijkl", batch_size=12, timeout=0.03))
    assert ours() == before


def test_the_configured_timeout_holds_where_a_request_has_none() -> None:
    config = vj.BatchConfig(vector_config={"default_timeout": 1e-9})
    with vj.BatchProcessor(config) as processor, pytest.raises(vj.BatchTimeout) as failure:
        processor.process_batch_vectors(
            vj.BatchVectorRequest(operation="normalize", vectors=np.ones((9, 2)), batch_size=2)
        )
    assert failure.value.response.results.shape == (9, 2)
    assert np.isnan(failure.value.response.results).all()


class Dying(Letters):
    """Ends the thread that has a batch with the text ``die``, so often."""

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.deaths = deaths

    def __call__(self, texts: list[str]) -> np.ndarray:
        with self._lock:
            dies = "die" in texts and self.deaths > 0
            self.deaths -= dies
        if dies:
            raise SystemExit("no more")
        return super().__call__(texts)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_worker_that_dies_is_replaced_and_its_batch_done_by_another(batch_size: int) -> None:
    with vj.BatchProcessor(embedder=Dying(1)) as processor:
        found = processor.process_batch_embeddings(request("a", "die", "b", max_concurrent=2, batch_size=batch_size))
        assert processor.get_health() == (True, ())
    assert found.errors == ()
    assert found.embeddings[:, 0].tolist() == [1, 3, 1]


def test_a_batch_that_kills_every_worker_is_given_up_and_the_others_are_done() -> None:
    with vj.BatchProcessor(embedder=Dying(99)) as processor:
        found = processor.process_batch_embeddings(request("a", "die", "b", max_concurrent=2))
        again = processor.process_batch_embeddings(request("c", "d"))
    assert [(error.index, error.code) for error in found.errors] == [(1, "WORKER_DIED")]
    assert found.embeddings[[0, 2], 0].tolist() == [1, 1]
    assert again.errors == ()


def test_ctrl_c_ends_a_request_and_the_processor_goes_on() -> None:
    def interrupted(texts: list[str]) -> np.ndarray:
        if "stop" in texts:
            raise KeyboardInterrupt
        return np.ones((len(texts), 2))

    with vj.BatchProcessor(embedder=interrupted) as processor:
        with pytest.raises(KeyboardInterrupt):
            processor.process_batch_embeddings(request("stop"))
        assert processor.process_batch_embeddings(request("a")).errors == ()
        assert processor.get_statistics().active_batches == 0


def test_what_an_operation_raises_is_raised_and_the_processor_goes_on() -> None:
    with vj.BatchProcessor() as processor:
        bad = vj.BatchVectorRequest(
            operation="distance",
            vectors=np.ones((9, 2)),
            query_vector=[1.0, 0.0],
            batch_size=2,
            options={"metric": "odd"},
        )
        with pytest.raises(vj.InvalidInput, match="metric 'odd' is unknown"):
            processor.process_batch_vectors(bad)
        assert processor.get_statistics().active_batches == 0
        good = vj.BatchVectorRequest(operation="normalize", vectors=np.ones((9, 2)), batch_size=2)
        assert processor.process_batch_vectors(good).errors == ()


def test_closing_waits_for_what_runs_refuses_what_comes_and_leaves_no_thread() -> None:
    before = ours()
    gate = Gate()
    processor = vj.BatchProcessor(embedder=gate)
    answers: list[vj.BatchProcessor] = []
    running = started(lambda: answers.append(processor.process_batch_embeddings(request("a", "b", max_concurrent=2))))
    gate.begun.acquire()
    closing = started(processor.close)
    until(lambda: refuses(processor))
    assert closing.is_alive()
    gate.opened.set()
    closing.join()
    running.join()
    processor.close()
    assert answers[0].errors == ()
    assert ours() == before


def refuses(processor: vj.BatchProcessor) -> bool:
    try:
        processor.process_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=[]))
    except vj.InvalidInput as exc:
        return str(exc) == "this processor is closed; make another"
    return False


def test_closing_an_embedder_that_was_given_is_its_owners() -> None:
    with vj.Embedder(Letters()) as embedder:
        with vj.BatchProcessor(embedder=embedder) as processor:
            processor.process_batch_embeddings(request("a"))
        assert len(embedder.embed(["b"])) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"collections": {"notes": 3}}, {"embedder": {"custom": Letters(), "other": 3}}],
    ids=["collection", "embedder"],
)
def test_a_processor_that_cannot_be_made_leaves_no_cache_open(tmp_path: Path, wrong: dict[str, Any]) -> None:
    config = vj.BatchConfig(embedding_config={"enable_cache": True, "cache": str(tmp_path / "cache")})
    with pytest.raises(vj.InvalidType):
        vj.BatchProcessor(config, **{"embedder": Letters(), **wrong})
    assert [file.path for file in psutil.Process().open_files() if str(tmp_path) in file.path] == []


def test_many_threads_may_ask_at_once_and_the_counts_are_right() -> None:
    config = vj.BatchConfig(embedding_config={"enable_cache": False})
    with vj.BatchProcessor(config, embedder=Letters()) as processor:

        def ask() -> None:
            for _ in range(5):
                processor.process_batch_embeddings(request("a", None, "bb", max_concurrent=2))  # type: ignore[arg-type]
                processor.process_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=np.ones((4, 2))))

        threads = [started(ask) for _ in range(6)]
        for thread in threads:
            thread.join()
        found = processor.get_statistics()
    assert (found.total_batches, found.total_items, found.active_batches) == (60, 210, 0)
    assert found.success_rate == pytest.approx(180 / 210)
    assert found.average_latency == pytest.approx(found.total_processing_time / 60)
    assert found.average_throughput == pytest.approx(180 / found.total_processing_time)
    assert found.memory_usage > 1 << 20


def test_requests_that_raise_count_with_all_their_items_failed() -> None:
    with vj.BatchProcessor(embedder=Letters()) as processor:
        processor.process_batch_embeddings(request("a", "b"))
        with pytest.raises(vj.UnknownProvider):
            processor.process_batch_embeddings(request("c", "d", provider="openai"))
        with pytest.raises(vj.InvalidInput):
            processor.process_batch_vectors(
                vj.BatchVectorRequest(
                    operation="distance", vectors=np.eye(4), query_vector=np.ones(4), options={"metric": "odd"}
                )
            )
        found = processor.get_statistics()
    assert (found.total_batches, found.total_items, found.success_rate) == (3, 8, 0.25)


def test_before_anything_is_done_rates_are_not_known() -> None:
    with vj.BatchProcessor() as processor:
        found = processor.get_statistics()
    assert (found.success_rate, found.cache_hit_rate, found.average_latency, found.average_throughput) == (None,) * 4


# From an event loop


def test_the_async_twins_answer_as_the_others_do() -> None:
    async def ask() -> tuple[Any, Any]:
        async with vj.BatchProcessor(embedder=Letters()) as processor:
            return await asyncio.gather(
                processor.aprocess_batch_embeddings(request("a", "bb")),
                processor.aprocess_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=[[3.0, 4.0]])),
            )

    texts, vectors = asyncio.run(ask())
    assert texts.embeddings[:, 0].tolist() == [1, 2]
    np.testing.assert_allclose(vectors.results, [[0.6, 0.8]], rtol=1e-6)


def test_a_request_ends_with_the_task_that_waits_for_it() -> None:
    gate = Gate()

    async def ask() -> None:
        processor = vj.BatchProcessor(ONE_AT_ONCE, embedder=gate)
        task = asyncio.create_task(processor.aprocess_batch_embeddings(request(*"abcdef")))
        await asyncio.to_thread(gate.begun.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.opened.set()
        await asyncio.to_thread(processor.close)

    asyncio.run(ask())
    assert gate.order == ["a"]


def test_more_requests_than_the_loop_has_threads_are_served_by_priority() -> None:
    gate = Gate()

    async def ask() -> None:
        async with vj.BatchProcessor(ONE_AT_ONCE, embedder=gate) as processor:
            low = [asyncio.create_task(processor.aprocess_batch_embeddings(request(f"low {i}"))) for i in range(50)]
            await asyncio.to_thread(gate.begun.acquire)
            high = asyncio.create_task(processor.aprocess_batch_embeddings(request("high", priority="critical")))
            while processor.get_statistics().active_batches < 51:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            gate.opened.set()
            await asyncio.gather(high, *low)

    asyncio.run(ask())
    assert gate.order.index("high") == 1


def test_an_error_of_a_request_comes_to_its_task() -> None:
    async def ask() -> None:
        async with vj.BatchProcessor(embedder=Letters()) as processor:
            await processor.aprocess_batch_embeddings(request("a", provider="openai"))

    with pytest.raises(vj.UnknownProvider):
        asyncio.run(ask())
