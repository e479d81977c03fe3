"""The batches of a chunk, each cut when it is asked for: with the budget that is known to be best by then."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.tuner import Lesson, Tuner

__all__ = ["Batch", "Shared", "tuned"]

AHEAD = 8
"""Batches that are planned together: enough that the last of them, which takes what is left, hardly counts."""

T = TypeVar("T")


class Batch(NamedTuple):
    """Texts that are embedded together: their places among the prepared ones, and what is to be learned from them."""

    places: np.ndarray
    lesson: Lesson | None = None


class Shared(Generic[T]):
    """An iterator that several threads take from."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def take(self) -> T | None:
        """The next one; None where there are no more."""
        with self._lock:
            return next(self._items, None)


def tuned(lengths: np.ndarray, most: int | None, tuner: Tuner) -> Iterator[Batch]:
    """Batches as `planner.plan` makes them, the longest texts first, each with the budget that `tuner` gives it.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Tokens of each text.
    most : int or None
        Texts in a batch at most.
    """
    order = np.argsort(-lengths, kind="stable")
    longest_first = lengths[order]
    tokens = np.concatenate([[0], np.cumsum(longest_first)])
    ready: deque[np.ndarray] = deque()
    start = planned_to = budget = 0
    while start < len(order):
        lesson = tuner.choose(int(longest_first[start]))
        if lesson.budget != budget or not ready or (len(ready) == 1 and planned_to < len(order)):
            budget = lesson.budget
            planned_to = int(np.searchsorted(tokens, tokens[start] + AHEAD * budget, side="right")) - 1
            planned_to = min(max(planned_to, start + 1), len(order))
            ready = deque(plan(longest_first[start:planned_to], budget, most, batch_cost(budget)))
        size = len(ready.popleft())
        places, start = order[start : start + size], start + size
        # The last one is as small as what is left, whatever its budget.
        yield Batch(places, lesson if start < len(order) else None)
