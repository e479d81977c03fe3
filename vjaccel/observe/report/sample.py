"""Rows of any number, of which some thousand are kept, each as likely as any other."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SAMPLE", "Row", "Sample", "beginning"]

SAMPLE = 2000
"""Rows that a map is made of, at most."""

BEGINNING = 160
"""Characters of a text that are shown."""


class Row(NamedTuple):
    """A row of a sample: what it is known by, and the beginning of its text; empty where that is not known."""

    name: str
    text: str


class Sample:
    """Rows with their vectors, chosen as they come; the same rows give the same sample.

    Parameters
    ----------
    most : int
    seed : int

    Attributes
    ----------
    seen : int
        Rows with a vector that it was chosen from.
    """

    def __init__(self, most: int = SAMPLE, seed: int = 0) -> None:
        self.seen = 0
        self._most = most
        self._random = np.random.default_rng(seed)
        self._number = 0
        # Each row has a random key, and the smallest are kept; the heap's first is the largest of them, negative.
        self._kept: list[tuple[float, int, np.ndarray, Row]] = []

    def add(self, ok: np.ndarray, row: Callable[[int], tuple[Row, np.ndarray]]) -> None:
        """Have the rows that are `ok`, bool (n,), to choose from; `row` gives one of them, and its vector (dim,)."""
        keys = np.where(ok, self._random.random(len(ok)), np.inf)
        self.seen += int(ok.sum())
        worst = -self._kept[0][0] if len(self._kept) == self._most else 2.0
        for i in np.flatnonzero(keys < worst).tolist():
            full, key = len(self._kept) == self._most, -float(keys[i])
            if full and key <= self._kept[0][0]:
                continue
            found, vector = row(i)
            entry = (key, self._number + i, np.array(vector, np.float64), found)
            if full:
                heapq.heapreplace(self._kept, entry)
            else:
                heapq.heappush(self._kept, entry)
        self._number += len(ok)

    @property
    def rows(self) -> list[Row]:
        """Those that were chosen, in the order in which they came."""
        return [row for *_, row in self._ordered()]

    @property
    def vectors(self) -> np.ndarray:
        """Their vectors, float64 (m, dim)."""
        kept = [vector for _, _, vector, _ in self._ordered()]
        return np.array(kept) if kept else np.empty((0, 0))

    def _ordered(self) -> list[tuple[float, int, np.ndarray, Row]]:
        return sorted(self._kept, key=lambda entry: entry[1])


def beginning(text: Any, most: int = BEGINNING) -> str:
    """The beginning of a text, in one line."""
    if text is None:
        return ""
    found = " ".join(str(text)[: 4 * most].split())
    return found if len(found) <= most else f"{found[: most - 1]}…"
