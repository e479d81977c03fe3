"""Progress: items as they are finished, in order of time, to the last one."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.batch.letters import Letters

Told = tuple[int, int, float]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_progress_counts_finished_texts_to_the_total(batch_size: int) -> None:
    told: list[Told] = []
    with vj.BatchProcessor(embedder=Letters()) as processor:
        processor.set_progress_callback(lambda *how_far: told.append(how_far))
        texts = [*"abcdefgh", None, "bad", "a"]
        processor.process_batch_embeddings(
            vj.BatchEmbeddingRequest(texts=texts, batch_size=batch_size, max_concurrent=4)
        )
    done, totals, seconds = zip(*told, strict=True)
    assert list(done) == sorted(set(done))
    assert (done[-1], set(totals)) == (11, {11})
    assert list(seconds) == sorted(seconds)


@pytest.mark.parametrize("operation", ["similarity", "normalize", "search", "insert"])
def test_progress_counts_finished_vectors_batch_by_batch_to_the_total(operation: str) -> None:
    told: list[Told] = []
    queries = {"similarity": [1.0, 0.0], "search": np.ones((52, 2))}  # each of them in eight batches
    rows = [None, *(vj.Vector(f"{i}", [float(i), 1.0]) for i in range(1, 50))]
    with vj.BatchProcessor() as processor:
        processor.set_progress_callback(lambda *how_far: told.append(how_far))
        processor.process_batch_vectors(
            vj.BatchVectorRequest(
                operation=operation,  # type: ignore[arg-type]  # it is one
                vectors=rows,
                query_vector=queries.get(operation),
                collection="notes" if operation == "insert" else None,
                batch_size=7,
                max_concurrent=3,
            )
        )
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert (len(told), *told[-1][:2]) == (8, 50, 50)


def test_a_batch_that_is_done_again_since_its_worker_died_is_not_told_of_twice() -> None:
    told: list[Told] = []
    deaths = iter([True])

    def embed(texts: list[str]) -> np.ndarray:
        if "k" in texts and next(deaths, False):
            raise SystemExit
        return np.ones((len(texts), 2))

    with vj.Embedder(embed, batch_tokens=1) as embedder, vj.BatchProcessor(embedder=embedder) as processor:
        processor.set_progress_callback(lambda *how_far: told.append(how_far))
        found = processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=[*"abcdefghijkl"], batch_size=12))
    assert found.errors == ()
    assert [done for done, _, _ in told] == list(range(1, 13))


def test_a_callback_that_raises_is_logged_and_hurts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with vj.BatchProcessor(embedder=Letters()) as processor, caplog.at_level(logging.WARNING, "vjaccel.batch"):
        processor.set_progress_callback(lambda processed, total, elapsed: 1 / 0)
        found = processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a", "b"], batch_size=1))
    assert found.errors == ()
    assert [record.message for record in caplog.records] == [
        "the progress callback has raised; the request goes on"
    ] * 2


def test_a_callback_may_ask_for_the_statistics() -> None:
    active: list[int] = []
    with vj.BatchProcessor() as processor:
        processor.set_progress_callback(lambda *_: active.append(processor.get_statistics().active_batches))
        processor.process_batch_vectors(
            vj.BatchVectorRequest(operation="normalize", vectors=np.ones((9, 2)), batch_size=2, max_concurrent=2)
        )
    assert set(active) == {1}


def test_none_ends_the_progress_and_what_is_no_function_is_refused() -> None:
    told: list[Told] = []
    with vj.BatchProcessor(embedder=Letters()) as processor:
        processor.set_progress_callback(lambda *how_far: told.append(how_far))
        processor.set_progress_callback(None)
        processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a"]))
        with pytest.raises(vj.InvalidType, match="callback is a function of three, not int"):
            processor.set_progress_callback(3)  # type: ignore[arg-type]  # that is what is tried
    assert told == []
