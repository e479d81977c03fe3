"""What a `BatchProcessor` answers. Times are seconds, rates are 0 to 1, memory is bytes; None is what nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from vjaccel.config import Operation
from vjaccel.embedding import ItemError

__all__ = [
    "BatchEmbeddingResponse",
    "BatchStatistics",
    "BatchVectorResponse",
    "Health",
    "OperationCapabilities",
    "ProcessorStatistics",
    "ProviderCapabilities",
]


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """What one request took.

    Attributes
    ----------
    start, end : datetime
        In UTC.
    total, processed, failed : int
        Items: texts, vectors, or queries. ``total`` is the sum of the other two.
    throughput : float or None
        Items processed in a second.
    average_latency : float or None
        Seconds that a batch took, without what it waited.
    memory : int
        The process' resident memory at the end.
    cpu : float
        Processors that this process, all its threads together, kept busy meanwhile.
    batches, batch_size, concurrency : int
        In how many batches, of how many items, and how many there were at once at most.
    not_applicable : mapping
        Settings that could do nothing for this request, and why, by their names.
    """

    start: datetime
    end: datetime
    total: int
    processed: int
    failed: int
    throughput: float | None
    average_latency: float | None
    memory: int
    cpu: float
    batches: int
    batch_size: int
    concurrency: int
    not_applicable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BatchEmbeddingResponse:
    """The vectors of texts.

    Attributes
    ----------
    embeddings : ndarray, shape (n, dim), float32
        In the texts' order; a row of NaN for a text that failed.
    model, provider : str
    processing_time : float
    total_tokens : int or None
        Of the texts that the model embedded.
    cache_hits, cache_misses : int
    errors : tuple of ItemError
        By index: ``INVALID_TEXT``, ``EMBEDDING_GENERATION_FAILED`` (the embedder's own code is in the message), ``TIMEOUT`` or
        ``WORKER_DIED``.
    statistics : BatchStatistics
    metadata : mapping
        The request's.
    """

    embeddings: np.ndarray
    model: str
    provider: str
    processing_time: float
    total_tokens: int | None
    cache_hits: int
    cache_misses: int
    errors: tuple[ItemError, ...]
    statistics: BatchStatistics
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchVectorResponse:
    """What became of vectors.

    Attributes
    ----------
    operation : str
    results
        ``insert``, ``update``, ``delete``: the ids that were done, list of str; ``search``: a list of `Hit` for each query;
        ``normalize``: ndarray (n, dim), a row of NaN for a vector that failed; otherwise None.
    scores : ndarray, shape (n,), or None
        ``similarity``, ``distance``: in the vectors' order, NaN for one that failed.
    processing_time : float
    errors : tuple of ItemError
        By index.
    statistics : BatchStatistics
    """

    operation: Operation
    results: Any
    scores: np.ndarray | None
    processing_time: float
    errors: tuple[ItemError, ...]
    statistics: BatchStatistics


@dataclass(frozen=True, slots=True)
class ProcessorStatistics:
    """What a processor has done since it was made.

    Attributes
    ----------
    total_batches, total_items : int
        Requests that have ended, and their items. Of one that has raised all items count as failed.
    total_processing_time : float
        The sum of what they took.
    average_throughput : float or None
        Items processed in a second of that.
    average_latency : float or None
        Seconds a request took.
    success_rate, cache_hit_rate : float or None
    memory_usage : int
        The process' resident memory now.
    active_batches : int
        Requests that are under way or wait.
    abandoned_batches : int
        Batches that go on though the time of their requests was up; nothing of them is kept.
    concurrency : mapping of str to int
        Batches that may run at once now, by what the load allows: of ``embeddings`` and of ``vectors``.
    buffers_allocated, buffers_reused, buffers_held : int
        Buffers that had to be made, that were there, and bytes that are kept for others.
    """

    total_batches: int
    total_items: int
    total_processing_time: float
    average_throughput: float | None
    average_latency: float | None
    success_rate: float | None
    cache_hit_rate: float | None
    memory_usage: int
    active_batches: int
    abandoned_batches: int
    concurrency: Mapping[str, int]
    buffers_allocated: int
    buffers_reused: int
    buffers_held: int


@dataclass(frozen=True, slots=True)
class ProviderCapabilities:
    """What a provider does in batches, as it is set up here and as far as it was measured.

    Attributes
    ----------
    max_batch_size, optimal_batch_size, max_concurrent_batch : int
    estimated_latency : float or None
        Seconds that a batch of the optimal size takes; None before any was embedded.
    supports_caching, supports_retry : bool
    rate_limit_rpm, rate_limit_tpm : int or None
        None is no limit of our own.
    memory_requirement : int or None
        Bytes of the vectors of a batch of the optimal size; None where their width is not known.
    """

    max_batch_size: int
    optimal_batch_size: int
    max_concurrent_batch: int
    estimated_latency: float | None
    supports_caching: bool
    supports_retry: bool
    rate_limit_rpm: int | None
    rate_limit_tpm: int | None
    memory_requirement: int | None


@dataclass(frozen=True, slots=True)
class OperationCapabilities:
    """What an operation does in batches, measured here on vectors of 128 numbers.

    Attributes
    ----------
    max_batch_size, optimal_batch_size, max_concurrent_batch : int
    estimated_latency : float
        Seconds that a batch of the optimal size takes.
    supports_parallel : bool
        Whether several batches run at once; those that change a collection do not.
    supports_simd : bool
        Whether compiled kernels do it.
    memory_requirement : int
        Bytes of a batch of the optimal size, and of its results.
    """

    max_batch_size: int
    optimal_batch_size: int
    max_concurrent_batch: int
    estimated_latency: float
    supports_parallel: bool
    supports_simd: bool
    memory_requirement: int


class Health(NamedTuple):
    """Whether work goes on, and what is wrong where it does not."""

    ok: bool
    problems: tuple[str, ...]
