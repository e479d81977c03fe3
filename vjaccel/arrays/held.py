"""What a corpus is held as: its vectors, where they are, and how they are searched and changed there.

`Resident` is the usual one: prepared on one device. `vjaccel.arrays.shards` has a corpus cut over several devices, and
`vjaccel.arrays.streams` one that stays on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays import certified_range, coarse
from vjaccel.arrays.certified_range import Found
from vjaccel.arrays.protocol import Array, Backend, Coarse, Metric, Prepared, Sketching, TopK
from vjaccel.errors import NotSupported

__all__ = ["Held", "Resident", "Way"]


class Way(NamedTuple):
    """How a corpus is scanned, where that is not by its vectors in their own precision: by one of the two."""

    sketch: Literal["int8"] | None = None
    scan: Coarse | None = None


class Held(Protocol):
    """At least one row, on `backend` or in parts. What changes it gives it up, as `Backend.extended` does."""

    @property
    def rows(self) -> int: ...

    @property
    def resident(self) -> bool:
        """Whether the vectors stay on the device."""
        ...

    @property
    def vectors(self) -> Array:
        """As they were given, or as they are now."""
        ...

    def topk(self, queries: Array, k: int, mask: Array | None) -> TopK:
        """The best `k` (at most `rows`) rows: float64 scores, best first."""
        ...

    def within(self, queries: Array, least: float, mask: Array | None, most: int | None) -> Iterator[Found]:
        """As `certified_range.within`."""
        ...

    def extended(self, vectors: Array) -> Held: ...

    def replaced(self, ids: np.ndarray, vectors: Array) -> Held: ...

    def removed(self, ids: np.ndarray) -> Held: ...

    def compacted(self, alive: np.ndarray) -> Held | None:
        """The rows that are alive, copied together; None where there are none."""
        ...


class Resident:
    """A corpus that one backend has prepared on its device."""

    resident = True

    def __init__(self, backend: Backend, prepared: Prepared, way: Way) -> None:
        self.backend = backend
        self.prepared = prepared
        self._way = way

    @classmethod
    def of(cls, backend: Backend, vectors: Array, metric: Metric, way: Way) -> Resident:
        """`vectors`, an array of the backend, prepared there.

        Raises
        ------
        NotSupported
            The backend cannot scan that way, or not for the metric.
        """
        if way.scan is not None:
            return cls(backend, coarse.prepared_for(backend, vectors, metric, way.scan), way)
        if way.sketch is None:
            return cls(backend, backend.prepare(vectors, metric), way)
        if way.sketch not in backend.capabilities.sketches:
            remark = getattr(type(backend), "remark", lambda: None)()
            raise NotSupported(
                f"backend {backend.name!r} scans the vectors themselves and has no sketch {way.sketch!r}"
                f"{f' ({remark})' if remark else ''}; leave it out"
            )
        assert isinstance(backend, Sketching)  # as its capabilities say
        return cls(backend, backend.prepare_sketched(vectors, metric, way.sketch), way)

    @property
    def rows(self) -> int:
        return self.prepared.rows

    @property
    def vectors(self) -> Array:
        return self.prepared.vectors

    def topk(self, queries: Array, k: int, mask: Array | None) -> TopK:
        return self.backend.topk(queries, self.prepared, k, mask)

    def within(self, queries: Array, least: float, mask: Array | None, most: int | None) -> Iterator[Found]:
        return certified_range.within(self.backend, queries, self.prepared, least, mask, most)

    def extended(self, vectors: Array) -> Resident:
        return self._now(self.backend.extended(self.prepared, vectors))

    def replaced(self, ids: np.ndarray, vectors: Array) -> Resident:
        return self._now(self.backend.replaced(self.prepared, ids, vectors))

    def removed(self, ids: np.ndarray) -> Resident:
        return self._now(self.backend.removed(self.prepared, ids))

    def compacted(self, alive: np.ndarray) -> Resident | None:
        if not alive.any():
            return None
        xp = array_namespace(self.vectors)
        rows = xp.take(self.vectors, self.backend.asarray(np.flatnonzero(alive)), axis=0)
        return self.of(self.backend, rows, self.prepared.metric, self._way)

    def _now(self, prepared: Prepared) -> Resident:
        return Resident(self.backend, prepared, self._way)
