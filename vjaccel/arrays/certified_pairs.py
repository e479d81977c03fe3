"""Exact closest pairs of one set: range searches of it in its own blocks, by a line that rises.

The line is the threshold, or the k-th best score of a pair so far.
"""

from __future__ import annotations

import numpy as np

from vjaccel.arrays.certified_range import HITS, candidates, rescored
from vjaccel.arrays.certify import BLOCK_BYTES
from vjaccel.arrays.protocol import Array, Backend, Metric, Prepared

__all__ = ["Closest", "pairs"]

FIRST_QUERIES, MORE_QUERIES = 16, 1024
"""Rows whose pairs are looked for together: few at first, since all their pairs may be candidates for the k best; eight
times as many each time, since the k best of those seen leave about eight times k candidates in the next."""

BLOCK_ROWS = 1 << 12
"""Rows, if no more than BLOCK_BYTES, that are prepared together."""


class Closest:
    """The pairs seen that reach a line, and the line, which rises to the k-th best of them.

    Attributes
    ----------
    line : float
        The score below which no pair is wanted.
    """

    def __init__(self, k: int | None, least: float) -> None:
        self.line = least
        self._k = k
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held, self._room = 0, k
        self._last: tuple[int, int] | None = None

    def add(self, left: np.ndarray, right: np.ndarray, scores: np.ndarray) -> None:
        """Keep of these pairs what is wanted."""
        reached = scores >= self.line
        self._parts.append((left[reached], right[reached], scores[reached]))
        self._held += len(self._parts[-1][0])
        if self._k is not None and self._held >= self._room:  # type: ignore[operator]  # where there is a k there is room
            self.best()

    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs kept, best first, ties by the left row and then the right."""
        parts = self._parts or [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        left, right, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((right, left, -scores))[: self._k]
        found = left[order], right[order], scores[order]
        self._parts, self._held = [found], len(order)
        if self._k is not None and len(order) == self._k:
            # Sorted again at twice as many: each pair is sorted twice on average.
            self._room = 2 * self._k
            self.line = max(self.line, float(found[2][-1]))
            self._last = int(found[0][-1]), int(found[1][-1])
        return found

    def closed(self, left: int, right: int, metric: Metric) -> bool:
        """Whether no pair from (left, right) on can be better than those kept: all are at no distance, and come before."""
        return self._last is not None and not metric.is_similarity and self.line == 0.0 and self._last < (left, right)


def pairs(
    backend: Backend, x: Array, metric: Metric, k: int | None, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of rows of `x`, the left before the right, whose exact score is at least `least`; of them the `k` best.

    On the host: left and right rows and scores, best first, ties by the left row and then the right.
    """
    rows, step = x.shape[0], FIRST_QUERIES
    columns = min(BLOCK_ROWS, max(BLOCK_BYTES // (8 * x.shape[1]), MORE_QUERIES))
    closest = Closest(k, least)
    for low in range(0, rows, columns):
        high, start = min(low + columns, rows), 0
        prepared = backend.prepare(x[low:high, :], metric)
        while start < high:
            stop = min(start + step, high)
            if not closest.closed(start, max(low, start + 1), metric):
                _add_pairs(backend, x[start:stop, :], start, prepared, low, closest)
            start, step = stop, min(8 * step, MORE_QUERIES)
    return closest.best()


def _add_pairs(backend: Backend, queries: Array, start: int, prepared: Prepared, low: int, closest: Closest) -> None:
    """Offer the pairs of `queries`, rows from `start` on, and a prepared block, rows from `low` on."""
    for whose, ids in candidates(backend, queries, prepared, closest.line, None):
        before = whose + start < ids + low
        whose, ids = whose[before], ids[before]
        for part in (slice(i, i + HITS // 4) for i in range(0, len(ids), HITS // 4)):
            scores = rescored(backend, queries, prepared, whose[part], ids[part])
            closest.add(whose[part] + start, ids[part] + low, scores)
