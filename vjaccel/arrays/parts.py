"""Searching a corpus in parts.

Each part's answer is certified, so the answer over all is a merge of the parts' answers by score, then lower row: no bound
and no line has to be shared between them. It is merged on the host, where the small answers meet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from vjaccel.arrays.certified_range import HITS, Found, joined
from vjaccel.arrays.dispatch import move
from vjaccel.arrays.held import Held
from vjaccel.arrays.protocol import Array, Backend, TopK

__all__ = ["Part", "Parted", "merged"]

Result = TypeVar("Result")

MERGED = 1 << 22
"""Scores of top-k answers that are sorted together."""


class Part(NamedTuple):
    """Some rows of a corpus from `start` on, held on `backend`."""

    start: int
    backend: Backend
    held: Held

    def queries(self, queries: Array) -> Array:
        """`queries` where the part is."""
        return self.backend.asarray(queries)

    def mask(self, mask: Array | None) -> Array | None:
        """The part's columns of `mask`, where the part is."""
        return None if mask is None else move(mask[..., self.start : self.start + self.held.rows], self.backend)


class Parted(ABC):
    """The searching half of a `Held` that consists of parts.

    Attributes
    ----------
    backend : Backend
        Where queries come from, and answers go.
    """

    backend: Backend

    @abstractmethod
    def each(self, work: Callable[[Part], Result]) -> Iterator[Result]:
        """What `work` returns for each part, in their order. It returns nothing that is on a part's device."""

    def topk(self, queries: Array, k: int, mask: Array | None) -> TopK:
        def best_of(part: Part) -> tuple[np.ndarray, np.ndarray]:
            found = part.held.topk(part.queries(queries), min(k, part.held.rows), part.mask(mask))
            scores, ids = (part.backend.to_numpy(x) for x in found)
            return scores, np.where(ids < 0, -1, ids.astype(np.int64) + part.start)

        shape = (queries.shape[0], 0)
        best = np.empty(shape), np.empty(shape, np.int64)
        for found in self.each(best_of):
            best = merged(best, found, k)
        with self.backend.float64():
            return TopK(*(self.backend.asarray(x) for x in best))

    def within(self, queries: Array, least: float, mask: Array | None, most: int | None) -> Iterator[Found]:
        def reached(part: Part) -> Found:
            found = joined(list(part.held.within(part.queries(queries), least, part.mask(mask), most)))
            return found._replace(ids=found.ids.astype(np.int64) + part.start)

        held: list[Found] = []
        for found in self.each(reached):
            held = [*held, found] if most is None else [_best([*held, found], most)]
        counts = sum(np.bincount(found.queries, minlength=queries.shape[0]) for found in held)
        for low, high in _spans(np.asarray(counts), HITS):
            some = [Found(*(column[slice(*np.searchsorted(found.queries, (low, high)))] for column in found))
                    for found in held]  # fmt: skip
            yield _best(some, most)


def merged(
    best: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best `k` of each row of both by score, then lower id; some rows at a time."""
    rows, columns = len(best[0]), best[0].shape[1] + found[0].shape[1]
    width, step = min(k, columns), max(1, MERGED // max(columns, 1))
    scores, ids = np.empty((rows, width)), np.empty((rows, width), np.int64)
    for part in (slice(start, start + step) for start in range(0, rows, step)):
        both, which = (np.concatenate([x[part], y[part]], axis=1) for x, y in zip(best, found, strict=True))
        order = np.lexsort((which, -both), axis=1)[:, :width]
        scores[part], ids[part] = np.take_along_axis(both, order, 1), np.take_along_axis(which, order, 1)
    return scores, ids


def _best(parts: list[Found], most: int | None) -> Found:
    """All `parts` as one, by query, best first in each, and at most `most` of each."""
    found = joined(parts)
    order = np.lexsort((found.ids, -found.scores, found.queries))
    found = Found(*(column[order] for column in found))
    if most is None:
        return found
    place = np.arange(len(order)) - np.searchsorted(found.queries, found.queries)
    return Found(*(column[place < most] for column in found))


def _spans(counts: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Consecutive queries that have at most `limit` hits together, or one that has more."""
    ends, low = np.cumsum(counts), 0
    while low < len(counts):
        before = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield low, high
        low = high
