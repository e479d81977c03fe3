"""The rows that reach a line, and the exact scores of named rows, by kernels."""

from __future__ import annotations

import numpy as np

from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.search import ORDINARY
from vjaccel_numpy import search_kernels as kernels
from vjaccel_numpy.jit import kernel
from vjaccel_numpy.search import CODES, PreparedVectors
from vjaccel_numpy.threads import share
from vjaccel_numpy.tiles import unlocked

__all__ = ["reached", "rescored"]

ONE_THREAD = 1 << 20


def reached(scores: np.ndarray, lines: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns of `scores` (n, t) that are not below their row's line, as CSR; `usable` is (t,), (1, t) or (n, t)."""
    usable = np.atleast_2d(usable)
    counts = np.empty(len(scores), np.int64)
    work = scores.size // ONE_THREAD
    share(len(scores), work, lambda low, high: _count(scores[low:high], lines[low:high], usable, low, counts[low:high]))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = np.empty(offsets[-1], np.int64)
    share(
        len(scores), work,
        lambda low, high: _fill(scores[low:high], lines[low:high], usable, low, offsets[low : high + 1], columns),
    )  # fmt: skip
    return offsets, columns


def rescored(queries: np.ndarray, prepared: PreparedVectors, ids: np.ndarray) -> np.ndarray | None:
    """The exact scores of the rows `ids` (n, c); None where a vector is beyond the kernel's range, or stored otherwise."""
    vectors = prepared.vectors
    if not vectors.flags.c_contiguous or vectors.dtype not in (np.float32, np.float64):
        return None
    exact = np.ascontiguousarray(queries, dtype=np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    plain = (norms <= ORDINARY) & (norms >= (1 / ORDINARY if prepared.metric is Metric.COSINE else 0.0))
    if not plain.all() or not prepared.ordinary[ids].all():
        return None
    found, rows, numbers = np.empty(ids.shape), unlocked(vectors), np.ascontiguousarray(ids, dtype=np.int64)
    code = CODES.get(prepared.metric, kernels.SQUARES)

    def by_query(low: int, high: int) -> None:
        part = slice(low, high)
        _score(code, exact[part], rows, numbers[part], prepared.norms, found[part])

    def by_id(low: int, high: int) -> None:
        part = slice(low, high)
        _score(code, exact, rows, numbers[:, part], prepared.norms, found[:, part])

    work = ids.size * prepared.dim // ONE_THREAD
    share(*((ids.shape[1], work, by_id) if len(ids) == 1 else (len(ids), work, by_query)))
    return found


@kernel
def _score(code, queries, rows, ids, row_norms, out):
    terms = np.empty(rows.shape[1])
    for i in range(ids.shape[0]):
        norm = 1.0
        if code == kernels.COSINE:
            for j in range(terms.shape[0]):
                terms[j] = queries[i, j] * queries[i, j]
            norm = np.sqrt(kernels.halving_sum(terms))
        for j in range(ids.shape[1]):
            a = ids[i, j]
            if a < 0:
                out[i, j] = -np.inf
            else:
                out[i, j] = kernels.exact_score(code, queries, i, norm, rows, a, row_norms[a], terms)


@kernel
def _count(scores, lines, usable, first, counts):
    for i in range(scores.shape[0]):
        allowed, line, count = usable[first + i if usable.shape[0] > 1 else 0], lines[i], 0
        for j in range(scores.shape[1]):
            count += allowed[j] & (not scores[i, j] < line)
        counts[i] = count


@kernel
def _fill(scores, lines, usable, first, offsets, columns):
    for i in range(scores.shape[0]):
        place = offsets[i]
        if place == offsets[i + 1]:
            continue
        allowed, line = usable[first + i if usable.shape[0] > 1 else 0], lines[i]
        for j in range(scores.shape[1]):
            if allowed[j] and not scores[i, j] < line:
                columns[place] = j
                place += 1
