"""Batches of texts and vectors: what `vjaccel.BatchProcessor` does with a real model, real texts and a collection on disk.

It says PASS or FAIL for two targets (1,000 embeddings a minute, 10,000 vectors a second), shows what more workers bring, runs a
mixed load, and puts what it has measured beside the figures of the design that its interface comes from. Those are of an
implementation that pretended to embed and to insert; ours does both. Needs no GPU, no network and no service.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import vjaccel as vj

GLOSSES = Path(__file__).parent / "data" / "glosses.jsonl"
QUERIES = ["how to melt butter", "a stringed instrument", "being afraid of high places"]
WORKERS = (1, 2, 4, 8)
EMBEDDINGS_A_MINUTE, VECTORS_A_SECOND = 1_000, 10_000

console = Console(highlight=False)


def main() -> None:
    """Embed, insert, search, and say how fast each was."""
    parser = argparse.ArgumentParser(description="Batches of texts and vectors, with a real model and real texts.")
    parser.add_argument("--texts", type=int, default=2000, help="how many of the 2,000 glosses (default: all)")
    rows = [json.loads(line) for line in GLOSSES.read_text(encoding="utf-8").splitlines()][: parser.parse_args().texts]
    texts = [row["text"] for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        notes = vj.Collection.open(Path(folder) / "notes", dim=384, create=True)
        embedder = vj.Embedder("local:all-MiniLM-L6-v2", device="cpu")
        with embedder, notes, vj.BatchProcessor(embedder=embedder, collections={"notes": notes}) as processor:
            embedded = embedded_with_progress(processor, texts)
            vectors = [
                vj.Vector(row["id"], vector, {"lexname": row["lexname"], "text": row["text"]})
                for row, vector in zip(rows, embedded.embeddings, strict=True)
            ]
            inserted = operated(processor, "insert", vectors=vectors, collection="notes")
            show_matches(processor)
            searched = operated(processor, "search", vectors=embedded.embeddings, collection="notes", options={"k": 10})
            like = {"vectors": embedded.embeddings, "query_vector": embedded.embeddings[0]}
            operated(processor, "similarity", **like)  # the first request finds out which batches are best
            compared = operated(processor, "similarity", **like)
            show_targets(embedded, compared)
            show_requests({"insert (durable)": inserted, "search (top 10)": searched, "similarity": compared})
            mixed(processor, texts[:200], embedded.embeddings)
            show_statistics(processor)
    scaling(texts[:400])
    beside_the_seed(texts)


def embedded_with_progress(processor: vj.BatchProcessor, texts: list[str]) -> Any:
    """The texts' vectors, with a line now and then."""
    said = [0]

    def progress(processed: int, total: int, elapsed: float) -> None:
        if processed >= said[0] + total / 4 or processed == total:
            said[0] = processed
            console.print(f"Progress: {processed}/{total} ({processed / total:.0%}), {elapsed:.1f} s")

    processor.set_progress_callback(progress)
    found = processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=texts))
    processor.set_progress_callback(None)
    return found


def operated(processor: vj.BatchProcessor, operation: Any, **request: Any) -> Any:
    """What an operation answers, none of whose items failed."""
    found = processor.process_batch_vectors(vj.BatchVectorRequest(operation=operation, **request))
    if found.errors:
        raise SystemExit(f"{operation}: {len(found.errors)} items failed; the first: {found.errors[0]}")
    return found


def show_matches(processor: vj.BatchProcessor) -> None:
    """Each query with its best matches."""
    queries = processor.process_batch_embeddings(
        vj.BatchEmbeddingRequest(texts=QUERIES, options={"role": "query"}, priority="high")
    ).embeddings
    found = operated(processor, "search", vectors=queries, collection="notes", options={"k": 2}, priority="high")
    for query, hits in zip(QUERIES, found.results, strict=True):
        console.print(f"\n[bold]{query}[/]")
        for hit in hits:
            console.print(f"  {hit.score:.3f}  {hit.metadata['text']}")


def show_targets(embedded: Any, compared: Any) -> None:
    """Whether the targets are met."""
    console.print()
    for what, rate, target, unit in (
        ("embeddings", embedded.statistics.throughput * 60, EMBEDDINGS_A_MINUTE, "a minute"),
        ("vectors", compared.statistics.throughput, VECTORS_A_SECOND, "a second"),
    ):
        verdict = "[green]PASS[/]" if rate >= target else "[red]FAIL[/]"
        console.print(f"{verdict}  {rate:,.0f} {what} {unit} (target: {target:,})")


def show_requests(found: dict[str, Any]) -> None:
    """What each request took."""
    table = Table(title="\nRequests on 384 numbers a vector", title_justify="left")
    for heading in ("operation", "items", "batches", "seconds", "items/s"):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for name, response in found.items():
        one = response.statistics
        rate = f"{one.throughput:,.0f}"
        table.add_row(name, f"{one.total:,}", str(one.batches), f"{response.processing_time:.4f}", rate)
    console.print(table)


