"""The array side: the backend contract, the registry, and the vector operations.

Read `protocol` first; `ops` is what users call, `certify` what makes search exact.
"""

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.matching import pairs, within
from vjaccel.arrays.ops import distance, normalize, paired_distance, paired_similarity, similarity, topk
from vjaccel.arrays.protocol import Backend, Capabilities, Matches, Metric, Pairs, TopK
from vjaccel.arrays.registry import BackendInfo, backends, get_backend, set_backend, use_backend

__all__ = [
    "Backend",
    "BackendInfo",
    "Capabilities",
    "Corpus",
    "Matches",
    "Metric",
    "Pairs",
    "TopK",
    "backends",
    "distance",
    "get_backend",
    "normalize",
    "paired_distance",
    "paired_similarity",
    "pairs",
    "set_backend",
    "similarity",
    "topk",
    "use_backend",
    "within",
]
