"""A corpus cut over several devices: consecutive rows on each, searched at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import at_work
from vjaccel.arrays.held import Held, Resident, Way
from vjaccel.arrays.parts import Part, Parted
from vjaccel.arrays.protocol import Array, Backend, Metric

__all__ = ["Shards", "spans"]

Result = TypeVar("Result")


def spans(rows: int, count: int) -> list[tuple[int, int]]:
    """`rows` cut into at most `count` consecutive spans of about one size, none of them empty.

    Examples
    --------
    >>> spans(10, 4), spans(2, 4)
    ([(0, 2), (2, 5), (5, 7), (7, 10)], [(0, 1), (1, 2)])
    """
    count = min(rows, count)
    return [(rows * i // count, rows * (i + 1) // count) for i in range(count)]


class Shards(Parted):
    """Parts on several devices of one library.

    Parameters
    ----------
    backend : Backend
        That of several devices: its `members` have the parts.
    held : sequence of (Backend, Held)
        The parts in the order of their rows.
    way : Way
        How a further part is to be scanned.
    given : array, optional
        The whole, if it lies on those devices, or stays on the host.
    """

    def __init__(
        self,
        backend: Backend,
        metric: Metric,
        held: Sequence[tuple[Backend, Held]],
        way: Way,
        given: Array | None = None,
    ) -> None:
        self.backend = backend
        self._metric = metric
        self._way = way
        self._given = given
        starts = np.cumsum([0, *(part.rows for _, part in held)]).tolist()
        self.rows: int = starts.pop()
        self.resident = all(part.resident for _, part in held)
        self.parts = [Part(start, *part) for start, part in zip(starts, held, strict=True)]

    @property
    def vectors(self) -> Array:
        if self._given is not None:
            return self._given
        pieces = [self.backend.asarray(part.held.vectors) for part in self.parts]
        return array_namespace(*pieces).concat(pieces)

    def each(self, work: Callable[[Part], Result]) -> Iterator[Result]:
        wide = self.backend.capabilities.float64

        def run(part: Part) -> Result:
            # In a thread of its own: what JAX was told of float64 in the caller's does not hold there.
            with at_work(part.backend), part.backend.float64() if wide else nullcontext():
                return work(part)

        with ThreadPoolExecutor(len(self.parts), "vjaccel-shard") as pool:
            yield from pool.map(run, self.parts)

    def extended(self, vectors: Array) -> Shards:
        held = [(part.backend, part.held) for part in self.parts]
        used = [member for member, _ in held]
        # To the first device that has nothing, or else to the last part: no other row moves.
        member = next((m for m in self.backend.members if all(m is not other for other in used)), used[-1])
        with at_work(member):
            rows = member.asarray(vectors)
            if all(member is not other for other in used):
                held.append((member, Resident.of(member, rows, self._metric, self._way)))
            else:
                held[-1] = member, held[-1][1].extended(rows)
        return Shards(self.backend, self._metric, held, self._way)

    def replaced(self, ids: np.ndarray, vectors: Array) -> Shards:
        def changed(part: Part, here: np.ndarray) -> Held:
            with self.backend.on_device():
                some = array_namespace(vectors).take(vectors, self.backend.asarray(np.flatnonzero(here)), axis=0)
            return part.held.replaced(ids[here] - part.start, part.backend.asarray(some))

        return self._changed(ids, changed)

    def removed(self, ids: np.ndarray) -> Shards:
        return self._changed(ids, lambda part, here: part.held.removed(ids[here] - part.start))

    def compacted(self, alive: np.ndarray) -> Shards | None:
        held: list[tuple[Backend, Held]] = []
        for part in self.parts:
            with at_work(part.backend):
                left = part.held.compacted(alive[part.start : part.start + part.held.rows])
            if left is not None:
                held.append((part.backend, left))
        return Shards(self.backend, self._metric, held, self._way) if held else None

    def _changed(self, ids: np.ndarray, change: Callable[[Part, np.ndarray], Held]) -> Shards:
        """With `change` made to each part that has some of the rows `ids`; it is told which of them."""
        held = []
        for part in self.parts:
            here, after = (ids >= part.start) & (ids < part.start + part.held.rows), part.held
            if here.any():
                with at_work(part.backend):
                    after = change(part, here)
            held.append((part.backend, after))
        return Shards(self.backend, self._metric, held, self._way)
