"""The batches of a chunk, each cut when it is asked for: with the budget that is known to be best by then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.tuner import Lesson, Tuner

__all__ = ["Batch", "Cutter", "tuned"]

AHEAD = 8
"""Batches that are planned together: enough that the last of them, which takes what is left, hardly counts."""

MOSTLY = 0.75
"""The part of a planned batch that others must have left for it to be taken as it was planned."""


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
        self._lengths = lengths
        self._order = np.argsort(-lengths, kind="stable")
        self._longest_first = lengths[self._order]
        self._tokens = np.concatenate([[0], np.cumsum(self._longest_first)])
        self._start = 0
        self._plans: dict[int, np.ndarray] = {}
        self._back: list[np.ndarray] = []

    def __len__(self) -> int:
        """Texts that are left."""
        return len(self._order) - self._start + sum(map(len, self._back))

    @property
    def tokens(self) -> int:
        """What those that are left have together, in the units of lengths."""
        return int(self._tokens[-1] - self._tokens[self._start]) + sum(int(self._lengths[x].sum()) for x in self._back)

    @property
    def longest(self) -> int:
        """The length of the longest one of the next batch."""
        return int(self._lengths[self._back[-1]].max() if self._back else self._longest_first[self._start])

    def plan(self, budget: int) -> int:
        """Plan batches of `budget` from the longest text on; how many, all texts that are left not being one of them."""
        to = len(self._order)
        if self._ahead is not None:
            reach = self._tokens[self._start] + self._ahead * budget
            to = min(max(int(np.searchsorted(self._tokens, reach, side="right")) - 1, self._start + 1), to)
        cost = batch_cost(budget) if self._counted else None
        batches = plan(self._longest_first[self._start : to], budget, self._most, cost)
        self._plans[budget] = self._start + np.cumsum([0, *(len(batch) for batch in batches)])
        return len(batches)

    def take(self, budget: int) -> np.ndarray:
        """The places of the next batch of `budget`, from the longest text on; some are left."""
        if self._back:
            some = self._back.pop()
            first, *rest = plan(self._lengths[some], budget, self._most)
            self._back += [some[np.concatenate(rest)]] if rest else []
            taken: np.ndarray = some[first]
            return taken
        cut = self._planned(budget)
        if cut is None:
            self.plan(budget)
            cut = int(self._plans[budget][1])
        places, self._start = self._order[self._start : cut], cut
        return places

    def give_back(self, places: np.ndarray) -> None:
        """Have texts of a batch taken again, before the others."""
        self._back.append(places)

    def _planned(self, budget: int) -> int | None:
        """Where the next batch of `budget` ends by what was planned; None where that does not hold any more.

        It holds while most of that batch is left: a fast device's batches need not be planned anew whenever a slow one has
        taken some of its own in between, which would take longer than those.
        """
        cuts = self._plans.get(budget)
        if cuts is None:
            return None
        number = int(np.searchsorted(cuts, self._start, side="right"))
        last = len(cuts) - 1
        if number > last or (number == last and cuts[last] < len(self._order)):
            return None
        before, end = int(cuts[number - 1]), int(cuts[number])
        return end if end - self._start >= MOSTLY * (end - before) else None


def tuned(lengths: np.ndarray, most: int | None, tuner: Tuner) -> Iterator[Batch]:
    """All batches of a chunk as a `Cutter` makes them, each with the budget that `tuner` gives it."""
    cutter = Cutter(lengths, most)
    while len(cutter):
        lesson = tuner.choose(cutter.longest)
        places = cutter.take(lesson.budget)
        # The last one is as small as what is left, whatever its budget.
        yield Batch(places, lesson if len(cutter) else None)
