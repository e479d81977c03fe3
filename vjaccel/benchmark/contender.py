"""What computes in a worker: a backend by this library's own operations. Peers are in `peers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from vjaccel.arrays import Corpus, distance, get_backend, normalize, pairs, quantize, similarity, topk, within
from vjaccel.arrays.protocol import Backend
from vjaccel.benchmark.cases import threshold
from vjaccel.benchmark.results import Case

__all__ = ["BackendContender", "Call", "Contender", "parts"]

Call = Callable[[Any], Any]
"""An operation on what differs from call to call."""


class Contender(Protocol):
    """What is measured."""

    device: str

    def given(self, x: np.ndarray, origin: str) -> Any:
        """`x` where the data of a measurement is before it begins: on the host, or on the device."""
        ...

    def prepared(self, case: Case, rows: Any, how: str | None) -> Call:
        """The operation of a case; what can be kept between calls is made now, and not measured."""
        ...

    def finish(self) -> None:
        """Return when the device has done all that was asked of it."""
        ...

    def on_host(self, case: Case, result: Any) -> dict[str, np.ndarray]:
        """A result's parts, as NumPy arrays."""
        ...


class BackendContender:
    """A backend on one device."""

    def __init__(self, spec: str) -> None:
        self.backend: Backend = get_backend(spec)
        self.device = self.backend.device
        self._spec = f"{self.backend.name}:{self.device}"

    def given(self, x: np.ndarray, origin: str) -> Any:
        with self.backend.on_device(), self.backend.float64():
            return x if origin == "host" else self.backend.asarray(x)

    def prepared(self, case: Case, rows: Any, how: str | None) -> Call:
        if how is not None:
            return self._quantized(case, rows, how)
        return OPERATIONS[case.operation](case, rows, self._spec)

    def finish(self) -> None:
        self.backend.synchronize()

    def on_host(self, case: Case, result: Any) -> dict[str, np.ndarray]:
        return parts(case, result, self._to_numpy)

    def _to_numpy(self, x: Any) -> np.ndarray:
        with self.backend.on_device():
            return x if type(x) is np.ndarray else self.backend.to_numpy(x)

    def _quantized(self, case: Case, rows: Any, how: str) -> Call:
        k, metric = case.shape["k"], case.metric
        if how == "exact":
            corpus = Corpus(rows, metric=metric or "cosine", backend=self._spec)
            return lambda x: corpus.topk(x, k)
        kind, _, rescore = how.partition(", rescore ")
        codes = quantize(rows, "int8" if kind == "int8" else "binary", backend=self._spec)
        return lambda x: codes.topk(x, k, metric=metric or "cosine", rescore=int(rescore or 0))


def parts(case: Case, result: Any, to_numpy: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a result of this library's, by what they are."""
    if case.operation in ("normalize", "similarity", "distance"):
        return {"values": to_numpy(result)}
    if case.operation == "pairs":
        return {"left": to_numpy(result.left), "right": to_numpy(result.right), "values": to_numpy(result.values)}
    found = {"ids": to_numpy(result.indices), "values": to_numpy(result.values)}
    return found | ({"offsets": to_numpy(result.offsets)} if case.operation == "within" else {})


def _topk(case: Case, rows: Any, spec: str) -> Call:
    corpus = Corpus(rows, metric=case.metric or "cosine", backend=spec)
    return lambda x: corpus.topk(x, case.shape["k"])


def _topk_once(case: Case, rows: Any, spec: str) -> Call:
    return lambda x: topk(x, rows, case.shape["k"], metric=case.metric, backend=spec)


def _within(case: Case, rows: Any, spec: str) -> Call:
    corpus, least = Corpus(rows, metric=case.metric or "cosine", backend=spec), threshold(case)
    return lambda x: within(x, corpus, least)


def _pairs(case: Case, rows: Any, spec: str) -> Call:
    return lambda x: pairs(x, k=case.shape["k"], metric=case.metric, backend=spec)


def _normalize(case: Case, rows: Any, spec: str) -> Call:
    return lambda x: normalize(x, backend=spec)


def _similarity(case: Case, rows: Any, spec: str) -> Call:
    return lambda x: similarity(x, rows, metric=case.metric, backend=spec)


def _distance(case: Case, rows: Any, spec: str) -> Call:
    return lambda x: distance(x, rows, metric=case.metric, backend=spec)


OPERATIONS: dict[str, Callable[[Case, Any, str], Call]] = {
    "topk": _topk, "topk-once": _topk_once, "within": _within, "pairs": _pairs, "normalize": _normalize,
    "similarity": _similarity, "distance": _distance,
}  # fmt: skip
