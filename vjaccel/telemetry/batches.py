"""What the batches of a run were like: the sizes that were tried and what each gave, and how long their texts were."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple, Self

import numpy as np

from vjaccel.telemetry.events import BatchEnded

__all__ = ["Batches", "OfBudget", "Try"]

TRIES = 512
"""Batches whose budget and rate are kept one by one; of more than that every second, fourth, ... is."""


class OfBudget(NamedTuple):
    """All batches together that were cut for one budget.

    Attributes
    ----------
    batches : int
    tokens : int
        Padding not included; 0 where nobody counts them.
    seconds : float
    texts : int
    padded : int
        Tokens with the padding beside them, where that is known; otherwise as `tokens`.
    """

    batches: int
    tokens: int
    seconds: float
    texts: int
    padded: int

    def without_those_of(self, other: OfBudget) -> OfBudget:
        """The batches of this that are not those of `other`."""
        return OfBudget._make(mine - others for mine, others in zip(self, other, strict=True))

    def with_those_of(self, other: OfBudget) -> OfBudget:
        """The batches of both."""
        return OfBudget._make(mine + others for mine, others in zip(self, other, strict=True))


class Try(NamedTuple):
    """A batch: when it ended, the budget that it was cut for, its tokens in a second, and its tokens, padding included."""

    at: float
    budget: int
    rate: float
    padded: int


class Batches:
    """It takes no more room for an endless run. Whoever writes to it from several threads holds a lock."""

    def __init__(self) -> None:
        self._budgets: dict[int, OfBudget] = {}
        self._lengths: dict[int, np.ndarray] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._tries: list[Try] = []
        self._batches, self._stride = 0, 1

    def add(self, batch: BatchEnded, at: float, lengths: np.ndarray | None) -> None:
        """Count one that has come back, `at` seconds after the run began; `lengths` are its texts' tokens, int64 (n,)."""
        tokens = batch.tokens or 0
        padded = tokens if batch.padded is None else batch.padded
        self._add(batch.budget, OfBudget(1, tokens, batch.seconds, batch.texts, padded))
        self._add_sizes(_power_of_two(batch.texts), 1, batch.texts)
        if tokens and self._batches % self._stride == 0:
            self._tries.append(Try(at, batch.budget, tokens / max(batch.seconds, 1e-9), padded))
            if len(self._tries) > TRIES:
                self._thin(2 * self._stride)
        self._batches += 1
        if lengths is not None and batch.padded is not None:
            self._note_lengths(lengths, batch.padded / len(lengths))

    def take_in(self, other: Batches, offset: float) -> None:
        """Count those of `other` too, whose run began `offset` seconds after this one."""
        for most, found in other._lengths.items():
            self._lengths[most] = self._lengths.get(most, np.zeros(3)) + found
        for budget, one in other._budgets.items():
            self._add(budget, one)
        for most, (batches, texts) in other._sizes.items():
            self._add_sizes(most, batches, texts)
        # Of both as many of their batches are kept, or those that came last would be most of all; counted from one part to the
        # next, or of parts of a batch each all would be.
        self._thin(max(self._stride, other._stride))
        self._tries += [
            each._replace(at=offset + each.at)
            for number, each in zip(count(self._batches, other._stride), other._tries, strict=False)
            if number % self._stride < other._stride
        ]
        self._batches += other._batches
        while len(self._tries) > TRIES:
            self._thin(2 * self._stride)

    def since(self, before: Batches) -> Batches:
        """Those that are counted since it was as `before`."""
        made = Batches()
        made._lengths = {most: found - before._lengths.get(most, np.zeros(3)) for most, found in self.lengths().items()}
        for budget, one in self._budgets.items():
            more = one.without_those_of(before._budgets.get(budget, OfBudget(0, 0, 0.0, 0, 0)))
            if more.batches:
                made._budgets[budget] = more
        for most, (batches, texts) in self._sizes.items():
            of_before = before._sizes.get(most, (0, 0))
            if batches > of_before[0]:
                made._sizes[most] = batches - of_before[0], texts - of_before[1]
        until = before._tries[-1].at if before._tries else -1.0
        made._tries = [each for each in self._tries if each.at > until]
        made._stride, made._batches = self._stride, made._counted()
        return made

    def sizes(self) -> dict[int, tuple[int, int]]:
        """By the smallest power of two that is no smaller than a batch: how many batches, and their texts."""
        return dict(sorted(self._sizes.items()))

    def lengths(self) -> dict[int, np.ndarray]:
        """By the smallest power of two that is no shorter than a text: how many texts, their tokens, and the padding."""
        return {most: found.copy() for most, found in self._lengths.items()}

    def budgets(self) -> dict[int, OfBudget]:
        """By the budget for which they were cut, in tokens, or in what a provider counts instead."""
        return dict(sorted(self._budgets.items()))

    def tries(self) -> list[Try]:
        """Of batches, evenly many over the run."""
        return list(self._tries)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lengths": {str(most): found.tolist() for most, found in sorted(self._lengths.items())},
            "budgets": {
                str(budget): one._replace(seconds=round(one.seconds, 4)) for budget, one in self._budgets.items()
            },
            "sizes": {str(most): list(found) for most, found in self.sizes().items()},
            "tries": [[round(each.at, 3), each.budget, round(each.rate, 1), each.padded] for each in self._tries],
            "tries_of": self._stride,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Those that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            They are none.
        """
        made = cls()
        made._lengths = {int(most): np.array(found, float) for most, found in values["lengths"].items()}
        made._budgets = {int(budget): OfBudget._make(found) for budget, found in values["budgets"].items()}
        made._sizes = {int(most): (int(batches), int(texts)) for most, (batches, texts) in values["sizes"].items()}
        made._tries = [
            Try(float(at), int(budget), float(rate), int(padded)) for at, budget, rate, padded in values["tries"]
        ]
        made._stride = max(1, int(values.get("tries_of", 1)))  # not in those of earlier versions
        made._batches = made._counted()
        return made

    def _thin(self, stride: int) -> None:
        self._tries, self._stride = self._tries[:: stride // self._stride], stride

    def _counted(self) -> int:
        return sum(one.batches for one in self._budgets.values())

    def _add(self, budget: int, some: OfBudget) -> None:
        found = self._budgets.get(budget)
        self._budgets[budget] = some if found is None else found.with_those_of(some)

    def _add_sizes(self, most: int, batches: int, texts: int) -> None:
        found = self._sizes.get(most, (0, 0))
        self._sizes[most] = found[0] + batches, found[1] + texts

    def _note_lengths(self, lengths: np.ndarray, padded_to: float) -> None:
        # The exponent of the power of two that is no smaller.
        steps = np.frexp(np.maximum(lengths, 1) - 0.5)[1]
        for step in np.unique(steps).tolist():
            some = lengths[steps == step]
            kept = self._lengths.setdefault(1 << max(step, 0), np.zeros(3))
            kept += (len(some), some.sum(), len(some) * padded_to - some.sum())


def _power_of_two(number: int) -> int:
    """The smallest that is no smaller."""
    return 1 << max(number - 1, 0).bit_length()
