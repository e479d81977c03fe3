"""The embedding side: texts into vectors, by local models or anyone's provider.

`Embedder` is the pipeline; `providers.protocol` is what a provider gives it.
"""

from vjaccel.embedding.embedder import Embedder
from vjaccel.embedding.estimate import Estimate
from vjaccel.embedding.providers.protocol import BatchFailed, ModelIdentity, Reply
from vjaccel.embedding.result import DeviceStatistics, EmbeddingResult, EmbeddingStatistics, ItemError, Progress

__all__ = [
    "BatchFailed",
    "DeviceStatistics",
    "Embedder",
    "EmbeddingResult",
    "EmbeddingStatistics",
    "Estimate",
    "ItemError",
    "ModelIdentity",
    "Progress",
    "Reply",
]
