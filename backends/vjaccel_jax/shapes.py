"""Shapes that repeat, so that compiled kernels are used again: plain numbers, no arrays."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["bucket", "power_of_two_below", "tiles"]


def bucket(rows: int, most: int) -> int:
    """`rows` or a little more: a power of two up to `most` (one itself), then a multiple of that.

    Examples
    --------
    >>> [bucket(n, 256) for n in (0, 1, 5, 200, 257)]
    [1, 1, 8, 256, 512]
    """
    if rows > most:
        return -(-rows // most) * most
    return 1 << max(rows - 1, 0).bit_length()


def power_of_two_below(number: int) -> int:
    """The largest power of two that is at most `number`, and at least 1.

    Examples
    --------
    >>> [power_of_two_below(n) for n in (0, 1, 7, 8)]
    [1, 1, 4, 8]
    """
    return 1 << (max(number, 1).bit_length() - 1)


def tiles(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Where each tile of `size` rows starts, and its first row that no tile before it had.

    All have one size: the last reaches back into the one before it. `rows` is at least `size`.

    Examples
    --------
    >>> list(tiles(10, 4))
    [(0, 0), (4, 4), (6, 8)]
    """
    for first in range(0, rows, size):
        yield min(first, rows - size), first
