"""The best scores of each row by the maxima of groups, for libraries that sort whole rows to find a few."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vjaccel.arrays.protocol import Array

__all__ = ["group_size", "largest_by_groups"]

LEAST = 8
"""Narrower groups do not pay."""


def group_size(columns: int, count: int) -> int:
    """The width of groups for the best `count` of `columns` by the maxima of groups; 1 where that does not pay.

    It reads ``columns / size`` maxima and then ``count * size`` scores: least where they are equal.

    Examples
    --------
    >>> [group_size(*case) for case in ((200_000, 33), (8192, 33), (1000, 33))]
    [64, 8, 1]
    """
    size: int = 1 << (max(math.isqrt(columns // count), 1).bit_length() - 1)
    return size if size >= LEAST else 1


def largest_by_groups(xp: Any, best: Callable[[Array, int], Array], scores: Array, count: int) -> Array:
    """Columns of the `count` largest scores in each row, in any order.

    A score that fewer than `count` others beat lies in one of the `count` groups with the largest maxima; so this is exact,
    and `best`, the library's own way to the same, is asked for few scores only.

    Parameters
    ----------
    best : callable (scores, count) -> columns
    scores : array, shape (n, m)
    count : int
        At most m.
    """
    n, m = scores.shape
    size = group_size(m, count)
    if size == 1:
        return best(scores, count)
    whole = m // size
    groups = xp.reshape(scores[:, : whole * size], (n, whole, size))
    chosen = best(xp.max(groups, axis=2), count)
    columns = xp.reshape(chosen[:, :, None] * size + xp.arange(size, dtype=chosen.dtype), (n, count * size))
    rest = xp.broadcast_to(xp.arange(whole * size, m, dtype=chosen.dtype), (n, m - whole * size))
    columns = xp.concat([columns, rest], axis=1)
    found = best(xp.take_along_axis(scores, columns, axis=1), count)
    return xp.take_along_axis(columns, found, axis=1)
