"""Runs of one embedder that overlap: what one of them ends is not the other's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import vjaccel as vj
from tests.faults.server import FaultServer


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_run_that_begins_while_another_is_being_closed_is_not_stopped_with_it() -> None:
    def texts() -> Iterator[str]:
        yield "first"
        for i in range(5):
            yield f"text {i}"

    with FaultServer() as server, vj.Embedder("openai:m", base_url=server.url, workers=4) as embedder:
        embedder.embed(["warm"])
        stream = embedder.stream(texts(), chunk_size=1)
        assert next(stream).ok.all()
        server.manner.latency = 1.0
        time.sleep(0.1)
        closing = threading.Thread(target=stream.close)  # type: ignore[attr-defined]  # it is a generator
        closing.start()
        time.sleep(0.2)
        assert embedder.embed([f"other {i}" for i in range(5)]).ok.all()
        closing.join()


def test_many_short_runs_of_several_threads_all_get_their_vectors() -> None:
    with FaultServer() as server, vj.Embedder("openai:m", base_url=server.url, workers=4) as embedder:
        failed: list[object] = []

        def work(number: int) -> None:
            for i in range(40):
                failed.extend(embedder.embed([f"text {number} {i}"], on_error="collect").errors)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
