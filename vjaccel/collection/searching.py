"""What is found, as a user gets it."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from vjaccel.collection.metadata import copied
from vjaccel.collection.results import Evaluation, Hit, Rows
from vjaccel.collection.store import Nearest, Taken, View
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["evaluated", "included", "rows_of", "searched"]

INCLUDED = ("metadata", "vectors")


def included(include: object) -> set[str]:
    """What hits are to have beside id and score.

    Raises
    ------
    InvalidInput, InvalidType
    """
    if isinstance(include, str) or not isinstance(include, Iterable):
        raise InvalidType(f"include is a list of {', '.join(map(repr, INCLUDED))}, not {include!r}")
    wanted = set(include)
    unknown = sorted(map(repr, wanted - set(INCLUDED)))
    if unknown:
        raise InvalidInput(f"include has {unknown[0]}; there are {', '.join(map(repr, INCLUDED))}")
    return wanted


def searched(
    view: View, queries: np.ndarray, k: int, where: str | None, probes: int | None, wanted: set[str]
) -> list[list[Hit]]:
    """The closest rows of each query, exactly, or by an index in so many `probes`."""
    found = view.nearest(queries, k, where) if probes is None else view.likely(queries, k, where, probes)
    return _hits(view, found, wanted)


def _hits(view: View, found: Nearest, wanted: set[str]) -> list[list[Hit]]:
    """The rows that were found for each query."""
    there = found.handles >= 0
    unique, places = np.unique(found.handles[there], return_inverse=True)
    rows = view.taken(unique, vectors="vectors" in wanted, metadata="metadata" in wanted)
    flat = [_hit(rows, *x) for x in zip(places.tolist(), found.scores[there].tolist(), strict=True)]
    ends = np.cumsum(there.sum(axis=1)).tolist()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def evaluated(view: View, queries: np.ndarray, k: int, probes: int) -> Evaluation:
    """The approximate search beside the exact one."""
    view.nearest(queries[:1], k, None)  # what is held is read before the clock runs
    started = time.perf_counter()
    exact = view.nearest(queries, k, None)
    between = time.perf_counter()
    likely = view.likely(queries, k, None, probes)
    ended = time.perf_counter()
    wanted = [set(row[row >= 0].tolist()) for row in exact.handles]
    found = sum(len(want & set(row.tolist())) for want, row in zip(wanted, likely.handles, strict=True))
    total = sum(map(len, wanted))
    return Evaluation(found / total if total else 1.0, len(queries), k, between - started, ended - between)


def rows_of(found: Taken) -> Rows:
    """Rows of which everything was asked for."""
    assert found.vectors is not None
    assert found.metadata is not None
    return Rows(tuple(found.ids), found.vectors, tuple(found.metadata))


def _hit(rows: Taken, place: int, score: float) -> Hit:
    # Copies: a row may be found for several queries.
    return Hit(
        rows.ids[place],
        score,
        None if rows.metadata is None else copied(rows.metadata[place]),
        None if rows.vectors is None else rows.vectors[place].copy(),
    )
