"""Batches of texts and of vectors: what a user holds. The work itself is in arrays, collection and embedding."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from vjaccel.batch.asked import asked
from vjaccel.batch.buffers import Buffers
from vjaccel.batch.embeddings import Embedding
from vjaccel.batch.garbage import collection_deferred
from vjaccel.batch.in_collections import Collections
from vjaccel.batch.in_thread import in_thread
from vjaccel.batch.load import processors
from vjaccel.batch.meter import Meter, resident_bytes
from vjaccel.batch.progress import Finished, ProgressCallback
from vjaccel.batch.providers import Embedders, Given
from vjaccel.batch.requests import BatchEmbeddingRequest, BatchVectorRequest
from vjaccel.batch.responses import (
    BatchEmbeddingResponse,
    BatchVectorResponse,
    Health,
    OperationCapabilities,
    ProcessorStatistics,
    ProviderCapabilities,
)
from vjaccel.batch.sampled import Sampler
from vjaccel.batch.settings import Plan, Settings
from vjaccel.batch.sizes import Sizes
from vjaccel.batch.totals import Totals
from vjaccel.batch.watch import Watch, judged, memory_left
from vjaccel.batch.work import Work
from vjaccel.batch.workers import Job, Workers
from vjaccel.closing import AsyncClosing
from vjaccel.collection import Collection
from vjaccel.config import BatchConfig, MonitoringConfig
from vjaccel.embedding import ItemError
from vjaccel.errors import BatchTimeout, InvalidType

if TYPE_CHECKING:
    from vjaccel.observe.monitor import Monitor

__all__ = ["BatchProcessor"]

TIMEOUT = BatchTimeout.code

Response = TypeVar("Response", BatchEmbeddingResponse, BatchVectorResponse)


class BatchProcessor(AsyncClosing):
    """Embeds texts, and works on vectors, in batches that run at once; several threads and tasks may use it.

    Parameters
    ----------
    config : BatchConfig, optional
        By default that of the environment.
    embedder : Embedder, callable, or mapping of provider to one of them, optional
        A function of a list of texts is the provider ``custom``. Embedders stay their owner's to close. Other providers are
        made as ``embedding_config.provider_settings`` describes them.
    collections : mapping of str to Collection, optional
        By the names that requests call them by; they stay their owner's to close. One that is not there is made in memory by
        the first insert into it.

    Raises
    ------
    InvalidInput
        The configuration of the environment cannot be followed.

    Examples
    --------
    >>> import vjaccel as vj
    >>> with vj.BatchProcessor(embedder=lambda texts: [[float(len(text))] for text in texts]) as processor:
    ...     processor.process_batch_embeddings(vj.BatchEmbeddingRequest(texts=["a", "bb"])).embeddings
    array([[1.],
           [2.]], dtype=float32)
    """

    def __init__(
        self,
        config: BatchConfig | None = None,
        *,
        embedder: Given | Mapping[str, Given] | None = None,
        collections: Mapping[str, Collection] | None = None,
    ) -> None:
        if config is not None and not isinstance(config, BatchConfig):
            raise InvalidType(f"config is a BatchConfig, as BatchConfig.load gives it, not {type(config).__name__}")
        self._config = config = config or BatchConfig()
        performance = config.performance_config
        affinity = performance.cpu_affinity
        self._totals = Totals()
        self._monitor: Monitor | None = None
        self._collections = Collections(collections)
        # The last that can be refused: it opens the cache.
        self._embedders = Embedders(config.embedding_config, embedder)
        self._settings = Settings(config)
        self._sizes = Sizes(config, self._embedders, self._collections, self._totals)
        self._buffers = Buffers(performance.memory_pool_size if performance.enable_memory_pool else 0)
        self._callback: ProgressCallback | None = None
        threads = config.vector_config.worker_count or len(processors())
        self._texts = Workers(config.embedding_config.max_concurrent_batch, "embeddings", affinity, self._around)
        self._vectors = Workers(threads, "vectors", affinity, self._around)
        if config.monitoring_config.enable_metrics:
            # Before the threads below: where the port is in use, there are none to end.
            self._monitor = self._monitored(config.monitoring_config)
        profiling = performance.enable_profiling
        self._sampler = Sampler(performance.profiling_folder, performance.profiling_interval) if profiling else None
        self._watch = Watch(config.monitoring_config, self.get_statistics, self.get_health)

    # Requests

    def process_batch_embeddings(self, request: BatchEmbeddingRequest) -> BatchEmbeddingResponse:
        """Embed the texts of a request.

        Raises
        ------
        UnknownProvider, InvalidInput
            The provider is not there, or what is asked for it cannot do; the processor is closed.
        BatchTimeout
            The request's time was up; it carries the response as far as it had come.
        """
        return self._embedded(request, threading.Event())

    def process_batch_vectors(self, request: BatchVectorRequest) -> BatchVectorResponse:
        """Do the operation of a request.

        Raises
        ------
        InvalidInput
            What is asked for does not go together; the processor is closed.
        BatchTimeout
            The request's time was up; it carries the response as far as it had come.
        """
        return self._operated(request, threading.Event())

    async def aprocess_batch_embeddings(self, request: BatchEmbeddingRequest) -> BatchEmbeddingResponse:
        """`process_batch_embeddings`, without blocking the event loop. When the task is cancelled, no other batch is begun."""
        return await in_thread(self._embedded, request)

    async def aprocess_batch_vectors(self, request: BatchVectorRequest) -> BatchVectorResponse:
        """`process_batch_vectors`, without blocking the event loop. When the task is cancelled, no other batch is begun."""
        return await in_thread(self._operated, request)

    def set_progress_callback(self, callback: ProgressCallback | None) -> None:
        """Have ``callback(processed, total, elapsed)`` called as the items of a request are finished; None ends that.

        It is called in the threads that work, one call after the other for one request, last with ``processed == total``. What
        it raises is logged.
        """
        if callback is not None and not callable(callback):
            raise InvalidType(f"callback is a function of three, not {type(callback).__name__}")
        self._callback = callback

    # What it has, what it can and what it has done

    @property
    def collections(self) -> dict[str, Collection]:
        """Those that it was given, and those that inserts have made."""
        return dict(self._collections.known)

    def get_optimal_batch_size(self, operation: str, total_items: int) -> int:
        """Items in a batch of an operation, or of a provider, that `total_items` are best cut into.

        It is what batches of this size took here: of operations measured when first asked, of providers learned by the tuner.
        """
        return self._sizes.optimal(operation, total_items)

    def estimate_processing_time(self, request: BatchEmbeddingRequest | BatchVectorRequest) -> float | None:
        """Seconds that a request would take, by the same measurements; None for a model that has not embedded anything yet."""
        return self._sizes.estimated(request)

    def provider_capabilities(self) -> dict[str, ProviderCapabilities]:
        """Of the providers that are given, or configured with a model."""
        return self._sizes.providers()

    def operation_capabilities(self) -> dict[str, OperationCapabilities]:
        """Of the vector operations. The first call measures them."""
        return self._sizes.operations()

    def get_statistics(self) -> ProcessorStatistics:
        """What was done until now."""
        totals = self._totals
        with totals.lock:
            lookups = totals.cache_hits + totals.cache_misses
            return ProcessorStatistics(
                total_batches=totals.batches,
                total_items=totals.items,
                total_processing_time=totals.seconds,
                average_throughput=totals.processed / totals.seconds if totals.seconds else None,
                average_latency=totals.seconds / totals.batches if totals.batches else None,
                success_rate=totals.processed / totals.items if totals.items else None,
                cache_hit_rate=totals.cache_hits / lookups if lookups else None,
                memory_usage=resident_bytes(),
                active_batches=totals.active,
                abandoned_batches=self._texts.left() + self._vectors.left(),
                concurrency={"embeddings": self._texts.allowed, "vectors": self._vectors.allowed},
                buffers_allocated=self._buffers.allocated,
                buffers_reused=self._buffers.reused,
                buffers_held=self._buffers.held,
            )

    @property
    def metrics_url(self) -> str | None:
        """Where metrics are served, as ``http://127.0.0.1:9464``; None where they are not."""
        return None if self._monitor is None else self._monitor.url

    def get_health(self) -> Health:
        """Whether work goes on and memory is left."""
        pools = (self._texts, self._vectors)
        still = min(pool.still() for pool in pools)
        return judged(
            active=self._totals.active, still=still, memory_left=memory_left(), dead=sum(pool.dead() for pool in pools)
        )

    # Holding and letting go

    def close(self) -> None:
        """Refuse new requests, wait for those that run, end the threads. Closing twice is fine."""
        self._totals.close()
        self._texts.close()
        self._vectors.close()
        self._watch.close()
        if self._sampler is not None:
            self._sampler.close()
        self._embedders.close()
        if self._monitor is not None:
            self._monitor.close()

    # Below

    def _embedded(self, request: BatchEmbeddingRequest, stopped: threading.Event) -> BatchEmbeddingResponse:
        if not isinstance(request, BatchEmbeddingRequest):
            raise InvalidType(f"the request is a BatchEmbeddingRequest, not {type(request).__name__}")
        with self._totals.request("embeddings") as under_way:
            meter = Meter()
            under_way.items = len(request.texts)
            chosen = self._embedders.chosen(request.provider, request.model)
            plan = self._settings.embedding(request, chosen, self._sizes.of_texts(chosen, len(request.texts)))
            finished = Finished(len(request.texts), self._callback)
            work = Embedding(request, chosen, plan.batch_size, plan.use_cache, finished)
            errors = self._done(self._texts, work, plan, request.priority, finished, stopped)
            statistics = meter.statistics(work, errors, plan)
            response = BatchEmbeddingResponse(
                work.embeddings, chosen.model, chosen.provider, meter.seconds(), work.tokens, work.cache_hits,
                work.cache_misses, errors, statistics, request.metadata,
            )  # fmt: skip
            self._totals.embedded(response)
        return _in_time(response, plan)

    def _operated(self, request: BatchVectorRequest, stopped: threading.Event) -> BatchVectorResponse:
        if not isinstance(request, BatchVectorRequest):
            raise InvalidType(f"the request is a BatchVectorRequest, not {type(request).__name__}")
        with self._totals.request(request.operation) as under_way:
            meter = Meter()
            vectors, items, work_of = asked(request, self._collections, self._buffers)
            under_way.items = len(vectors)
            plan = self._settings.vectors(request, vectors, self._sizes.of_vectors(request.operation, items))
            finished = Finished(len(vectors), self._callback)
            work = work_of(plan, finished)
            errors = self._done(self._vectors, work, plan, request.priority, finished, stopped)
            statistics = meter.statistics(work, errors, plan)
            response = BatchVectorResponse(
                request.operation, work.results(), work.scores(), meter.seconds(), errors, statistics
            )
            self._totals.add(response)
        return _in_time(response, plan)

    def _done(
        self, workers: Workers, work: Work[Any], plan: Plan, priority: str, finished: Finished, stopped: threading.Event
    ) -> tuple[ItemError, ...]:
        """Do the batches of a request: the errors of its items."""
        until = None if plan.timeout is None else time.monotonic() + plan.timeout
        work.job = Job(work.pieces(), plan.at_once, priority, until, stopped, work.can_be_left)
        try:
            workers.run(work.job)
            work.end()
            errors = work.errors(TIMEOUT, "the request's time was up before it was done")
            if not any(error.code == TIMEOUT for error in errors):
                finished.complete()
        finally:
            finished.end()
        return errors

    def _monitored(self, config: MonitoringConfig) -> Monitor:
        from vjaccel.observe.monitor import Load, Monitor, Source

        def load() -> Load:
            return Load(self._totals.active, self._texts.waiting() + self._vectors.waiting())

        source = Source(load, lambda: self.get_health().problems)
        return Monitor(config.metrics_port, config.metrics_host, interval=config.metrics_interval, source=source)

    @contextmanager
    def _around(self) -> Iterator[None]:
        """What each batch is inside of."""
        with ExitStack() as stack:
            if self._config.performance_config.gc_optimization:
                stack.enter_context(collection_deferred())
            if self._sampler is not None:
                stack.enter_context(self._sampler.at_work())
            yield


def _in_time(response: Response, plan: Plan) -> Response:
    if plan.timeout is not None and any(error.code == TIMEOUT for error in response.errors):
        raise BatchTimeout(response, plan.timeout)
    return response
