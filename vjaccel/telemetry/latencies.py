"""How long things took, as a histogram of fixed size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np

__all__ = ["Latencies"]


class Latencies:
    """How often each latency was seen, in steps of 2%: as much for an endless stream as for one batch."""

    SHORTEST, STEP, STEPS = 1e-6, 1.02, 1200

    def __init__(self, *seconds: float) -> None:
        self._counts = np.zeros(self.STEPS, np.int64)
        for each in seconds:
            self.append(each)

    def append(self, seconds: float) -> None:
        """Count one; below a microsecond is one."""
        place = math.log(max(seconds, self.SHORTEST) / self.SHORTEST, self.STEP)
        self._counts[min(round(place), self.STEPS - 1)] += 1

    def __add__(self, other: Latencies) -> Latencies:
        both = Latencies()
        both._counts = self._counts + other._counts
        return both

    def quantile(self, share: float) -> float | None:
        """What so large a share of them did not exceed, in seconds, to 1%; None where there were none."""
        total = int(self._counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * total)))
        return float(self.SHORTEST * self.STEP**place)

    def counts(self) -> dict[float, int]:
        """How many there were of each length, in seconds to 1%."""
        return {self.SHORTEST * self.STEP ** int(i): int(self._counts[i]) for i in np.flatnonzero(self._counts)}

    def to_dict(self) -> dict[str, int]:
        """Plain values, for JSON: the counts by the number of their step."""
        return {str(i): int(self._counts[i]) for i in np.flatnonzero(self._counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, int]) -> Self:
        """The one that `to_dict` wrote."""
        made = cls()
        for step, count in values.items():
            made._counts[int(step)] = count
        return made
