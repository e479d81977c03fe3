"""The batches of a chunk, each cut when it is asked for: with the budget that is known to be best by then."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.tuner import Lesson, Tuner

__all__ = ["Batch", "Cutter", "tuned"]

AHEAD = 8
"""Batches that are planned together: enough that the last of them, which takes what is left, hardly counts."""


class Batch(NamedTuple):
    """Texts that are embedded together: their places among the prepared ones, and what is to be learned from them."""

    places: np.ndarray
    lesson: Lesson | None = None


class Cutter:
    """Cuts the texts of a chunk into batches, the longest first, each for a budget of its own. One thread at a time.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Of each text, in the units of the budgets.
    most : int or None
        Texts in a batch at most.
    counted : bool
        Whether lengths are tokens. Characters tell too little of what a model pads, and what a remote one charges for a
        batch, to cut finely.
    ahead : int or None
        Batches that are planned together; None: all, for a budget that will stay.
    """

    def __init__(
        self, lengths: np.ndarray, most: int | None, *, counted: bool = True, ahead: int | None = AHEAD
    ) -> None:
        self._most = most
        self._counted = counted
        self._ahead = ahead
        self._order = np.argsort(-lengths, kind="stable")
        self._longest_first = lengths[self._order]
        self._tokens = np.concatenate([[0], np.cumsum(self._longest_first)])
        self._start, self._end = 0, len(self._order)
        self._cuts: deque[int] = deque()
        self._budget = self._planned_to = 0

    def __len__(self) -> int:
        """Texts that are left."""
        return self._end - self._start

    @property
    def tokens(self) -> int:
        """What those that are left have together, in the units of lengths."""
        return int(self._tokens[self._end] - self._tokens[self._start])

    @property
    def longest(self) -> int:
        """The length of the longest one that is left."""
        return int(self._longest_first[self._start])

    def plan(self, budget: int) -> int:
        """Plan batches of `budget` from the longest text on; how many, all texts that are left not being one of them."""
        self._budget, self._planned_to = budget, self._end
        if self._ahead is not None:
            reach = self._tokens[self._start] + self._ahead * budget
            to = int(np.searchsorted(self._tokens, reach, side="right")) - 1
            self._planned_to = min(max(to, self._start + 1), self._end)
        cost = batch_cost(budget) if self._counted else None
        batches = plan(self._longest_first[self._start : self._planned_to], budget, self._most, cost)
        sizes = np.cumsum([len(batch) for batch in batches])
        self._cuts = deque((self._start + sizes).tolist())
        return len(self._cuts)

    def take(self, budget: int) -> np.ndarray:
        """The places of the next batch of `budget`, from the longest text on; some are left."""
        if budget != self._budget or not self._cuts or (len(self._cuts) == 1 and self._planned_to < self._end):
            self.plan(budget)
        cut = min(self._cuts.popleft(), self._end)
        places, self._start = self._order[self._start : cut], cut
        return places


def tuned(lengths: np.ndarray, most: int | None, tuner: Tuner) -> Iterator[Batch]:
    """All batches of a chunk as a `Cutter` makes them, each with the budget that `tuner` gives it."""
    cutter = Cutter(lengths, most)
    while len(cutter):
        lesson = tuner.choose(cutter.longest)
        places = cutter.take(lesson.budget)
        # The last one is as small as what is left, whatever its budget.
        yield Batch(places, lesson if len(cutter) else None)
