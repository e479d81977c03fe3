"""The NumPy backend: what of the contract it does in its own way."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

import array_api_compat.numpy as xp
import numpy as np

from vjaccel.arrays.codes import Codes
from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Capabilities, Metric, TopK
from vjaccel.arrays.search import PreparedRows
from vjaccel_numpy.threads import product

__all__ = ["NumpyBackend"]

logger = logging.getLogger("vjaccel.arrays")

WITH_NUMBA, WITHOUT_NUMBA = Capabilities(sketches=("int8",)), Capabilities()


class NumpyBackend(GenericBackend):
    """NumPy arrays, numba kernels; without numba the generic path, which `remark` and a warning in the log say."""

    name: ClassVar[str] = "numpy"
    array_modules: ClassVar[tuple[str, ...]] = ("numpy",)
    requires: ClassVar[tuple[str, ...]] = ("numpy",)
    install: ClassVar[str] = "pip install numpy"

    def __init__(self, device: str) -> None:
        super().__init__(device, xp)

    @property
    def capabilities(self) -> Capabilities:
        return WITH_NUMBA if _numba_failure() is None else WITHOUT_NUMBA

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return "cpu"

    @classmethod
    def remark(cls) -> str | None:
        return None if _numba_failure() is None else f"slower without numba ({_numba_failure()})"

    def asarray(self, x: Array) -> np.ndarray:
        return np.asarray(x)

    def largest(self, scores: np.ndarray, count: int) -> np.ndarray:
        if count >= scores.shape[1]:
            return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        return np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return product(a, b)

    def normalize(self, x: np.ndarray) -> np.ndarray:
        rows = _kernels("rows")
        return super().normalize(x) if rows is None else rows.normalize(x)

    def scores(self, metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows = _kernels("rows")
        found = None if rows is None else rows.scores(metric, a, b)
        return super().scores(metric, a, b) if found is None else found

    def prepare(self, vectors: np.ndarray, metric: Metric) -> PreparedRows:
        search = _kernels("search")
        return super().prepare(vectors, metric) if search is None else search.prepare(vectors, metric)

    def prepare_sketched(self, vectors: np.ndarray, metric: Metric, sketch: str) -> PreparedRows:
        from vjaccel_numpy import search

        return search.prepare_sketched(vectors, metric)

    def prepare_like(self, vectors: np.ndarray, prepared: Any) -> PreparedRows:
        search = _kernels("search")
        if search is None:
            return super().prepare_like(vectors, prepared)
        return search.prepare_like(vectors, prepared, prepared.center)

    def prepare_again(self, vectors: np.ndarray, prepared: Any) -> PreparedRows:
        search = _kernels("search")
        return (
            super().prepare_again(vectors, prepared) if search is None else search.prepare_like(vectors, prepared, None)
        )

    def extended(self, prepared: Any, vectors: np.ndarray) -> PreparedRows:
        return self._changed(super().extended(prepared, vectors))

    def replaced(self, prepared: Any, ids: np.ndarray, vectors: np.ndarray) -> PreparedRows:
        return self._changed(super().replaced(prepared, ids, vectors))

    def removed(self, prepared: Any, ids: np.ndarray) -> PreparedRows:
        return self._changed(super().removed(prepared, ids))

    def _changed(self, prepared: PreparedRows) -> PreparedRows:
        search = _kernels("search")
        return prepared if search is None else search.changed(prepared)

    def topk(self, queries: np.ndarray, prepared: Any, k: int, mask: np.ndarray | None) -> TopK:
        search = _kernels("search")
        if search is None:
            return super().topk(queries, prepared, k, mask)
        return search.topk(queries, prepared, k, mask, super().topk, self.rescore)

    def rescore(self, queries: np.ndarray, prepared: Any, ids: np.ndarray) -> np.ndarray:
        exact = _kernels("exact")
        found = None if exact is None else exact.rescored(queries, prepared, ids)
        return super().rescore(queries, prepared, ids) if found is None else found

    def reached(self, scores: np.ndarray, lines: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exact = _kernels("exact")
        return super().reached(scores, lines, usable) if exact is None else exact.reached(scores, lines, usable)

    def scan_codes(
        self, queries: np.ndarray, codes: Codes, metric: Metric, count: int, mask: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        found = _kernels("codes")
        if found is None:
            return super().scan_codes(queries, codes, metric, count, mask)
        bits = None if codes.kind == "int8" else self.encode("binary", queries, codes.steps).codes
        return found.scan(queries, codes, metric, count, mask, bits)


@cache
def _numba_failure() -> str | None:
    try:
        import numba  # noqa: F401  # only whether it can be
    except Exception as exc:
        # numba refuses a NumPy that it does not know with an ImportError of its own, and a broken LLVM with an OSError.
        failure = f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"
        logger.warning("numba cannot be imported (%s): the numpy backend takes the generic, slower path", failure)
        return failure
    return None


def _kernels(name: str) -> ModuleType | None:
    return None if _numba_failure() else _module(name)


@cache
def _module(name: str) -> ModuleType:
    return import_module(f"vjaccel_numpy.{name}")
