"""Other libraries at the same work, each in the way that its own documentation shows, on float32 and what else it has."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from vjaccel.benchmark.cases import threshold
from vjaccel.benchmark.contender import Call
from vjaccel.benchmark.results import Case
from vjaccel.errors import NotSupported

__all__ = ["PEERS", "PeerContender", "installed"]

PEERS = {
    "faiss": "faiss", "usearch": "usearch", "torch": "torch", "scikit-learn": "sklearn",
    "sentence-transformers": "sentence_transformers",
}  # fmt: skip
"""A peer's name, and the module that shows that it is installed; the slowest to start come last."""

IN_TORCH = ("torch", "sentence-transformers")

Way = Callable[[Case, Any], Call]


def installed() -> list[str]:
    """The peers that are here; none is imported."""
    return [name for name, module in PEERS.items() if find_spec(module) is not None]


class PeerContender:
    """A peer, on the CPU or, where it computes in torch, on a GPU."""

    def __init__(self, name: str, device: str) -> None:
        importlib.import_module(PEERS[name])
        self.device = device
        self._name = name
        self._torch: Any = importlib.import_module("torch") if name in IN_TORCH else None
        self._native = device.replace("gpu", "cuda")
        self._ways: dict[str, Way] = WAYS[name]()

    def devices(self) -> tuple[str, ...]:
        """Where it can compute."""
        gpus = self._torch.cuda.device_count() if self._torch is not None else 0
        return ("cpu", *(f"gpu:{i}" for i in range(gpus)))

    def given(self, x: np.ndarray, origin: str) -> Any:
        if self._torch is None:
            return x
        here = self._torch.from_numpy(x)
        return here if origin == "host" else here.to(self._native)

    def prepared(self, case: Case, rows: Any, how: str | None) -> Call:
        way = self._ways.get(f"{case.operation} {case.metric}") if how is None else None
        if way is None or (case.dtype != "float32" and self._name not in DTYPES.get(case.dtype, ())):
            raise NotSupported(f"{self._name} is not compared at this")
        if case.dtype == "float16" and self.device == "cpu":
            raise NotSupported(f"{self._name} emulates float16 on a CPU")
        if self._torch is None or self.device == "cpu":
            return way(case, rows)
        call = way(case, rows.to(self._native) if rows is not None else None)
        return lambda x: _home(call(x.to(self._native)), x)

    def finish(self) -> None:
        if self._torch is not None and self.device != "cpu":
            self._torch.cuda.synchronize()

    def on_host(self, case: Case, result: Any) -> dict[str, np.ndarray]:
        names = {"pairs": ("left", "right", "values"), "within": ("offsets", "values", "ids")}
        if case.operation in ("normalize", "similarity", "distance"):
            return {"values": _numpy(result)}
        return {
            name: _numpy(x)
            for name, x in zip(names.get(case.operation, ("values", "ids")), _unpacked(case, result), strict=True)
        }


DTYPES = {"float64": ("torch", "scikit-learn"), "float16": ("torch",)}


def _home(result: Any, like: Any) -> Any:
    """A result where the input was: the way back belongs to the measurement of data from the host."""
    if isinstance(result, tuple):
        return tuple(x.to(like.device) for x in result)
    return result.to(like.device) if hasattr(result, "to") else result


def _numpy(x: Any) -> np.ndarray:
    return x.cpu().numpy() if hasattr(x, "cpu") else np.asarray(x)


def _unpacked(case: Case, result: Any) -> tuple[Any, ...]:
    """sentence-transformers gives lists of records: taken apart after the measurement."""
    if case.operation == "pairs":
        scores, left, right = zip(*result[: case.shape["k"]], strict=True)
        return left, right, scores
    if isinstance(result, list):
        values = [[hit["score"] for hit in hits] for hits in result]
        return values, [[hit["corpus_id"] for hit in hits] for hits in result]
    return tuple(result)


