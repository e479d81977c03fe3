"""`monitoring_config.enable_metrics`: a processor that Prometheus watches."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

import vjaccel as vj
from tests.unit.observe.scraping import answered, page, until, value


def watched(**monitoring: Any) -> vj.BatchConfig:
    return vj.BatchConfig(monitoring_config={"enable_metrics": True, "metrics_port": 0, **monitoring})


def vectors(texts: list[str]) -> list[list[float]]:
    return [[1.0, float(len(text))] for text in texts]


def test_requests_and_their_items_are_counted() -> None:
    with vj.BatchProcessor(watched(), embedder=vectors) as processor:
        request = vj.BatchEmbeddingRequest(texts=["a", "b", 7], batch_size=2)
        processor.process_batch_embeddings(request)
        normalize = vj.BatchVectorRequest(operation="normalize", vectors=[[3.0, 4.0]], batch_size=1)
        processor.process_batch_vectors(normalize)
        with pytest.raises(vj.UnknownProvider):
            processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a"], provider="nobody"))
        text = page(processor.metrics_url)
    found = {
        (operation, outcome): value(text, "vjaccel_processor_requests_total", operation=operation, outcome=outcome)
        for operation in ("embeddings", "normalize")
        for outcome in ("done", "failed")
    }
    assert found == {
        ("embeddings", "done"): 1,
        ("embeddings", "failed"): 1,
        ("normalize", "done"): 1,
        ("normalize", "failed"): 0,
    }
    assert value(text, "vjaccel_processor_items_total", operation="embeddings", outcome="processed") == 2
    assert value(text, "vjaccel_processor_items_total", operation="embeddings", outcome="failed") == 2
    assert value(text, "vjaccel_processor_request_duration_seconds_count", operation="embeddings") == 2
    # Beside those of the runs that the request was made of.
    assert value(text, "vjaccel_texts_total", outcome="embedded") == 2


def test_what_is_under_way_and_waits_is_shown_as_often_as_the_interval_says() -> None:
    go = threading.Event()

    def embed(texts: list[str]) -> list[list[float]]:
        go.wait(30)
        return vectors(texts)

    config = vj.BatchConfig(
        monitoring_config={"enable_metrics": True, "metrics_port": 0, "metrics_interval": 0.02},
        embedding_config={"max_concurrent_batch": 1},
    )
    with vj.BatchProcessor(config, embedder=embed) as processor:
        url = processor.metrics_url
        request = vj.BatchEmbeddingRequest(texts=["a", "b", "c"], batch_size=1)
        asking = threading.Thread(target=processor.process_batch_embeddings, args=(request,))
        asking.start()
        until(lambda: value(page(url), "vjaccel_processor_requests_active") == 1)
        until(lambda: value(page(url), "vjaccel_processor_batches_queued") == 2)
        go.set()
        asking.join()
        until(lambda: value(page(url), "vjaccel_processor_requests_active") == 0)
        assert value(page(url), "vjaccel_processor_batches_queued") == 0


def test_a_processor_is_ready_at_once_and_healthy() -> None:
    with vj.BatchProcessor(watched(), embedder=vectors) as processor:
        assert answered(processor.metrics_url, "/readyz")[1]["why"] == "the processor takes requests"
        assert answered(processor.metrics_url, "/healthz")[0] == 200


def test_two_processors_show_their_sum() -> None:
    with vj.BatchProcessor(watched(), embedder=vectors) as one, vj.BatchProcessor(watched(), embedder=vectors) as other:
        for processor in (one, other):
            processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a"]))
        for processor in (one, other):
            assert value(page(processor.metrics_url), "vjaccel_processor_requests_total") == 2


def test_metrics_are_off_by_default() -> None:
    with vj.BatchProcessor() as processor:
        assert processor.metrics_url is None
    assert vj.BatchConfig().monitoring_config.metrics_host == "127.0.0.1"


def test_a_port_in_use_is_said_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(vj.OutputError, match=f"port {port}: address already in use"):
            vj.BatchProcessor(watched(metrics_port=port, enable_progress_logs=True, enable_health_check=True))
    assert threading.active_count() == before


@pytest.mark.parametrize("port", [-1, 65536, True, "http"])
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(vj.InvalidInput, match="metrics_port"):
        watched(metrics_port=port)


def test_a_port_may_be_none_where_others_serve() -> None:
    with vj.BatchProcessor(watched(metrics_port=None), embedder=vectors) as processor:
        assert processor.metrics_url is None
