"""Exact top-k, range search and closest pairs from a backend's fast scan: one certificate for all.

A scan in float32 puts scores slightly wrong, and ranks equal rows by where they happened to lie in a tile. So:

1. `scan` for a few candidates more than k, and `rescore` them in float64, each sum in one fixed order;
2. every row that the scan did not return has a scan score of at most the worst returned. If that lies below the k-th exact
   score by more than the scan's rounding bound, no row was missed: the certificate holds;
3. where it does not (many equal or nearly equal rows), take all rows `above` that line, and `rescore` them.

Range search is the third step alone: the line is the threshold itself. Closest pairs are range searches of a set in its own
blocks, whose line is the threshold, or the k-th best score of a pair so far.

The answer is that of a float64 brute force with ties by lower index, whatever the batch, the tile, the threads, the device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.protocol import Array, Backend, Metric, Prepared, TopK

__all__ = ["Closest", "Found", "Verdict", "judged", "least_score", "pairs", "slack", "topk", "within"]

OPEN_QUERIES = 64
"""Queries settled together by the slow way: their candidates are on the host at once."""

COARSER = 4
"""How many times the slack a scan is asked for that has a finer one behind it."""

QUERIES = 256
"""Queries of a range search that share a walk over the corpus."""

HITS = 1 << 22
"""Hits of several queries that are held before they are sorted; beyond it fewer queries share a walk."""

FEWEST, AT_ONCE = 16, 1 << 13
"""Hits scored again in one call: of few sizes, so that libraries that compile for shapes compile for few."""

FIRST_QUERIES, MORE_QUERIES = 16, 1024
"""Rows whose pairs are looked for together: few at first, since all their pairs may be candidates for the k best; eight
times as many each time, since the k best of those seen leave about eight times k candidates in the next."""

BLOCK_ROWS, BLOCK_BYTES = 1 << 12, 64 << 20
"""Rows, and their size in float64, that are prepared together to look for pairs."""


class Found(NamedTuple):
    """Rows for queries, on the host: whose each is, its number, its exact score."""

    queries: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


class Verdict(NamedTuple):
    """What a scan's candidates come to.

    Attributes
    ----------
    found : TopK
    line : array (n_queries,), float64
        The scan's score below which no row is wanted.
    missed : array of bool (n_queries,)
        Where the scan may have left out a row that is.
    """

    found: TopK
    line: Array
    missed: Array


Judge: TypeAlias = Callable[[Array, Array, Array, Array, Array, float, int, bool], Verdict]
"""`judged`, or what a library made of it."""


def slack(k: int) -> int:
    """How many candidates more than `k` a scan is asked for."""
    return 22 + k // 8


def topk(
    backend: Backend,
    queries: Array,
    prepared: Prepared,
    k: int,
    mask: Array | None,
    finer: Prepared | None = None,
    judge: Judge | None = None,
) -> TopK:
    """The best `k` rows for each query, exactly; float64 scores, best first, -inf and -1 where there are fewer.

    Parameters
    ----------
    queries : array, shape (n_queries, dim)
    k : int
        At most the rows of the corpus, at least 1.
    mask : array of bool, shape (rows,) or (n_queries, rows), or None
    finer : Prepared or None
        The same corpus for a finer scan, which is tried where that of `prepared` cannot be certified.
    judge : callable or None
        `judged`, compiled.
    """
    count = min(prepared.rows, k + slack(k) * (1 if finer is None else COARSER))
    scanned, ids = backend.scan(queries, prepared, count, mask)
    with backend.float64():
        exact = backend.rescore(queries, prepared, ids)
        absolute, relative = backend.error_bound(queries, prepared)
        verdict = (judge or judged)(queries, scanned, exact, ids, absolute, relative, k, count == prepared.rows)
    open_queries = np.flatnonzero(backend.to_numpy(verdict.missed))
    if not len(open_queries):
        return verdict.found
    if finer is not None:
        return _scanned_again(backend, queries, finer, mask, verdict.found, open_queries)
    return _settled(backend, queries, prepared, mask, verdict, open_queries)


def judged(
    queries: Array, scanned: Array, exact: Array, ids: Array, absolute: Array, relative: float, k: int, complete: bool
) -> Verdict:
    """The best `k` of the rows `ids` that were scanned, by their exact scores, and the queries whose answer may be another.

    Parameters
    ----------
    absolute, relative
        The bound of the scan's scores, as `Backend.error_bound` gives it.
    complete : bool
        Whether `ids` are all rows there are.
    """
    xp = array_namespace(exact)
    exact, ids = ranked(exact, ids, k)
    finite = xp.all(xp.isfinite(queries), axis=1)
    exact = xp.where(finite[:, None], exact, -xp.inf)
    ids = xp.where(finite[:, None], ids, -1)
    line = exact[:, -1] - absolute - relative * xp.abs(exact[:, -1])
    missed = absolute == xp.inf  # such a query's scores overflow: a row may even look as if it were refused
    if not complete:
        worst = xp.min(xp.astype(scanned, xp.float64), axis=1)
        missed = missed | ((worst != -xp.inf) & ~(worst < line))  # a NaN is a miss
    return Verdict(TopK(exact, ids), line, missed & finite)


def ranked(exact: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """The best `k` of each row by score, then lower id, best first."""
    xp = array_namespace(exact)
    by_id = xp.argsort(ids, axis=1, stable=True)
    exact, ids = xp.take_along_axis(exact, by_id, axis=1), xp.take_along_axis(ids, by_id, axis=1)
    order = xp.argsort(-exact, axis=1, stable=True)[:, :k]
    return xp.take_along_axis(exact, order, axis=1), xp.take_along_axis(ids, order, axis=1)


def _scanned_again(
    backend: Backend, queries: Array, finer: Prepared, mask: Array | None, found: TopK, missed: np.ndarray
) -> TopK:
    """`found`, with the queries `missed` answered by a finer scan."""
    xp = array_namespace(queries)
    chosen = backend.asarray(missed)
    some_mask = xp.take(mask, chosen, axis=0) if mask is not None and mask.ndim == 2 else mask
    again = backend.topk(xp.take(queries, chosen, axis=0), finer, found.values.shape[1], some_mask)
    values, indices = (np.array(backend.to_numpy(x)) for x in found)
    values[missed], indices[missed] = (backend.to_numpy(x) for x in again)
    with backend.float64():
        return TopK(backend.asarray(values), backend.asarray(indices))


def _settled(
    backend: Backend,
    queries: Array,
    prepared: Prepared,
    mask: Array | None,
    verdict: Verdict,
    missed: np.ndarray,
) -> TopK:
    """What was found, with the queries `missed` answered from all rows above their line. Rare; ranked on the host."""
    k = verdict.found.values.shape[1]
    values, indices, lines = (np.array(backend.to_numpy(x)) for x in (*verdict.found, verdict.line))
    for start in range(0, len(missed), OPEN_QUERIES):
        part = missed[start : start + OPEN_QUERIES]
        chosen = backend.asarray(part)
        xp = array_namespace(queries)
        some = xp.take(queries, chosen, axis=0)
        some_mask = xp.take(mask, chosen, axis=0) if mask is not None and mask.ndim == 2 else mask
        # Each taken by its number, which is data: where a slice begins would be something to compile for.
        ones = (xp.take(queries, backend.asarray(part[i : i + 1]), axis=0) for i in range(len(part)))
        best = [_Best(backend, one, prepared, k) for one in ones]
        with backend.float64():
            thresholds = backend.asarray(lines[part])
        for offsets, ids in backend.above(some, prepared, thresholds, some_mask):
            these = backend.to_numpy(ids)
            for i in np.flatnonzero(np.diff(offsets)):
                best[i].offer(these[offsets[i] : offsets[i + 1]])
        for row, one in zip(part, best, strict=True):
            exact, found_ids = one.found()
            values[row, : len(found_ids)], indices[row, : len(found_ids)] = exact, found_ids
    with backend.float64():
        return TopK(backend.asarray(values), backend.asarray(indices))


class _Best:
    """The best `k` of the rows offered to one query, many of which are scored at once."""

    def __init__(self, backend: Backend, query: Array, prepared: Prepared, k: int) -> None:
        self._backend, self._query, self._prepared, self._k = backend, query, prepared, k
        self._exact, self._ids = np.empty(0), np.empty(0, np.int64)
        self._offered: list[np.ndarray] = []
        self._count = 0
        self._room = max(1, min(AT_ONCE, BLOCK_BYTES // (8 * prepared.dim)))

    def offer(self, ids: np.ndarray) -> None:
        """Rows in ascending order, above all that were offered before."""
        while len(ids):
            part, ids = np.split(ids, [self._room - self._count])
            self._offered.append(part)
            self._count += len(part)
            if self._count == self._room:
                self.found()

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """The exact scores, best first, and the rows."""
        if self._count:
            ids = self._unlike(np.concatenate(self._offered))
            wanted = self._backend.asarray(_padded(ids, self._room)[None, :])
            exact = self._backend.to_numpy(self._backend.rescore(self._query, self._prepared, wanted))[0][: len(ids)]
            exact, ids = np.concatenate([self._exact, exact]), np.concatenate([self._ids, ids])
            order = np.lexsort((ids, -exact))[: self._k]
            self._exact, self._ids, self._offered, self._count = exact[order], ids[order], [], 0
        return self._exact, self._ids

    def _unlike(self, ids: np.ndarray) -> np.ndarray:
        """`ids`, less what equals one of them `k` times before: their scores are the same, and theirs the lower indices.

        Copies of one row are why most queries come here. Rows are compared with the one in the middle.
        """
        if len(ids) < 4 * self._k + 64:
            return ids
        vectors, middle = self._prepared.vectors, len(ids) // 2
        xp = array_namespace(vectors)
        rows, one = (
            xp.take(vectors, self._backend.asarray(x), axis=0)
            for x in (_padded(ids, self._room, 0), ids[middle : middle + 1])
        )
        alike = self._backend.to_numpy(xp.all(rows == one, axis=1))[: len(ids)]
        return np.sort(np.concatenate([ids[~alike], ids[alike][: self._k]]))


def _padded(numbers: np.ndarray, most: int, value: int = -1) -> np.ndarray:
    """`numbers`, of which there are at most `most`, and `value` until there are one of few counts."""
    bits = (len(numbers) - 1).bit_length()
    size = min(max(FEWEST, 1 << (bits + bits % 2)), most)
    return np.pad(numbers, (0, size - len(numbers)), constant_values=value)


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
        chosen = backend.asarray(_padded(whose[part], AT_ONCE, 0))
        wanted = backend.asarray(_padded(ids[part], AT_ONCE)[:, None])
        exact = backend.rescore(xp.take(queries, chosen, axis=0), prepared, wanted)
        scores[part] = backend.to_numpy(exact)[: len(ids[part]), 0]
    return scores


def joined(parts: list[Found]) -> Found:
    """All `parts` as one."""
    parts = parts or [Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    return Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Closest:
    """The pairs seen that reach a line, and the line, which rises to the k-th best of them.

    Attributes
    ----------
    line : float
        The score below which no pair is wanted.
    """

    def __init__(self, k: int | None, least: float) -> None:
        self.line = least
        self._k = k
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held, self._room = 0, k
        self._last: tuple[int, int] | None = None

    def add(self, left: np.ndarray, right: np.ndarray, scores: np.ndarray) -> None:
        """Keep of these pairs what is wanted."""
        reached = scores >= self.line
        self._parts.append((left[reached], right[reached], scores[reached]))
        self._held += len(self._parts[-1][0])
        if self._k is not None and self._held >= self._room:  # type: ignore[operator]  # where there is a k there is room
            self.best()

    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs kept, best first, ties by the left row and then the right."""
        parts = self._parts or [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        left, right, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((right, left, -scores))[: self._k]
        found = left[order], right[order], scores[order]
        self._parts, self._held = [found], len(order)
        if self._k is not None and len(order) == self._k:
            # Sorted again at twice as many: each pair is sorted twice on average.
            self._room = 2 * self._k
            self.line = max(self.line, float(found[2][-1]))
            self._last = int(found[0][-1]), int(found[1][-1])
        return found

    def closed(self, left: int, right: int, metric: Metric) -> bool:
        """Whether no pair from (left, right) on can be better than those kept: all are at no distance, and come before."""
        return self._last is not None and not metric.is_similarity and self.line == 0.0 and self._last < (left, right)


def pairs(
    backend: Backend, x: Array, metric: Metric, k: int | None, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of rows of `x`, the left before the right, whose exact score is at least `least`; of them the `k` best.

    On the host: left and right rows and scores, best first, ties by the left row and then the right.
    """
    rows, step = x.shape[0], FIRST_QUERIES
    columns = min(BLOCK_ROWS, max(BLOCK_BYTES // (8 * x.shape[1]), MORE_QUERIES))
    closest = Closest(k, least)
    for low in range(0, rows, columns):
        high, start = min(low + columns, rows), 0
        prepared = backend.prepare(x[low:high, :], metric)
        while start < high:
            stop = min(start + step, high)
            if not closest.closed(start, max(low, start + 1), metric):
                _add_pairs(backend, x[start:stop, :], start, prepared, low, closest)
            start, step = stop, min(8 * step, MORE_QUERIES)
    return closest.best()


def _add_pairs(backend: Backend, queries: Array, start: int, prepared: Prepared, low: int, closest: Closest) -> None:
    """Offer the pairs of `queries`, rows from `start` on, and a prepared block, rows from `low` on."""
    for whose, ids in candidates(backend, queries, prepared, closest.line, None):
        before = whose + start < ids + low
        whose, ids = whose[before], ids[before]
        for part in (slice(i, i + HITS // 4) for i in range(0, len(ids), HITS // 4)):
            scores = rescored(backend, queries, prepared, whose[part], ids[part])
            closest.add(whose[part] + start, ids[part] + low, scores)
