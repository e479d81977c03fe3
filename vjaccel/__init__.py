"""Texts to vectors, and exact operations on vectors, on whatever hardware is there.

The public names below are loaded when first used: importing this package imports none of the array libraries.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vjaccel.arrays import (
        Backend,
        BackendInfo,
        Corpus,
        Explanation,
        Matches,
        Metric,
        Pairs,
        PassedOver,
        Quantized,
        TopK,
        backends,
        distance,
        explain,
        get_backend,
        normalize,
        paired_distance,
        paired_similarity,
        pairs,
        quantize,
        set_backend,
        set_threads,
        similarity,
        topk,
        use_backend,
        within,
    )
    from vjaccel.batch import BatchEmbeddingRequest, BatchProcessor, BatchVectorRequest, Vector
    from vjaccel.collection import BatchResult, Collection, Hit, Rows, ShardedCollection
    from vjaccel.config import BatchConfig
    from vjaccel.embedding import Embedder, EmbeddingResult, EmbeddingStatistics, ItemError
    from vjaccel.errors import (
        BackendUnavailable,
        BatchTimeout,
        ClusterError,
        CollectionConflict,
        CollectionErrors,
        EmbeddingErrors,
        FileFormatError,
        InvalidInput,
        InvalidType,
        MissingExtra,
        ModelUnavailable,
        NotSupported,
        OutputError,
        ProviderRefused,
        ShardUnavailable,
        TooManyErrors,
        UnknownBackend,
        UnknownProvider,
        VjaccelError,
    )

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendInfo",
    "BackendUnavailable",
    "BatchConfig",
    "BatchEmbeddingRequest",
    "BatchProcessor",
    "BatchResult",
    "BatchTimeout",
    "BatchVectorRequest",
    "ClusterError",
    "Collection",
    "CollectionConflict",
    "CollectionErrors",
    "Corpus",
    "Embedder",
    "EmbeddingErrors",
    "EmbeddingResult",
    "EmbeddingStatistics",
    "Explanation",
    "FileFormatError",
    "Hit",
    "InvalidInput",
    "InvalidType",
    "ItemError",
    "Matches",
    "Metric",
    "MissingExtra",
    "ModelUnavailable",
    "NotSupported",
    "OutputError",
    "Pairs",
    "PassedOver",
    "ProviderRefused",
    "Quantized",
    "Rows",
    "ShardUnavailable",
    "ShardedCollection",
    "TooManyErrors",
    "TopK",
    "UnknownBackend",
    "UnknownProvider",
    "Vector",
    "VjaccelError",
    "backends",
    "distance",
    "explain",
    "get_backend",
    "normalize",
    "paired_distance",
    "paired_similarity",
    "pairs",
    "quantize",
    "set_backend",
    "set_threads",
    "similarity",
    "topk",
    "use_backend",
    "within",
]

# Whoever uses this library hears of it what their logging is set up for, and nothing otherwise.
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    **dict.fromkeys(("BatchConfig",), "vjaccel.config"),
    **dict.fromkeys(("BatchEmbeddingRequest", "BatchProcessor", "BatchVectorRequest", "Vector"), "vjaccel.batch"),
    **dict.fromkeys(("Embedder", "EmbeddingResult", "EmbeddingStatistics", "ItemError"), "vjaccel.embedding"),
    **dict.fromkeys(("BatchResult", "Collection", "Hit", "Rows", "ShardedCollection"), "vjaccel.collection"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'vjaccel' has no attribute {name!r}")
    from vjaccel import errors

    if hasattr(errors, name):
        value: object = getattr(errors, name)
    else:
        value = getattr(import_module(_HOMES.get(name, "vjaccel.arrays")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
