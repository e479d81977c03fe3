"""Exact top-k from a backend's fast scan: one certificate for all.

A scan in float32 puts scores slightly wrong, and ranks equal rows by where they happened to lie in a tile. So:

1. `scan` for a few candidates more than k, and `rescore` them in float64, each sum in one fixed order;
2. every row that the scan did not return has a scan score of at most the worst returned. If that lies below the k-th exact
   score by more than the scan's rounding bound, no row was missed: the certificate holds;
3. where it does not (many equal or nearly equal rows), take all rows `above` that line, and `rescore` them.

The answer is that of a float64 brute force with ties by lower index, whatever the batch, the tile, the threads, the device.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.protocol import Array, Backend, Prepared, TopK

__all__ = ["slack", "topk"]

OPEN_QUERIES = 64
"""Queries settled together by the slow way: their candidates are on the host at once."""


def slack(k: int) -> int:
    """How many candidates more than `k` a scan is asked for."""
    return 22 + k // 8


def topk(backend: Backend, queries: Array, prepared: Prepared, k: int, mask: Array | None) -> TopK:
    """The best `k` rows for each query, exactly; float64 scores, best first, -inf and -1 where there are fewer.

    Parameters
    ----------
    queries : array, shape (n_queries, dim)
    k : int
        At most the rows of the corpus, at least 1.
    mask : array of bool, shape (rows,) or (n_queries, rows), or None
    """
    count = min(prepared.rows, k + slack(k))
    scanned, ids = backend.scan(queries, prepared, count, mask)
    xp = array_namespace(scanned)
    with backend.float64():
        exact, ids = ranked(backend.rescore(queries, prepared, ids), ids, k)
        finite = xp.all(xp.isfinite(queries), axis=1)
        exact = xp.where(finite[:, None], exact, -xp.inf)
        ids = xp.where(finite[:, None], ids, -1)
        absolute, relative = backend.error_bound(queries, prepared)
        line = exact[:, -1] - absolute - relative * xp.abs(exact[:, -1])
        missed = absolute == xp.inf  # such a query's scores overflow: a row may even look as if it were refused
        if count < prepared.rows:
            worst = xp.min(xp.astype(scanned, xp.float64), axis=1)
            missed = missed | ((worst != -xp.inf) & ~(worst < line))  # a NaN is a miss
        missed = missed & finite
        if not bool(xp.any(missed)):
            return TopK(exact, ids)
    return _settled(backend, queries, prepared, mask, TopK(exact, ids), line, np.flatnonzero(backend.to_numpy(missed)))


def ranked(exact: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """The best `k` of each row by score, then lower id, best first."""
    xp = array_namespace(exact)
    by_id = xp.argsort(ids, axis=1, stable=True)
    exact, ids = xp.take_along_axis(exact, by_id, axis=1), xp.take_along_axis(ids, by_id, axis=1)
    order = xp.argsort(-exact, axis=1, stable=True)[:, :k]
    return xp.take_along_axis(exact, order, axis=1), xp.take_along_axis(ids, order, axis=1)


def _settled(
    backend: Backend,
    queries: Array,
    prepared: Prepared,
    mask: Array | None,
    found: TopK,
    line: Array,
    missed: np.ndarray,
) -> TopK:
    """`found`, with the queries `missed` answered from all rows above their line. Rare; ranked on the host."""
    k = found.values.shape[1]
    values, indices = (np.array(backend.to_numpy(x)) for x in found)
    for start in range(0, len(missed), OPEN_QUERIES):
        part = missed[start : start + OPEN_QUERIES]
        chosen = backend.asarray(part)
        xp = array_namespace(queries)
        some = xp.take(queries, chosen, axis=0)
        some_mask = xp.take(mask, chosen, axis=0) if mask is not None and mask.ndim == 2 else mask
        best = [(np.empty(0), np.empty(0, np.int64)) for _ in part]
        for offsets, ids in backend.above(some, prepared, xp.take(line, chosen, axis=0), some_mask):
            for i in np.flatnonzero(np.diff(offsets)):
                these = ids[int(offsets[i]) : int(offsets[i + 1])]
                exact = backend.to_numpy(backend.rescore(some[i : i + 1, :], prepared, these[None, :]))[0]
                best[i] = _merged(best[i], exact, backend.to_numpy(these), k)
        for row, (exact, ids) in zip(part, best, strict=True):
            values[row, : len(ids)], indices[row, : len(ids)] = exact, ids
    with backend.float64():
        return TopK(backend.asarray(values), backend.asarray(indices))


def _merged(
    best: tuple[np.ndarray, np.ndarray], exact: np.ndarray, ids: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    exact, ids = np.concatenate([best[0], exact]), np.concatenate([best[1], ids])
    order = np.lexsort((ids, -exact))[:k]
    return exact[order], ids[order]