def _faiss() -> dict[str, Way]:
    import faiss

    def flat(case: Case, rows: Any) -> Call:
        index = (faiss.IndexFlatL2 if case.metric == "euclidean" else faiss.IndexFlatIP)(case.shape["dim"])
        index.add(rows)
        return lambda x: index.search(x, case.shape["k"])

    def once(case: Case, rows: Any) -> Call:
        return lambda x: faiss.knn(x, rows, case.shape["k"], metric=faiss.METRIC_INNER_PRODUCT)

    def ranged(case: Case, rows: Any) -> Call:
        index = faiss.IndexFlatIP(case.shape["dim"])
        index.add(rows)

        def call(x: Any) -> Any:
            offsets, values, ids = index.range_search(x, threshold(case))
            return offsets.astype(np.int64), values, ids

        return call

    def normalized(case: Case, rows: Any) -> Call:
        def call(x: Any) -> Any:
            copy = x.copy()  # it works in place, and nobody else does
            faiss.normalize_L2(copy)
            return copy

        return call

    return {"topk cosine": flat, "topk euclidean": flat, "topk-once cosine": once, "within cosine": ranged,
            "normalize None": normalized}  # fmt: skip


def _torch() -> dict[str, Way]:
    import torch
    from torch.nn.functional import normalize

    def closest(case: Case, rows: Any) -> Call:
        k = case.shape["k"]
        if case.metric == "euclidean":
            return lambda x: torch.topk(torch.cdist(x, rows), k, largest=False)
        return lambda x: torch.topk(x @ rows.T, k)  # of unit vectors

    def similar(case: Case, rows: Any) -> Call:
        return lambda x: normalize(x) @ normalize(rows).T

    def far(case: Case, rows: Any) -> Call:
        return lambda x: torch.cdist(x, rows, p=1.0 if case.metric == "manhattan" else 2.0)

    return {"topk cosine": closest, "topk euclidean": closest, "topk-once cosine": closest,
            "normalize None": lambda case, rows: normalize, "similarity cosine": similar,
            "distance euclidean": far, "distance manhattan": far}  # fmt: skip


def _sklearn() -> dict[str, Way]:
    from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances, manhattan_distances
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    def fitted(case: Case, rows: Any) -> Any:
        return NearestNeighbors(n_neighbors=case.shape["k"], algorithm="brute", metric=case.metric).fit(rows)

    def closest(case: Case, rows: Any) -> Call:
        found: Call = fitted(case, rows).kneighbors
        return found

    return {"topk cosine": closest, "topk euclidean": closest,
            "topk-once cosine": lambda case, rows: lambda x: fitted(case, rows).kneighbors(x),
            "normalize None": lambda case, rows: normalize,
            "similarity cosine": lambda case, rows: lambda x: cosine_similarity(x, rows),
            "distance euclidean": lambda case, rows: lambda x: euclidean_distances(x, rows),
            "distance manhattan": lambda case, rows: lambda x: manhattan_distances(x, rows)}  # fmt: skip


def _usearch() -> dict[str, Way]:
    from usearch.index import MetricKind, search

    def closest(case: Case, rows: Any) -> Call:
        kind = MetricKind.L2sq if case.metric == "euclidean" else MetricKind.IP

        def call(x: Any) -> Any:
            found = search(rows, x, case.shape["k"], kind, exact=True)
            shape = (len(x), case.shape["k"])
            return found.distances.reshape(shape), found.keys.astype(np.int64).reshape(shape)

        return call

    return {"topk cosine": closest, "topk euclidean": closest, "topk-once cosine": closest}


def _sentence_transformers() -> dict[str, Way]:
    from sentence_transformers import util

    return {"topk cosine": lambda case, rows: lambda x: util.semantic_search(x, rows, top_k=case.shape["k"]),
            "topk-once cosine": lambda case, rows: lambda x: util.semantic_search(x, rows, top_k=case.shape["k"]),
            "normalize None": lambda case, rows: util.normalize_embeddings,
            "similarity cosine": lambda case, rows: lambda x: util.cos_sim(x, rows),
            "pairs cosine": lambda case, rows: (
                lambda x: util.paraphrase_mining_embeddings(x, max_pairs=case.shape["k"]))}  # fmt: skip


WAYS: dict[str, Callable[[], dict[str, Way]]] = {
    "faiss": _faiss, "torch": _torch, "scikit-learn": _sklearn, "usearch": _usearch,
    "sentence-transformers": _sentence_transformers,
}  # fmt: skip
