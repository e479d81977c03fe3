"""What batches cost over the calls that they make, and what their buffers save."""

from __future__ import annotations

import tracemalloc
from itertools import count

import numpy as np
from rounds import contest

import vjaccel as vj

BAR = "batches"
ROWS = np.random.default_rng(0).standard_normal((5000, 128), dtype=np.float32)
QUERY = ROWS[0].copy()


def test_1000_texts_of_a_provider_that_answers_at_once_in_a_batch(benchmark) -> None:
    texts, answer = [f"this is text number {number}" for number in range(1000)], np.ones((1024, 384), np.float32)
    config = vj.BatchConfig(embedding_config={"enable_cache": False})
    request = vj.BatchEmbeddingRequest(texts=texts)
    with (
        vj.Embedder(lambda some: answer[: len(some)]) as embedder,
        vj.BatchProcessor(config, embedder=embedder) as processor,
    ):
        contest(
            benchmark,
            BAR,
            {
                "vjaccel, a request": lambda: processor.process_batch_embeddings(request),
                "limit: its embedder's own call": lambda: embedder.embed(texts),
            },
            rounds=200,
            work=1000,
            warmup=5,
        )


def test_similarity_of_one_query_to_5000_by_128_in_a_batch(benchmark) -> None:
    request = vj.BatchVectorRequest(
        operation="similarity", vectors=ROWS, query_vector=QUERY, options={"metric": "dot"}, batch_size=5000
    )
    with vj.BatchProcessor() as processor:
        contest(
            benchmark,
            BAR,
            {
                "vjaccel, a request": lambda: processor.process_batch_vectors(request),
                "numpy x @ q": lambda: ROWS @ QUERY,
                "limit: vjaccel.similarity": lambda: vj.similarity(ROWS, QUERY, metric="dot"),
            },
            rounds=300,
            work=5000,
            warmup=5,
        )


def test_normalize_500_by_128_in_a_batch(benchmark) -> None:
    request = vj.BatchVectorRequest(operation="normalize", vectors=ROWS[:500], batch_size=500)
    with vj.BatchProcessor() as processor:
        contest(
            benchmark,
            BAR,
            {
                "vjaccel, a request": lambda: processor.process_batch_vectors(request),
                "limit: vjaccel.normalize": lambda: vj.normalize(ROWS[:500]),
            },
            rounds=300,
            work=500,
            warmup=5,
        )


def test_insert_5000_by_128_into_a_collection_in_memory_in_a_batch(benchmark) -> None:
    vectors = [vj.Vector(f"v{number}", row) for number, row in enumerate(ROWS)]
    ids, names = [vector.id for vector in vectors], count()
    with vj.BatchProcessor() as processor:

        def ours() -> None:
            processor.process_batch_vectors(
                vj.BatchVectorRequest(operation="insert", vectors=vectors, collection=f"{next(names)}")
            )

        contest(
            benchmark,
            BAR,
            {
                "vjaccel, a request of Vectors": ours,
                "limit: Collection.insert of an array": lambda: vj.Collection("bare", 128).insert(ids, ROWS),
            },
            rounds=20,
            work=5000,
        )


def test_lists_of_vectors_with_the_memory_pool(benchmark) -> None:
    """Its extra figures are what was allocated, at the peak and how often, with and without the pool."""
    lists = list(ROWS)
    processors = {
        f"vjaccel, {'with' if enabled else 'without'} the pool": vj.BatchProcessor(
            vj.BatchConfig(vector_config={"enable_parallel": False}, performance_config={"enable_memory_pool": enabled})
        )
        for enabled in (True, False)
    }
    request = vj.BatchVectorRequest(operation="similarity", vectors=lists, query_vector=QUERY, batch_size=500)
    contest(
        benchmark,
        BAR,
        {
            name: (lambda processor=processor: processor.process_batch_vectors(request))  # type: ignore[misc]
            for name, processor in processors.items()
        },
        rounds=20,
        work=5000,
    )
    for name, processor in processors.items():
        tracemalloc.start()
        processor.process_batch_vectors(request)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found = processor.get_statistics()
        benchmark.extra_info[name] = (
            f"{found.buffers_allocated} buffers made, {found.buffers_reused} used again, {peak / 1e6:.2f} MB at the peak"
        )
        processor.close()
