"""How large batches are best, how long requests take, and what providers and operations can do: as far as it was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.arrays import Corpus, distance, normalize, similarity
from vjaccel.arrays.threads import thread_count
from vjaccel.batch.in_collections import Collections
from vjaccel.batch.plain import PLAIN
from vjaccel.batch.providers import Chosen, Embedders
from vjaccel.batch.requests import OPERATIONS, BatchEmbeddingRequest, BatchVectorRequest
from vjaccel.batch.responses import OperationCapabilities, ProviderCapabilities
from vjaccel.batch.settings import CHANGES
from vjaccel.batch.speeds import CALLS, SIZES, Measured, measured
from vjaccel.batch.totals import Totals
from vjaccel.collection import Collection
from vjaccel.config import BatchConfig
from vjaccel.embedding.driver import CHUNK
from vjaccel.errors import InvalidInput

__all__ = ["Sizes"]

DIM = 128
"""The width of vectors that operations are measured on, where a request does not say."""
CORPUS = 1024
"""Vectors that a search is measured in."""
ROUNDS = 8
"""Model batches that each worker of an embedder has of one of ours: enough to sort texts by length in."""


class Sizes:
    """Answers what `BatchProcessor` is asked about sizes and times."""

    def __init__(self, config: BatchConfig, embedders: Embedders, collections: Collections, totals: Totals) -> None:
        self._config = config
        self._collections = collections
        self._embedders = embedders
        self._totals = totals

    def optimal(self, what: str, items: int) -> int:
        """Items in a batch of the operation, or of the provider, `what`."""
        if isinstance(items, bool) or not isinstance(items, int) or items < 0:
            raise InvalidInput(f"total_items must be a whole number of at least 0, not {items!r}")
        if what in OPERATIONS:
            return min(self.of_vectors(what, items), self._config.vector_config.max_batch_size)
        if what not in self._embedders.names():
            known = ", ".join([*OPERATIONS, *self._embedders.names()])
            raise InvalidInput(f"{what!r} is neither an operation nor a provider here; there are {known}")
        size = self.of_texts(self._embedders.chosen(what, None), items)
        return min(size, self._config.embedding_config.max_batch_size)

    def of_texts(self, chosen: Chosen, texts: int) -> int:
        """Texts in a batch: what the embedder's workers are busy with for some model batches, as the tuner knows them."""
        rate = self._totals.rate((chosen.provider, chosen.model))
        size = CHUNK
        if rate.tokens:
            budget = chosen.embedder.get_optimal_batch_size()
            size = min(CHUNK, chosen.embedder.workers * ROUNDS * max(1, budget * rate.texts // rate.tokens))
        return max(1, min(texts, size))

    def of_vectors(self, operation: str, vectors: int) -> int:
        """Vectors in a batch."""
        if vectors <= SIZES[0]:  # one batch, which needs no measuring
            return max(1, vectors)
        # Changes are as fast in any size in memory, and on disk the fewer the better.
        return min(vectors, SIZES[-1] if operation in CHANGES else self._measured(operation, DIM).optimal)

    def estimated(self, request: BatchEmbeddingRequest | BatchVectorRequest) -> float | None:
        """Seconds."""
        if isinstance(request, BatchEmbeddingRequest):
            chosen = self._embedders.chosen(request.provider, request.model)
            rate = self._totals.rate((chosen.provider, chosen.model))
            return len(request.texts) * rate.seconds / rate.texts if rate.texts else None
        items, each = self._amount(request)
        found = self._measured(request.operation, _width(request))
        size = request.batch_size or self.of_vectors(request.operation, items)
        at_once = 1 if request.operation in CHANGES else min(request.max_concurrent or thread_count(), thread_count())
        whole, rest = divmod(items, size)
        seconds = whole * found.batch(size) + (found.batch(rest) if rest else 0.0)
        return each * seconds / max(1, min(at_once, whole))

    def _amount(self, request: BatchVectorRequest) -> tuple[int, float]:
        """The items that batches are cut of, and how much more there is to each than where it was measured."""
        if request.operation != "search":
            return len(request.vectors), 1.0
        shape = np.shape(request.query_vector)
        queries = len(request.vectors) if request.query_vector is None else int(shape[0]) if len(shape) == 2 else 1
        named = request.collection is not None
        rows = len(self._collections.there(request.collection)) if named else len(request.vectors)
        return queries, rows / CORPUS

    def providers(self) -> dict[str, ProviderCapabilities]:
        """By name, those whose embedder is there or can be made."""
        return {chosen.provider: self._provider(chosen) for chosen in self._embedders.there()}

    def operations(self) -> dict[str, OperationCapabilities]:
        """By name."""
        return {operation: self._operation(operation) for operation in OPERATIONS}

    def _provider(self, chosen: Chosen) -> ProviderCapabilities:
        config, own = self._config.embedding_config, self._embedders.settings(chosen.provider)
        embedder, rate = chosen.embedder, self._totals.rate((chosen.provider, chosen.model))
        optimal = min(self.of_texts(chosen, CHUNK), config.max_batch_size)
        remote = chosen.provider not in ("local", "custom")
        return ProviderCapabilities(
            max_batch_size=config.max_batch_size,
            optimal_batch_size=optimal,
            max_concurrent_batch=min(
                config.max_concurrent_batch, own.max_concurrent_batch or config.max_concurrent_batch
            ),
            estimated_latency=optimal * rate.batch_seconds / rate.texts if rate.texts else None,
            supports_caching=embedder.has_cache,
            supports_retry=remote,
            rate_limit_rpm=embedder.options.requests_per_minute,
            rate_limit_tpm=embedder.options.tokens_per_minute,
            memory_requirement=None if embedder.dim is None else 4 * embedder.dim * optimal,
        )

    def _operation(self, operation: str) -> OperationCapabilities:
        config, found = self._config.vector_config, self._measured(operation, DIM)
        optimal = min(self.of_vectors(operation, config.max_batch_size), config.max_batch_size)
        results = DIM if operation == "normalize" else 0 if operation in CHANGES else 1
        parallel = config.enable_parallel and operation not in CHANGES
        return OperationCapabilities(
            max_batch_size=config.max_batch_size,
            optimal_batch_size=optimal,
            max_concurrent_batch=config.max_concurrent_batch if parallel else 1,
            estimated_latency=found.batch(optimal),
            supports_parallel=parallel,
            supports_simd=config.enable_simd and operation not in CHANGES,
            memory_requirement=4 * optimal * (DIM + results),
        )

    def _measured(self, operation: str, dim: int) -> Measured:
        backend = None if self._config.vector_config.enable_simd else PLAIN

        def make(size: int) -> Callable[[], object]:
            rows = np.resize(np.linspace(-1.0, 1.0, 4099, dtype=np.float32), (size, dim))
            return _call(operation, rows, backend)

        return measured((operation, dim, backend, thread_count()), make)


def _call(operation: str, rows: np.ndarray, backend: Any) -> Callable[[], object]:
    """One batch of an operation on `rows`."""
    query = rows[0].copy()
    if operation == "similarity":
        return lambda: similarity(rows, query, backend=backend)
    if operation == "distance":
        return lambda: distance(rows, query, backend=backend)
    if operation == "normalize":
        return lambda: normalize(rows, backend=backend)
    if operation in CHANGES:
        return _change(operation, rows)
    corpus = Corpus(np.resize(rows, (CORPUS, rows.shape[1])), backend=backend)
    return lambda: corpus.topk(rows, 10)


def _change(operation: str, rows: np.ndarray) -> Callable[[], object]:
    """A batch of a change of a collection in memory, another collection in each call."""
    ids = [str(number) for number in range(len(rows))]

    def filled() -> Collection:
        collection = Collection("measured", rows.shape[1])
        if operation != "insert":
            collection.insert(ids, rows)
        return collection

    some = iter([filled() for _ in range(CALLS)])
    if operation == "delete":
        return lambda: next(some).delete(ids)
    return lambda: getattr(next(some), operation)(ids, rows)


def _width(request: BatchVectorRequest) -> int:
    if request.query_vector is not None:
        return int(np.shape(request.query_vector)[-1])
    shape: tuple[int, ...] = getattr(request.vectors, "shape", ())
    return int(shape[1]) if len(shape) == 2 else DIM
