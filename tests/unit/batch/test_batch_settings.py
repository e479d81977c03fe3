"""Every key of the configuration does what it says, or the statistics say why it cannot."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.batch.letters import Letters

ROWS = np.random.default_rng(3).standard_normal((64, 8), dtype=np.float32)
LISTS = ROWS.tolist()


def normalize(config: vj.BatchConfig, vectors: Any = LISTS, **request: Any) -> Any:
    with vj.BatchProcessor(config) as processor:
        found = processor.process_batch_vectors(
            vj.BatchVectorRequest(operation="normalize", vectors=vectors, **{"batch_size": 4, **request})
        )
        return found, processor.get_statistics()


def embed(config: vj.BatchConfig, function: Any, texts: list[str], **request: Any) -> Any:
    with vj.BatchProcessor(config, embedder=function) as processor:
        return processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=texts, **request))


# Batches


@pytest.mark.parametrize(
    ("vector_config", "request_", "batches", "batch_size"),
    [
        ({"default_batch_size": 10}, {"batch_size": None}, 7, 10),
        ({"default_batch_size": 10}, {"batch_size": 32}, 2, 32),
        (
            {"operation_settings": {"normalize": {"batch_size": 16}}, "default_batch_size": 10},
            {"batch_size": None},
            4,
            16,
        ),
        (
            {"operation_settings": {"distance": {"batch_size": 16}}, "default_batch_size": 10},
            {"batch_size": None},
            7,
            10,
        ),
        ({"max_batch_size": 20}, {"batch_size": None}, 4, 20),
    ],
)
def test_the_size_of_a_batch_is_the_requests_or_the_operations_or_the_default(
    vector_config: dict[str, Any], request_: dict[str, Any], batches: int, batch_size: int
) -> None:
    found, _ = normalize(vj.BatchConfig(vector_config=vector_config), **request_)
    assert (found.statistics.batches, found.statistics.batch_size) == (batches, batch_size)


class AtOnce:
    """Embeds, and notes how many batches were at once; each waits a little for others."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, texts: list[str]) -> np.ndarray:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.005)
        with self._lock:
            self.running -= 1
        return np.ones((len(texts), 2))


@pytest.mark.parametrize(
    ("embedding_config", "max_concurrent", "most"),
    [
        ({"max_concurrent_batch": 3}, 8, 3),
        ({"max_concurrent_batch": 8}, 2, 2),
        ({"max_concurrent_batch": 8, "provider_settings": {"custom": {"max_concurrent_batch": 1}}}, 8, 1),
        ({}, None, 1),
    ],
)
def test_batches_at_once_are_at_most_what_is_configured_and_asked(
    embedding_config: dict[str, Any], max_concurrent: int | None, most: int
) -> None:
    function = AtOnce()
    config = vj.BatchConfig(embedding_config={"enable_cache": False, **embedding_config})
    found = embed(config, function, [f"{i}" for i in range(30)], batch_size=1, max_concurrent=max_concurrent)
    assert 1 <= function.most <= most
    assert found.statistics.concurrency >= function.most


def test_batches_that_wait_for_a_network_run_at_once_whatever_the_processors() -> None:
    function = AtOnce()
    config = vj.BatchConfig(embedding_config={"enable_cache": False})
    embed(config, function, [f"{i}" for i in range(60)], batch_size=1, max_concurrent=8)
    assert function.most > 1


def test_without_parallel_one_batch_runs_at_a_time() -> None:
    config = vj.BatchConfig(vector_config={"enable_parallel": False, "worker_count": 4})
    found, _ = normalize(config, max_concurrent=4)
    assert found.statistics.concurrency == 1
    assert found.statistics.not_applicable["max_concurrent"] == "enable_parallel is off"
    assert found.statistics.not_applicable["worker_count"] == "enable_parallel is off"


def test_a_setting_that_can_do_nothing_is_said_to() -> None:
    config = vj.BatchConfig(
        vector_config={"enable_simd": False}, performance_config={"enable_memory_pool": True, "memory_pool_size": "1MB"}
    )
    found, _ = normalize(config, ROWS, options={"backend": "numpy"})
    assert found.statistics.not_applicable == {
        "enable_simd": "the kernels are the named backend's own",
        "memory_pool_size": "the vectors are an array, which is used as it is",
    }


@pytest.mark.parametrize("operation", ["normalize", "similarity", "distance", "search"])
def test_a_device_does_one_batch_at_a_time_and_that_is_said(operation: Any) -> None:
    # A stand-in for a GPU: what is computed on it is NumPy's.
    device = type(vj.get_backend("numpy"))("gpu")
    config = vj.BatchConfig(vector_config={"worker_count": 4})
    with vj.BatchProcessor(config) as processor:
        found = processor.process_batch_vectors(
            vj.BatchVectorRequest(
                operation=operation, vectors=ROWS, query_vector=None if operation == "normalize" else ROWS[0],
                batch_size=8, max_concurrent=4, options={"backend": device},
            )
        )  # fmt: skip
    assert found.statistics.concurrency == 1
    said = "numpy:gpu does one batch at a time, cut into tiles of its own"
    assert found.statistics.not_applicable == {"max_concurrent": said, "worker_count": said}


# Memory


@pytest.mark.parametrize("enabled", [True, False])
def test_the_memory_pool_makes_allocations_fall(enabled: bool) -> None:
    config = vj.BatchConfig(
        vector_config={"enable_parallel": False}, performance_config={"enable_memory_pool": enabled}
    )
    _, statistics = normalize(config)
    assert (statistics.buffers_allocated, statistics.buffers_reused) == ((1, 15) if enabled else (16, 0))
    assert statistics.buffers_held == (4 * 8 * 4 if enabled else 0)


