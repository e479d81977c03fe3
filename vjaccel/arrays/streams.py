"""A corpus that stays on the host: each search sends it through the device, the next part while one is searched.

On the device there are two parts at a time, and on the host what they are sent from, however large the corpus is. A part is
prepared anew for each search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NoReturn, TypeVar

import numpy as np

from vjaccel.arrays import check
from vjaccel.arrays.dispatch import at_work
from vjaccel.arrays.held import Resident, Way
from vjaccel.arrays.parts import Part, Parted
from vjaccel.arrays.protocol import Array, Backend, Metric
from vjaccel.errors import NotSupported

__all__ = ["Streamed"]

Result = TypeVar("Result")

PART_BYTES = 64 << 20
"""Of one part on the device: a bus takes some milliseconds for it, far more than starting a copy and a search costs."""

FLOOR_BYTES = 1 << 20


class Streamed(Parted):
    """Rows on the host, searched on a backend's device.

    Parameters
    ----------
    host : ndarray, shape (rows, dim)
        Of any dtype that `check.vectors` takes. Read in parts alone: it may be a file, as a memmap is.
    way : Way
        Of scanning each part; no sketch, which takes longer to make than a part to scan.
    itemsize : int
        The bytes of a number on the device.
    """

    resident = False

    def __init__(self, backend: Backend, host: np.ndarray, metric: Metric, way: Way, itemsize: int) -> None:
        self.backend = backend
        self.vectors = host
        self.rows = len(host)
        self._metric = metric
        self._way = way
        self._row_bytes = itemsize * host.shape[1]
        self._step = max(1, PART_BYTES // self._row_bytes)

    def each(self, work: Callable[[Part], Result]) -> Iterator[Result]:
        wide = self.backend.capabilities.float64
        step, start = self._step, 0
        coming: Future[Array] | None = None
        with ThreadPoolExecutor(1, "vjaccel-upload") as pool:
            while start < self.rows:
                stop, rows = min(start + step, self.rows), None
                try:
                    coming = coming or pool.submit(self._uploaded, start, stop, wide)
                    rows, coming = coming.result(), None
                    if stop < self.rows:
                        coming = pool.submit(self._uploaded, stop, min(stop + step, self.rows), wide)
                    found = work(Part(start, self.backend, Resident.of(self.backend, rows, self._metric, self._way)))
                except Exception as exc:
                    if step * self._row_bytes <= FLOOR_BYTES or not self.backend.is_out_of_memory(exc):
                        raise
                else:
                    yield found
                    start = stop
                    continue
                # Again with half of it, and nothing else on its way.
                if coming is not None:
                    coming.exception()
                    coming = None
                step = max(1, step // 2)
                self._step = min(self._step, step)

    def _uploaded(self, start: int, stop: int, wide: bool) -> Array:
        # In a thread of its own: what JAX was told of float64 in the caller's does not hold there.
        with at_work(self.backend), self.backend.float64() if wide else nullcontext():
            return self.backend.upload(check.floating("vectors", self.vectors[start:stop], self.backend))

    def extended(self, vectors: Array) -> NoReturn:
        raise NotSupported(REFUSED)

    def replaced(self, ids: np.ndarray, vectors: Array) -> NoReturn:
        raise NotSupported(REFUSED)

    def removed(self, ids: np.ndarray) -> NoReturn:
        raise NotSupported(REFUSED)

    def compacted(self, alive: np.ndarray) -> NoReturn:
        raise NotSupported(REFUSED)


REFUSED = "a corpus that stays on the host is searched and not changed: change the array, and make a Corpus of it again"
