"""What token budget a batch is best given: learned from what batches take. It knows no clock, disk or device."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Arm", "Bandit", "Learned", "Lesson", "Tuner", "bucket_of", "budgets_around"]

GRID = 8
"""Budgets that are tried, each twice the one before."""
BELOW = 4
"""How many of them are below the one that is usual for a device."""
DISCOUNT = 0.97
"""What a batch still counts for when another one has been learned of: after thirty-three of them a third."""
SURPRISED = 0.5
"""The same, if that batch's rate is one that hardly occurs: something has changed, and what was known counts for little."""
SPREADS = (0.03, 0.1, 0.3)
"""By what part of its budget's mean a batch's rate is taken to differ from it: at least, at first, and at most."""
PATIENCE, CONTENT = 2, 6
"""Of so many batches at most one has another budget than the best one known; the second, where that is the usual one, which was
measured to be good and is seldom far from the best."""
REMEMBERED = 4.0
"""Batches that what was learned in an earlier run counts for at most: enough to begin with, too few to insist on."""


def budgets_around(usual: int) -> tuple[int, ...]:
    """A geometric grid of budgets around the one that is usual.

    Examples
    --------
    >>> budgets_around(1024)
    (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    """
    return tuple(max(1, usual * 2**power // 2**BELOW) for power in range(GRID))


def bucket_of(length: int) -> int:
    """Which texts are learned of together: the smallest power of four that is no shorter than their longest.

    Examples
    --------
    >>> [bucket_of(length) for length in (1, 4, 5, 18, 64, 65)]
    [1, 4, 16, 64, 64, 256]
    """
    return 1 << 2 * math.ceil(math.log2(max(length, 1)) / 2)


@dataclass
class Arm:
    """What is known of one budget: of how many batches, that of long ago counting less, and the sum of their rates' logarithms.

    Not their tokens and seconds: one batch that was slow for another reason would outweigh many.
    """

    batches: float = 0.0
    logs: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second, the geometric mean of the batches'; 0 where nothing is known."""
        return math.exp(self.logs / self.batches) if self.batches else 0.0

    def scaled(self, factor: float) -> Arm:
        """The same rate, known from `factor` times as many batches."""
        return Arm(self.batches * factor, self.logs * factor)


class Lesson(NamedTuple):
    """What a batch will tell of: the budget it was given, and which texts it is of."""

    bucket: int
    budget: int


class Learned(NamedTuple):
    """What is remembered from one run to the next.

    Attributes
    ----------
    most : int or None
        The largest budget that memory may have room for; None where it has never run out.
    arms : mapping
        By bucket and by budget.
    """

    most: int | None
    arms: Mapping[int, Mapping[int, Arm]]


class Tuner:
    """Chooses the budget of each batch of some runs, and learns from what they take. Several threads may use it.

    Parameters
    ----------
    usual : int
        The budget that is taken where nothing is known; the others are around it.
    learned : Learned, optional
        In earlier runs.
    cold : int
        So many batches that come first tell nothing: they wait for what is loaded when it is first used.
    """

    def __init__(self, usual: int, learned: Learned | None = None, *, cold: int = 0) -> None:
        self.usual = usual
        self._budgets = budgets_around(usual)
        self._lock = threading.Lock()
        self._cold = cold
        self._most = None if learned is None else learned.most
        self._bandits: dict[int, Bandit] = {}
        self.lessons = 0
        for bucket, arms in ({} if learned is None else learned.arms).items():
            kept = [arms.get(budget, Arm()) for budget in self._budgets]
            kept = [arm.scaled(min(1.0, REMEMBERED / arm.batches)) if arm.batches else arm for arm in kept]
            self._bandits[bucket] = Bandit(self._budgets, usual, kept)

    @property
    def most(self) -> int:
        """The largest budget that there may be."""
        return self._budgets[-1] if self._most is None else self._most

    def choose(self, length: int) -> Lesson:
        """What the next batch is given, whose longest text has `length` tokens."""
        bucket = bucket_of(length)
        with self._lock:
            return Lesson(bucket, min(self._bandit(bucket).choose(self.most), self.most))

    def learn(self, lesson: Lesson, tokens: int, seconds: float) -> None:
        """A batch has had so many tokens, padding not counted, and has taken so long."""
        with self._lock:
            if self._cold:
                self._cold -= 1
            elif lesson.budget in self._budgets:
                self.lessons += 1
                self._bandit(lesson.bucket).learn(lesson.budget, tokens, seconds)

    def ran_out(self, padded: int) -> None:
        """Memory had no room for a batch of so many tokens, padding included: there will be none as large again."""
        with self._lock:
            self._most = max(1, min(self.most, padded // 2))

    def best(self, length: int | None = None) -> int:
        """The budget that is best as far as is known, of texts of `length` tokens, or of those that most is known of."""
        with self._lock:
            known = {bucket: sum(arm.batches for arm in bandit.arms) for bucket, bandit in self._bandits.items()}
            bucket = max(known, key=lambda b: known[b], default=None) if length is None else bucket_of(length)
            if bucket not in self._bandits:
                return min(self.usual, self.most)
            return min(self._bandits[bucket].best(self.most), self.most)

    def learned(self) -> Learned:
        """What is to be remembered. It counts the lessons anew."""
        with self._lock:
            self.lessons = 0
            return Learned(
                self._most,
                {
                    bucket: {budget: arm for budget, arm in zip(self._budgets, bandit.arms, strict=True) if arm.batches}
                    for bucket, bandit in self._bandits.items()
                },
            )

    def _bandit(self, bucket: int) -> Bandit:
        if bucket not in self._bandits:
            self._bandits[bucket] = Bandit(self._budgets, self.usual)
        return self._bandits[bucket]


@dataclass
class Bandit:
    """Chooses among budgets by the rates seen with them.

    An upper-confidence bandit with discounted statistics (Garivier and Moulines, "On Upper-Confidence Bound Policies for
    Switching Bandit Problems", 2011), which tries only the best budget known and its neighbours (Combes and Proutiere,
    "Unimodal Bandits", 2014): the rate over the budget has one peak, so that the way to it leads uphill, and at the peak only
    budgets are tried that are nearly as good.

    Attributes
    ----------
    budgets : sequence of int
        Ascending.
    start : int
        Taken first, while nothing is known.
    arms : list of Arm
        What is known of each budget.
    """

    budgets: Sequence[int]
    start: int
    arms: list[Arm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arms = self.arms or [Arm() for _ in self.budgets]
        self._since_other = 0
        self._variance = SPREADS[1] ** 2

    def choose(self, most: int) -> int:
        """The budget for the next batch, at most `most` unless all are larger."""
        allowed = self._allowed(most)
        best = self._best(allowed)
        chosen = best
        patience = CONTENT if self.budgets[best] == self.start else PATIENCE
        if self.arms[best].batches and self._since_other >= patience - 1:
            near = [i for i in (best, best + 1, best - 1) if 0 <= i < allowed]
            total = max(math.e, sum(self.arms[i].batches for i in near))
            chosen = max(near, key=lambda i: self._hoped(i, total) / self.arms[best].rate)
        self._since_other = self._since_other + 1 if chosen == best else 0
        return self.budgets[chosen]

    def learn(self, budget: int, tokens: int, seconds: float) -> None:
        """A batch with that budget has had so many tokens and has taken so long."""
        place, rate = self.budgets.index(budget), max(tokens, 1) / max(seconds, 1e-9)
        counts = DISCOUNT
        if self.arms[place].batches:
            off = abs(math.log(rate / self.arms[place].rate))
            counts = SURPRISED if off > 3 * self._spread else DISCOUNT
            self._variance += (1 - DISCOUNT) * (min(off, 2 * SPREADS[2]) ** 2 - self._variance)
        self.arms = [arm.scaled(counts) for arm in self.arms]
        arm = self.arms[place]
        self.arms[place] = Arm(arm.batches + 1, arm.logs + math.log(rate))

    def best(self, most: int) -> int:
        """The budget of the highest rate, as far as is known; at most `most` unless all are larger."""
        return self.budgets[self._best(self._allowed(most))]

    def _allowed(self, most: int) -> int:
        return max(1, sum(budget <= most for budget in self.budgets))

    def _best(self, allowed: int) -> int:
        seen = [i for i in range(allowed) if self.arms[i].batches]
        if not seen:
            return min(range(allowed), key=lambda i: abs(math.log(self.budgets[i] / self.start)))
        return max(seen, key=self._at_least)

    def _at_least(self, place: int) -> float:
        """The rate that a budget has, less what its batches leave open: one lucky batch makes no best budget."""
        arm = self.arms[place]
        return arm.rate * (1 - self._spread / math.sqrt(max(arm.batches, 1e-9)))

    def _hoped(self, place: int, total: float) -> float:
        """The highest rate that a budget may well have."""
        arm = self.arms[place]
        return arm.rate * (1 + self._spread * math.sqrt(2 * math.log(total) / arm.batches)) if arm.batches else math.inf

    @property
    def _spread(self) -> float:
        return min(max(math.sqrt(self._variance), SPREADS[0]), SPREADS[2])