@pytest.mark.parametrize("size", [0, 100, 500, 10_000])
def test_the_memory_pool_keeps_no_more_than_its_size(size: int) -> None:
    config = vj.BatchConfig(performance_config={"memory_pool_size": size})
    with vj.BatchProcessor(config) as processor:
        for batch_size in (1, 3, 8, 20, 64):
            processor.process_batch_vectors(
                vj.BatchVectorRequest(operation="normalize", vectors=LISTS, batch_size=batch_size, max_concurrent=2)
            )
            assert processor.get_statistics().buffers_held <= size


def test_results_are_not_in_buffers_that_are_used_again() -> None:
    with vj.BatchProcessor() as processor:
        first = processor.process_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=LISTS))
        before = first.results.copy()
        processor.process_batch_vectors(vj.BatchVectorRequest(operation="normalize", vectors=(ROWS + 1).tolist()))
    np.testing.assert_array_equal(first.results, before)


def test_garbage_is_collected_between_batches_and_not_in_them() -> None:
    seen: list[tuple[bool, int]] = []

    def embedding(texts: list[str]) -> np.ndarray:
        seen.append((gc.isenabled(), gc.get_freeze_count()))
        return np.ones((len(texts), 2))

    before = gc.get_freeze_count()
    config = vj.BatchConfig(performance_config={"gc_optimization": True})
    embed(config, embedding, ["a", "b"], batch_size=1)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0 or before
    assert [enabled for enabled, _ in seen] == [False, False]
    assert min(frozen for _, frozen in seen) > 1000


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        embed(vj.BatchConfig(performance_config={"gc_optimization": True}), Letters(), ["a"])
        assert not gc.isenabled()
    finally:
        gc.enable()


# Processors

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no threads")


@needs_affinity
def test_workers_are_pinned_to_the_processors_of_cpu_affinity() -> None:
    seen: list[set[int]] = []

    def embedding(texts: list[str]) -> np.ndarray:
        seen.append(os.sched_getaffinity(0))
        return np.ones((len(texts), 2))

    mine = os.sched_getaffinity(0)
    one = min(mine)
    embed(vj.BatchConfig(performance_config={"cpu_affinity": [one]}), embedding, ["a", "b"])
    assert seen == [{one}]
    assert os.sched_getaffinity(0) == mine


@needs_affinity
def test_a_processor_that_is_not_there_is_refused_by_name() -> None:
    one = min(os.sched_getaffinity(0))
    with pytest.raises(vj.InvalidInput, match=r"performance_config\.cpu_affinity: .* may not use processor 9999"):
        vj.BatchConfig(performance_config={"cpu_affinity": [one, 9999]})


# Seeing what goes on


def profiles(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.speedscope.json"))]


def busy(texts: list[str]) -> np.ndarray:
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        sum(range(1000))
    return np.ones((len(texts), 2))


@pytest.mark.parametrize("batch_size", [1, 9])
def test_profiles_are_written_that_speedscope_opens_and_that_show_the_work(tmp_path: Path, batch_size: int) -> None:
    folder = tmp_path / "profiles"
    config = vj.BatchConfig(
        performance_config={"enable_profiling": True, "profiling_interval": 0.02, "profiling_folder": str(folder)}
    )
    embed(config, busy, ["a", "b", "c"], batch_size=batch_size, max_concurrent=2)
    found = profiles(folder)
    assert len(found) >= 2
    names = set()
    for profile in found:
        assert profile["$schema"] == "https://www.speedscope.app/file-format-schema.json"
        frames = profile["shared"]["frames"]
        for thread in profile["profiles"]:
            assert (thread["type"], thread["unit"], thread["startValue"]) == ("sampled", "seconds", 0)
            assert len(thread["samples"]) == len(thread["weights"]) > 0
            assert thread["endValue"] == pytest.approx(sum(thread["weights"]))
            names |= {frames[place]["name"] for sample in thread["samples"] for place in sample}
    assert "busy" in names


def test_nothing_is_profiled_where_it_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    embed(vj.BatchConfig(), busy, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_cannot_be_written_is_said_and_hurts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    config = vj.BatchConfig(
        performance_config={"enable_profiling": True, "profiling_folder": str(tmp_path / "file" / "below")}
    )
    assert embed(config, busy, ["a"]).errors == ()
    assert "cannot be written" in caplog.text


def test_progress_is_logged_every_log_interval(caplog: pytest.LogCaptureFixture) -> None:
    config = vj.BatchConfig(
        embedding_config={"enable_cache": False}, monitoring_config={"enable_progress_logs": True, "log_interval": 0.02}
    )
    with caplog.at_level(logging.INFO, "vjaccel.batch"):
        embed(config, busy, ["a", "b"], batch_size=1)
    assert "1 requests under way, 0 done with 0 items" in caplog.text


def test_without_progress_logs_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vjaccel.batch"):
        embed(vj.BatchConfig(monitoring_config={"log_interval": 0.01}), busy, ["a"])
    assert caplog.text == ""


def test_the_health_check_says_what_is_wrong(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    # What counts as standing still is a minute; here, no time at all.
    monkeypatch.setattr("vjaccel.batch.watch.STANDS_STILL", 0.0)
    config = vj.BatchConfig(monitoring_config={"enable_health_check": True, "health_check_interval": 0.02})
    embed(config, busy, ["a"])
    assert "and 1 requests are under way" in caplog.text


def test_a_processor_that_does_nothing_is_healthy() -> None:
    with vj.BatchProcessor() as processor:
        assert processor.get_health().ok
