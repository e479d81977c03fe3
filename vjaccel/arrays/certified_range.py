"""Exact range search from a backend's fast scan: all rows whose score reaches a threshold.

The third step of `certify` alone, whose line is the threshold itself: take all rows `above` it, less the scan's rounding bound,
and `rescore` them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.certify import AT_ONCE, padded
from vjaccel.arrays.protocol import Array, Backend, Metric, Prepared

__all__ = ["HITS", "Found", "candidates", "joined", "least_score", "rescored", "within"]

QUERIES = 256
"""Queries of a range search that share a walk over the corpus."""

HITS = 1 << 22
"""Hits of several queries that are held before they are sorted; beyond it fewer queries share a walk."""


class Found(NamedTuple):
    """Rows for queries, on the host: whose each is, its number, its exact score."""

    queries: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


def least_score(metric: Metric, threshold: float) -> float:
    """The least score, as `rescore` gives them, of a row whose similarity or distance reaches `threshold`."""
    most = sys.float_info.max  # where `rescore` clips
    if metric.is_similarity:
        return max(threshold, -most)
    if metric is not Metric.EUCLIDEAN or threshold * threshold > most:
        return -min(threshold if metric is not Metric.EUCLIDEAN else threshold * threshold, most)
    # A distance is the rounded root of a square: find the last square whose root is not beyond the threshold.
    square = threshold * threshold
    while math.sqrt(square) > threshold:
        square = math.nextafter(square, 0.0)
    while square < most and math.sqrt(math.nextafter(square, math.inf)) <= threshold:
        square = math.nextafter(square, math.inf)
    return -square


def within(
    backend: Backend, queries: Array, prepared: Prepared, least: float, mask: Array | None, most: int | None
) -> Iterator[Found]:
    """The rows whose exact score is at least `least`, exactly, some queries at a time; by query, best first in each.

    Parameters
    ----------
    queries : array, shape (n_queries, dim)
    mask : array of bool, shape (rows,) or (n_queries, rows), or None
    most : int or None
        At most so many rows for each query, the best.
    """
    rows, start = queries.shape[0], 0
    capped = most is not None and most < prepared.rows
    size = max(1, HITS // most) if capped else QUERIES  # type: ignore[operator]  # capped: there is a most
    while start < rows:
        part = slice(start, min(start + size, rows))
        some = queries[part, :]
        some_mask = mask[part, :] if mask is not None and mask.ndim == 2 else mask
        found: Found | None
        if capped:
            found = _best_reaching(backend, some, prepared, least, some_mask, most)  # type: ignore[arg-type]  # the same
        else:
            found = _reaching(backend, some, prepared, least, some_mask, HITS if size > 1 else sys.maxsize)
        if found is None:
            size = max(1, size // 4)
            continue
        yield Found(found.queries + start, found.ids, found.scores)
        start = part.stop


def _best_reaching(
    backend: Backend, queries: Array, prepared: Prepared, least: float, mask: Array | None, most: int
) -> Found:
    scores, ids = (backend.to_numpy(x) for x in backend.topk(queries, prepared, most, mask))
    whose, place = np.nonzero((ids >= 0) & (scores >= least))
    return Found(whose, ids[whose, place], scores[whose, place])


def _reaching(
    backend: Backend, queries: Array, prepared: Prepared, least: float, mask: Array | None, limit: int
) -> Found | None:
    """What `queries` reach, sorted; None where that is more than `limit` rows."""
    parts, total = [], 0
    for whose, ids in candidates(backend, queries, prepared, least, mask):
        scores = rescored(backend, queries, prepared, whose, ids)
        reached = scores >= least
        parts.append(Found(whose[reached], ids[reached], scores[reached]))
        total += len(parts[-1].ids)
        if total > limit:
            return None
    whose, ids, scores = joined(parts)
    order = np.lexsort((ids, -scores, whose))
    return Found(whose[order], ids[order], scores[order])


def candidates(
    backend: Backend, queries: Array, prepared: Prepared, least: float, mask: Array | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All rows that may reach `least`, and some more, a part of the corpus at a time: whose, and which; on the host."""
    if least == math.inf:
        return
    xp = array_namespace(queries)
    with backend.float64():
        absolute, relative = backend.error_bound(queries, prepared)
        lines = least - relative * abs(least) - absolute
    finite = backend.to_numpy(xp.all(xp.isfinite(queries), axis=1))
    if not finite.any():
        return
    if not finite.all():
        # The others are as the first of these, and find nothing: fewer queries would be another shape to compile for.
        chosen = backend.asarray(np.where(finite, np.arange(len(finite)), np.argmax(finite)))
        queries, lines = xp.take(queries, chosen, axis=0), xp.take(lines, chosen, axis=0)
        mask = xp.take(mask, chosen, axis=0) if mask is not None and mask.ndim == 2 else mask
        with backend.float64():
            lines = xp.where(backend.asarray(finite), lines, xp.full_like(lines, math.inf))
    for offsets, ids in backend.above(queries, prepared, lines, mask):
        whose = np.repeat(np.arange(len(finite)), np.diff(offsets))
        wanted = finite[whose]
        if wanted.any():
            yield whose[wanted], backend.to_numpy(ids)[wanted]


def rescored(backend: Backend, queries: Array, prepared: Prepared, whose: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The exact score of the row `ids[i]` for the query `whose[i]`, on the host."""
    xp = array_namespace(queries)
    scores = np.empty(len(ids))
    for start in range(0, len(ids), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        chosen = backend.asarray(padded(whose[part], AT_ONCE, 0))
        wanted = backend.asarray(padded(ids[part], AT_ONCE)[:, None])
        exact = backend.rescore(xp.take(queries, chosen, axis=0), prepared, wanted)
        scores[part] = backend.to_numpy(exact)[: len(ids[part]), 0]
    return scores


def joined(parts: list[Found]) -> Found:
    """All `parts` as one."""
    parts = parts or [Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    return Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))
