"""Sizes, times and capabilities, as far as they were measured."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.batch.letters import Letters
from vjaccel.batch.speeds import Measured, measured

OPERATIONS = ("insert", "update", "delete", "search", "similarity", "normalize", "distance")


def test_the_best_size_is_the_smallest_whose_rate_is_nearly_the_highest() -> None:
    assert Measured({256: 1.0, 1024: 1.0, 4096: 3.9, 16384: 18.0}).optimal == 1024
    assert Measured({256: 1.0, 1024: 3.7, 4096: 15.0}).optimal == 256


@pytest.mark.parametrize(("size", "seconds"), [(256, 1.0), (640, 1.5), (1024, 2.0), (2048, 4.0), (10, 1.0)])
def test_the_time_of_a_batch_is_between_those_measured_and_beyond_them_in_proportion(size: int, seconds: float) -> None:
    assert Measured({256: 1.0, 1024: 2.0}).batch(size) == pytest.approx(seconds)


def test_each_size_is_measured_once_by_its_best_call() -> None:
    ticks = deque(t / 1000 for pair in [(0, 5), (0, 3), (0, 4)] * 4 for t in pair)
    calls: list[int] = []

    def make(size: int) -> object:
        return lambda: calls.append(size)

    key = ("test", object())
    found = measured(key, make, ticks.popleft)  # type: ignore[arg-type]  # it makes calls
    assert set(found.seconds.values()) == {0.003}
    assert calls == [size for size in found.seconds for _ in range(4)]
    assert measured(key, make) is found  # type: ignore[arg-type]  # it makes calls
    assert len(calls) == 16


def test_where_batches_take_long_no_larger_ones_are_tried() -> None:
    ticks = deque([0.0, 1.0] * 3)
    found = measured(("long", object()), lambda size: lambda: None, ticks.popleft)
    assert list(found.seconds.values()) == [1.0]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_has_a_best_size_that_its_items_and_the_configuration_bound(operation: str) -> None:
    with vj.BatchProcessor(vj.BatchConfig(vector_config={"max_batch_size": 2000})) as processor:
        assert processor.get_optimal_batch_size(operation, 10) == 10
        assert 256 <= processor.get_optimal_batch_size(operation, 1_000_000) <= 2000


def test_texts_have_a_best_size_that_follows_the_tuners_tokens(minilm: vj.Embedder, glosses: list[str]) -> None:
    with vj.BatchProcessor(embedder=minilm) as processor:
        before = processor.get_optimal_batch_size("local", 100_000)
        response = processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=glosses[:40], enable_cache=False))
        after = processor.get_optimal_batch_size("local", 100_000)
    assert response.total_tokens is not None
    each = response.total_tokens / 40
    assert before == 4096
    assert after == min(4096, minilm.workers * 8 * int(minilm.get_optimal_batch_size() / each))


@pytest.mark.parametrize(("what", "items", "said"), [("sort", 3, "'sort' is neither an operation nor a provider here"),
                                                     ("search", -1, "total_items must be")])  # fmt: skip
def test_what_has_no_size_is_said_so(what: str, items: int, said: str) -> None:
    with vj.BatchProcessor() as processor, pytest.raises(vj.InvalidInput, match=said):
        processor.get_optimal_batch_size(what, items)


def test_the_time_of_a_request_grows_with_its_items() -> None:
    with vj.BatchProcessor() as processor:
        few, many = (
            processor.estimate_processing_time(
                vj.BatchVectorRequest(operation="normalize", vectors=np.ones((rows, 64), np.float32), batch_size=1000)
            )
            for rows in (2_000, 200_000)
        )
    assert few is not None
    assert many is not None
    assert 0 < few < many


def test_the_time_of_a_search_grows_with_its_queries_and_with_what_is_searched() -> None:
    rows = np.random.default_rng(0).standard_normal((3000, 16), dtype=np.float32)
    notes = vj.Collection("notes", 16)
    notes.insert([f"{number}" for number in range(2000)], rows[:2000])
    requests = [
        vj.BatchVectorRequest(operation="search", vectors=rows, query_vector=rows[0]),
        vj.BatchVectorRequest(operation="search", vectors=rows[:1000], query_vector=rows[:300], batch_size=300),
        vj.BatchVectorRequest(operation="search", collection="notes", query_vector=rows[:300], batch_size=300),
        vj.BatchVectorRequest(operation="search", collection="notes", vectors=rows[:300], batch_size=300),
    ]
    with vj.BatchProcessor(collections={"notes": notes}) as processor:
        one, some, more, same = (processor.estimate_processing_time(request) for request in requests)
    assert one is not None
    assert some is not None
    assert more == same == pytest.approx(2 * some)
    assert one > 0


def test_the_time_of_texts_is_not_known_before_some_were_embedded_and_then_in_proportion() -> None:
    with vj.BatchProcessor(embedder=Letters()) as processor:
        asked = vj.BatchEmbeddingRequest(texts=["a"] * 1000)
        assert processor.estimate_processing_time(asked) is None
        took = processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["b", "c"])).processing_time
        assert processor.estimate_processing_time(asked) == pytest.approx(500 * took)


def test_operations_say_what_they_can() -> None:
    with vj.BatchProcessor() as processor:
        found = processor.operation_capabilities()
    assert set(found) == set(OPERATIONS)
    assert [name for name, one in found.items() if not one.supports_parallel] == ["insert", "update", "delete"]
    for one in found.values():
        assert one.estimated_latency > 0
        assert one.memory_requirement >= 4 * 128 * one.optimal_batch_size
        assert one.optimal_batch_size <= one.max_batch_size == 1_000_000
    assert found["search"].supports_simd
    assert found["search"].max_concurrent_batch == 16


def test_without_simd_and_parallel_operations_say_so() -> None:
    config = vj.BatchConfig(vector_config={"enable_simd": False, "enable_parallel": False})
    with vj.BatchProcessor(config) as processor:
        found = processor.operation_capabilities()["similarity"]
    assert (found.supports_simd, found.supports_parallel, found.max_concurrent_batch) == (False, False, 1)


def test_providers_say_what_they_can() -> None:
    settings = {"openai": {"rate_limit_rpm": 3000}, "custom": {"max_concurrent_batch": 3}}
    config = vj.BatchConfig(embedding_config={"provider_settings": settings, "max_batch_size": 500})
    with vj.BatchProcessor(config, embedder=Letters()) as processor:
        (before,) = processor.provider_capabilities().values()
        processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a", "bb"], provider="custom"))
        found = processor.provider_capabilities()
    after = found["custom"]
    assert set(found) == {"custom"}  # openai has no model yet
    assert (after.max_batch_size, after.optimal_batch_size, after.max_concurrent_batch) == (500, 500, 3)
    assert (after.supports_caching, after.supports_retry, after.rate_limit_rpm) == (True, False, None)
    assert (before.estimated_latency, before.memory_requirement) == (None, None)
    assert after.estimated_latency is not None
    assert after.memory_requirement == 4 * 2 * 500


def test_limits_of_a_remote_provider_are_those_that_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    settings = {"openai": {"model": "m", "rate_limit_rpm": 3000, "rate_limit_tpm": 90_000, "max_concurrent_batch": 4}}
    with vj.BatchProcessor(vj.BatchConfig(embedding_config={"provider_settings": settings})) as processor:
        found = processor.provider_capabilities()["openai"]
    assert (found.rate_limit_rpm, found.rate_limit_tpm, found.max_concurrent_batch) == (3000, 90_000, 4)
    assert (found.supports_retry, found.supports_caching) == (True, True)
