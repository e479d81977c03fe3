"""What the vector operations take on this machine, measured once in this process when somebody first asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["CALLS", "SIZES", "Measured", "Stopwatch", "measured"]

SIZES = (256, 1024, 4096, 16384)
"""Vectors in a batch that are tried."""
CALLS = 4
"""Of each; the first one compiles, and touches the memory."""
LONG = 0.05
"""Seconds of a batch after which no larger one is tried."""
NEARLY = 0.9
"""The smallest batch is best whose rate is so much of the highest one."""


class Measured(NamedTuple):
    """Seconds that a batch of each of some sizes takes."""

    seconds: dict[int, float]

    @property
    def optimal(self) -> int:
        """The smallest size whose rate is nearly the highest.

        Examples
        --------
        >>> Measured({256: 1.0, 1024: 2.0, 4096: 7.9}).optimal
        1024
        """
        rates = {size: size / seconds for size, seconds in self.seconds.items()}
        return min(size for size, rate in rates.items() if rate >= NEARLY * max(rates.values()))

    def batch(self, size: int) -> float:
        """Seconds of a batch of `size`, between those that were measured and beyond them in proportion."""
        sizes = sorted(self.seconds)
        if size > sizes[-1]:
            return self.seconds[sizes[-1]] * size / sizes[-1]
        return float(np.interp(size, sizes, [self.seconds[one] for one in sizes]))


Stopwatch = Callable[[], float]

_known: dict[tuple[Any, ...], Measured] = {}
_lock = threading.Lock()


def measured(
    key: tuple[Any, ...], make: Callable[[int], Callable[[], object]], clock: Stopwatch = time.perf_counter
) -> Measured:
    """What was measured under `key`, or is now: the best of some calls of `make(size)`, for each size."""
    with _lock:  # two that measure at once would measure each other
        if key not in _known:
            found: dict[int, float] = {}
            for size in SIZES:
                if found and max(found.values()) > LONG:
                    break
                call = make(size)
                call()
                found[size] = min(_timed(call, clock) for _ in range(CALLS - 1))
            _known[key] = Measured(found)
        return _known[key]


def _timed(call: Callable[[], object], clock: Stopwatch) -> float:
    started = clock()
    call()
    return max(clock() - started, 1e-9)
