"""Exact top-k from a backend's fast scan: the certificate, which `certified_range` and `certified_pairs` stand on too.

A scan in float32 puts scores slightly wrong, and ranks equal rows by where they happened to lie in a tile. So:

1. `scan` for a few candidates more than k, and `rescore` them in float64, each sum in one fixed order;
2. every row that the scan did not return has a scan score of at most the worst returned. If that lies below the k-th exact
   score by more than the scan's rounding bound, no row was missed: the certificate holds;
3. where it does not (many equal or nearly equal rows), take all rows `above` that line, and `rescore` them.

The answer is that of a float64 brute force with ties by lower index, whatever the batch, the tile, the threads, the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.protocol import Array, Backend, Prepared, TopK

__all__ = ["Judge", "Verdict", "judged", "padded", "ranked", "slack", "topk"]

OPEN_QUERIES = 64
"""Queries settled together by the slow way: their candidates are on the host at once."""

COARSER = 4
"""How many times the slack a scan is asked for that has a finer one behind it."""

FEWEST, AT_ONCE = 16, 1 << 13
"""Rows scored again in one call: of few sizes, so that libraries that compile for shapes compile for few."""

BLOCK_BYTES = 64 << 20
"""Of rows in float64 that are worked on together."""


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
            wanted = self._backend.asarray(padded(ids, self._room)[None, :])
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
            for x in (padded(ids, self._room, 0), ids[middle : middle + 1])
        )
        alike = self._backend.to_numpy(xp.all(rows == one, axis=1))[: len(ids)]
        return np.sort(np.concatenate([ids[~alike], ids[alike][: self._k]]))


def padded(numbers: np.ndarray, most: int, value: int = -1) -> np.ndarray:
    """`numbers`, of which there are at most `most`, and `value` until there are one of few counts."""
    bits = (len(numbers) - 1).bit_length()
    size = min(max(FEWEST, 1 << (bits + bits % 2)), most)
    return np.pad(numbers, (0, size - len(numbers)), constant_values=value)
