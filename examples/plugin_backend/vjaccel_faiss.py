"""A backend for vjaccel that scans with faiss. What faiss has no notion of is inherited, and so is the certificate."""

from typing import Any, ClassVar

import numpy as np
from array_api_compat import numpy as xp

from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Array, Metric


class FaissBackend(GenericBackend):
    """NumPy's arrays, searched by ``faiss.knn`` where that can say what a scan must."""

    name: ClassVar[str] = "faiss"
    array_modules: ClassVar[tuple[str, ...]] = ()  # it has no arrays of its own
    requires: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    install: ClassVar[str] = "pip install faiss-cpu"

    def __init__(self, device: str) -> None:
        super().__init__(device, xp)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return "cpu"

    def scan(self, queries: Array, prepared: Any, count: int, mask: Array | None) -> tuple[Array, Array]:
        import faiss  # here, so that listing the backends does not import it

        products = prepared.metric is Metric.DOT and prepared.vectors.dtype == np.float32
        if mask is not None or not products or not prepared.ordinary.all():
            return super().scan(queries, prepared, count, mask)
        wanted, rows = (np.ascontiguousarray(x, dtype=np.float32) for x in (queries, prepared.vectors))
        scores, ids = faiss.knn(wanted, rows, count, metric=faiss.METRIC_INNER_PRODUCT)
        return np.where(ids < 0, -np.inf, scores), ids
