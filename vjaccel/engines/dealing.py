"""What is decided where shards are dealt to workers, and workers die: of numbers alone, so that a simulation can ask it too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vjaccel.cluster.resources import Workers

__all__ = ["GONE_SECONDS", "Absence", "Groups", "dealt", "groups_of"]

FEWEST, MOST = 512, 16384
"""Rows of a shard."""

PART = 3
"""Of the rows that are left, each worker's next shard has such a part of its even share."""

UNKNOWN = 20
"""Workers that rows are dealt for, where nobody says how many there are at most."""

DEATHS = 2
"""Workers that must have died at the same texts before these are looked into."""

PARTS = 8
"""Into which those are cut then, again and again, until the one is found that kills."""

GONE_SECONDS = 60.0
"""How long no node may be there on which a worker could be."""


def dealt(rows: int, workers: Workers, size: int | None = None) -> np.ndarray:
    """Where the shards of a run over `rows` by `workers` begin, and the end of the last, int64 (shards + 1,).

    Large ones come first, since each worker comes to a stop at a shard's end and pads the fewer texts the more it has to choose
    neighbours from; and small ones last, so that all workers end together: guided self-scheduling (Polychronopoulos and Kuck,
    IEEE Transactions on Computers C-36, 1987). Where fewer rows are dealt there are never more shards.

    Parameters
    ----------
    workers : Workers
        As many share the rows as there are at most; where nobody says that, `UNKNOWN`, or the least if that is more.
    size : int, optional
        Rows of each, where one says so.

    Examples
    --------
    >>> np.diff(dealt(10_000, Workers(1, 1))).tolist()
    [3334, 2222, 1482, 988, 658, 512, 512, 292]
    >>> np.diff(dealt(10_000, Workers(1, 1), size=4000)).tolist()
    [4000, 4000, 2000]
    """
    parts, at, starts = PART * (workers.most or max(workers.least, UNKNOWN)), 0, [0]
    while at < rows:
        at = min(rows, at + (size or min(MOST, max(FEWEST, -(-(rows - at) // parts)))))
        starts.append(at)
    return np.array(starts, np.int64)


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
