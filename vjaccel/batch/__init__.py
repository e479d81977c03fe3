"""Batches of texts and vectors, under one configuration: `BatchProcessor` and what it is asked and answers.

It is a thin layer: the work is done by `vjaccel.arrays`, `vjaccel.collection` and `vjaccel.embedding`.
"""

from vjaccel.batch.processor import BatchProcessor
from vjaccel.batch.requests import BatchEmbeddingRequest, BatchVectorRequest, Vector
from vjaccel.batch.responses import (
    BatchEmbeddingResponse,
    BatchStatistics,
    BatchVectorResponse,
    Health,
    OperationCapabilities,
    ProcessorStatistics,
    ProviderCapabilities,
)

__all__ = [
    "BatchEmbeddingRequest",
    "BatchEmbeddingResponse",
    "BatchProcessor",
    "BatchStatistics",
    "BatchVectorRequest",
    "BatchVectorResponse",
    "Health",
    "OperationCapabilities",
    "ProcessorStatistics",
    "ProviderCapabilities",
    "Vector",
]