def mixed(processor: vj.BatchProcessor, texts: list[str], vectors: np.ndarray) -> None:
    """Texts of low priority are embedded in the background while searches of critical priority go on."""
    waits: list[float] = []
    embedding = threading.Thread(
        target=processor.process_batch_embeddings,
        args=[vj.BatchEmbeddingRequest(texts=texts, batch_size=20, priority="low", enable_cache=False)],
    )
    embedding.start()
    while embedding.is_alive():
        started = time.perf_counter()
        operated(processor, "search", vectors=vectors[:10], collection="notes", priority="critical")
        waits.append(time.perf_counter() - started)
    embedding.join()
    console.print(
        f"\nMixed load: {len(texts)} texts embedded meanwhile, {len(waits):,} searches of 10 queries; "
        f"half of them within {np.median(waits) * 1e3:.1f} ms, 95% within {np.quantile(waits, 0.95) * 1e3:.1f} ms"
    )


def show_statistics(processor: vj.BatchProcessor) -> None:
    """What the processor has done."""
    found = processor.get_statistics()
    console.print(
        f"{found.total_batches:,} requests, {found.total_items:,} items, {found.success_rate:.0%} of them done, "
        f"{found.memory_usage / 1e6:,.0f} MB"
    )


def scaling(texts: list[str]) -> None:
    """What more batches at once bring: where the processors do the work, and where a service is waited for."""

    def service(batch: list[str]) -> np.ndarray:
        time.sleep(0.02)  # a service's answer, which costs this machine nothing
        return np.ones((len(batch), 8), np.float32)

    config = vj.BatchConfig(embedding_config={"enable_cache": False})
    table = Table(title="\nBatches at once, texts/s (and times one)", title_justify="left")
    for heading in ("at once", f"model, on {cores()} cores", "a service that takes 20 ms"):
        table.add_column(heading, justify="right")
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as model:
        model.embed(texts[:20])  # what is loaded when it is first used is no part of this
        places = {"model": model, "service": service}
        first: dict[str, float] = {}
        for workers in WORKERS:
            cells = []
            for provider, one in places.items():
                with vj.BatchProcessor(config, embedder={provider: one}) as processor:
                    request = vj.BatchEmbeddingRequest(texts=texts, batch_size=20, max_concurrent=workers)
                    rate = processor.process_batch_embeddings(request).statistics.throughput or 0.0
                first.setdefault(provider, rate)
                cells.append(f"{rate:,.0f} ({rate / first[provider]:.1f}x)")
            table.add_row(str(workers), *cells)
    console.print(table)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def beside_the_seed(texts: list[str]) -> None:
    """The same cases as the design's table; the texts go to a function that returns a constant array, as there."""
    constant = np.ones((1000, 384), np.float32)
    config = vj.BatchConfig(embedding_config={"enable_cache": False})
    rows = np.random.default_rng(0).standard_normal((5000, 128), dtype=np.float32)
    vectors = [vj.Vector(f"v{number}", row) for number, row in enumerate(rows)]
    table = Table(title="\nBeside the design's figures, items/s", title_justify="left")
    for heading in ("case", "the design (pretended)", "here (done)"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    with vj.BatchProcessor(config, embedder=lambda batch: constant[: len(batch)]) as processor:
        seed = {10: 1_182_502, 50: 2_570_221, 100: 2_557_866, 500: 2_974_843, 1000: 2_779_812}
        for count, figure in seed.items():
            some = (texts * (count // len(texts) + 1))[:count]
            distinct = [f"{text} {number}" for number, text in enumerate(some)]
            request = vj.BatchEmbeddingRequest(texts=distinct)
            rate = count / best(partial(processor.process_batch_embeddings, request))
            table.add_row(f"embed {count:,} texts by a constant", f"{figure:,}", f"{rate:,.0f}")
        similarity = vj.BatchVectorRequest(
            operation="similarity", vectors=rows, query_vector=rows[0], options={"metric": "dot"}, batch_size=5000
        )
        normalize = vj.BatchVectorRequest(operation="normalize", vectors=rows[:500], batch_size=500)
        for name, figure, request_, count in (
            ("similarity of 5,000 x 128", 30_000_000, similarity, 5000),
            ("normalize 500 x 128", 1_900_000, normalize, 500),
        ):
            rate = count / best(partial(processor.process_batch_vectors, request_))
            table.add_row(name, f"{figure:,}", f"{rate:,.0f}")
        names = iter(f"collection {number}" for number in range(1000))
        rate = 5000 / best(lambda: operated(processor, "insert", vectors=vectors, collection=next(names)))
        table.add_row("insert 5,000 x 128", f"{194_000_000:,}", f"{rate:,.0f}")
    console.print(table)


def best(call: Callable[[], object], times: int = 20) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
