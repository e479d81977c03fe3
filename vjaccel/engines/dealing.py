"""What is decided where shards are dealt to workers, and workers die: of numbers alone, so that a simulation can ask it too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["GONE_SECONDS", "Absence", "Groups", "groups_of", "shard_rows"]

FEWEST, MOST, SHARDS = 512, 16384, 64
"""Rows of a shard, and how many shards are made between."""

DEATHS = 2
"""Workers that must have died at the same texts before these are looked into."""

PARTS = 8
"""Into which those are cut then, again and again, until the one is found that kills."""

GONE_SECONDS = 60.0
"""How long no node may be there on which a worker could be."""


def shard_rows(rows: int) -> int:
    """Rows of a shard of a run over `rows`, unless one says otherwise.

    Examples
    --------
    >>> [shard_rows(rows) for rows in (100, 100_000, 1_000_000_000)]
    [512, 1563, 16384]
    """
    return min(MOST, max(FEWEST, -(-rows // SHARDS)))


class Groups(NamedTuple):
    """In what groups the rows of a shard are embedded.

    Attributes
    ----------
    failed : int or None
        The row that has been found to kill its workers, which is not embedded again.
    deaths : int
        Workers that count as having died at what follows.
    groups : list of ndarray of int64
        One after the other; they may be empty.
    """

    failed: int | None
    deaths: int
    groups: list[np.ndarray]


def groups_of(left: np.ndarray, deaths: int = 0, suspects: np.ndarray | None = None) -> Groups:
    """All rows that are left at once, but where workers have died of some.

    Parameters
    ----------
    left : ndarray of int64
        Rows of the shard that are not settled.
    deaths : int
        Workers that have died one after the other at the rows that the last had in hand.
    suspects : ndarray of int64, optional
        Those of these rows that are not settled.

    Examples
    --------
    >>> groups_of(np.arange(4), deaths=2, suspects=np.array([1, 2])).groups
    [array([1]), array([2]), array([0, 3])]
    >>> groups_of(np.arange(4), deaths=2, suspects=np.array([1]))
    Groups(failed=1, deaths=0, groups=[array([0, 2, 3])])
    """
    if suspects is None or not len(suspects) or deaths < DEATHS:
        return Groups(None, deaths, [left])
    others = np.setdiff1d(left, suspects)
    if len(suspects) == 1:
        return Groups(int(suspects[0]), 0, [others])
    return Groups(None, deaths, [*np.array_split(suspects, min(PARTS, len(suspects))), others])


class Absence:
    """For how long no node has been there on which a worker could be.

    Examples
    --------
    >>> absence = Absence(now=0.0)
    >>> absence.too_long(50.0, there=True), absence.too_long(100.0, there=False), absence.too_long(111.0, there=False)
    (False, False, True)
    """

    def __init__(self, now: float) -> None:
        self._since = now

    def too_long(self, now: float, *, there: bool, patience: float = GONE_SECONDS) -> bool:
        """Whether the run ends, as it has lasted for more than `patience` seconds; `there` is whether there is a node now."""
        if there:
            self._since = now
        return now - self._since > patience
