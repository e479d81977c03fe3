"""What the batches of a run were like: the sizes that were tried and what each gave, and how long their texts were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from vjaccel.telemetry.events import BatchEnded

__all__ = ["Batches"]

TRIES = 512
"""Batches whose budget and rate are kept one by one; of more than that every second, fourth, ... is."""


@dataclass
class _Budget:
    """Of all batches that were cut for one budget."""

    batches: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Batches:
    """It takes no more room for an endless run. Whoever writes to it from several threads holds a lock."""

    def __init__(self) -> None:
        self._budgets: dict[int, _Budget] = {}
        self._lengths: dict[int, np.ndarray] = {}
        self._tries: list[tuple[float, int, float]] = []
        self._batches, self._stride = 0, 1

    def add(self, batch: BatchEnded, at: float, lengths: np.ndarray | None) -> None:
        """Count one that has come back, `at` seconds after the run began; `lengths` are its texts' tokens, int64 (n,)."""
        tokens = batch.tokens or 0
        found = self._budgets.setdefault(batch.budget, _Budget())
        found.batches, found.tokens, found.seconds = (
            found.batches + 1, found.tokens + tokens, found.seconds + batch.seconds
        )  # fmt: skip
        if tokens and self._batches % self._stride == 0:
            self._tries.append((at, batch.budget, tokens / max(batch.seconds, 1e-9)))
            if len(self._tries) > TRIES:
                self._tries, self._stride = self._tries[::2], self._stride * 2
        self._batches += 1
        if lengths is not None and batch.padded is not None:
            self._note_lengths(lengths, batch.padded / len(lengths))

    def take_in(self, other: Batches, offset: float) -> None:
        """Count those of `other` too, whose run began `offset` seconds after this one."""
        for most, found in other._lengths.items():
            self._lengths[most] = self._lengths.get(most, np.zeros(3)) + found
        for size, one in other._budgets.items():
            mine = self._budgets.setdefault(size, _Budget())
            mine.batches, mine.tokens = mine.batches + one.batches, mine.tokens + one.tokens
            mine.seconds += one.seconds
        self._tries += [(offset + at, budget, rate) for at, budget, rate in other._tries]
        while len(self._tries) > TRIES:
            self._tries = self._tries[::2]

    def lengths(self) -> dict[int, np.ndarray]:
        """By the smallest power of two that is no shorter than a text: how many texts, their tokens, and the padding."""
        return {most: found.copy() for most, found in self._lengths.items()}

    def budgets(self) -> dict[int, tuple[int, int, float]]:
        """By the budget for which they were cut: batches, their tokens, their seconds."""
        return {size: (one.batches, one.tokens, one.seconds) for size, one in sorted(self._budgets.items())}

    def tries(self) -> list[tuple[float, int, float]]:
        """Of batches, evenly many over the run: when each ended, its budget, its tokens a second."""
        return list(self._tries)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lengths": {str(most): found.tolist() for most, found in sorted(self._lengths.items())},
            "budgets": {
                str(size): [one.batches, one.tokens, round(one.seconds, 4)] for size, one in self._budgets.items()
            },
            "tries": [[round(at, 3), budget, round(rate, 1)] for at, budget, rate in self._tries],
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
        made._budgets = {int(size): _Budget(*found) for size, found in values["budgets"].items()}
        made._tries = [(float(at), int(budget), float(rate)) for at, budget, rate in values["tries"]]
        return made

    def _note_lengths(self, lengths: np.ndarray, padded_to: float) -> None:
        # The exponent of the power of two that is no smaller.
        steps = np.frexp(np.maximum(lengths, 1) - 0.5)[1]
        for step in np.unique(steps).tolist():
            some = lengths[steps == step]
            kept = self._lengths.setdefault(1 << max(step, 0), np.zeros(3))
            kept += (len(some), some.sum(), len(some) * padded_to - some.sum())
