"""How long things took, as a histogram of fixed size."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Self

__all__ = ["Latencies"]


class Latencies:
    """How often each latency was seen, in steps of 2%: as much for an endless stream as for one batch."""

    SHORTEST, STEP, STEPS = 1e-6, 1.02, 1200

    def __init__(self, *seconds: float) -> None:
        # By step; a dict, since a run of one batch is asked for its quantiles too.
        self._counts: dict[int, int] = {}
        for each in seconds:
            self.append(each)

    def append(self, seconds: float) -> None:
        """Count one; below a microsecond is one."""
        place = min(round(math.log(max(seconds, self.SHORTEST) / self.SHORTEST) * PER_LOG), self.STEPS - 1)
        self._counts[place] = self._counts.get(place, 0) + 1

    def __add__(self, other: Latencies) -> Latencies:
        both = Latencies()
        for counts in (self._counts, other._counts):
            for place, count in counts.copy().items():
                both._counts[place] = both._counts.get(place, 0) + count
        return both

    def since(self, before: Latencies) -> Latencies:
        """Those that are counted since it was as `before`."""
        made = Latencies()
        made._counts = dict(Counter(self._counts) - Counter(before._counts))
        return made

    def quantile(self, share: float) -> float | None:
        """What so large a share of them did not exceed, in seconds, to 1%; None where there were none."""
        # A copy, since others may count meanwhile.
        counts = sorted(self._counts.copy().items())
        reached = math.ceil(share * sum(count for _, count in counts))
        for (place, _), until in zip(counts, accumulate(count for _, count in counts), strict=True):
            if until >= reached:
                return float(self.SHORTEST * self.STEP**place)
        return None

    def counts(self) -> dict[float, int]:
        """How many there were of each length, in seconds to 1%."""
        return {self.SHORTEST * self.STEP**place: count for place, count in sorted(self._counts.copy().items())}

    def to_dict(self) -> dict[str, int]:
        """Plain values, for JSON: the counts by the number of their step."""
        return {str(place): count for place, count in sorted(self._counts.copy().items())}

    @classmethod
    def from_dict(cls, values: Mapping[str, int]) -> Self:
        """The one that `to_dict` wrote.

        Raises
        ------
        ValueError
            It is none.
        """
        made = cls()
        made._counts = {int(step): int(count) for step, count in values.items()}
        if not all(0 <= step < cls.STEPS for step in made._counts):
            raise ValueError("latencies of steps that there are not: this is no recording")
        return made


PER_LOG = 1 / math.log(Latencies.STEP)
