"""The array side: the backend contract, the registry, and the vector operations.

Read `protocol` first; `ops` is what users call, `certify` what makes search exact, with
`certified_range` and `certified_pairs` beside it.
"""

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.explain import Explanation, PassedOver, explain
from vjaccel.arrays.matching import pairs, within
from vjaccel.arrays.ops import distance, normalize, paired_distance, paired_similarity, similarity, topk
from vjaccel.arrays.protocol import Backend, Capabilities, Matches, Metric, Pairs, TopK
from vjaccel.arrays.quantized import Quantized, quantize
from vjaccel.arrays.registry import BackendInfo, backends, get_backend, set_backend, use_backend
from vjaccel.arrays.threads import set_threads

__all__ = [
    "Backend",
    "BackendInfo",
    "Capabilities",
    "Corpus",
    "Explanation",
    "Matches",
    "Metric",
    "Pairs",
    "PassedOver",
    "Quantized",
    "TopK",
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
