"""Kernels of searching: scans, exact scores, and the heaps between them.

A row enters a query's heap by its exact float64 score alone; the scan's float32 score only decides whether the exact one is
worth computing. So each heap holds, at any time, the exact best k of the rows seen.
"""

from __future__ import annotations

import numpy as np

from vjaccel_numpy.jit import kernel, summing_kernel

__all__ = [
    "COSINE",
    "DOT",
    "EXPANDED",
    "MANHATTAN",
    "SQUARES",
    "add_rows",
    "collect",
    "offer_all",
    "row_facts",
    "scan_rows",
]

DOT, COSINE, SQUARES, MANHATTAN, EXPANDED = range(5)
"""What a scan computes. EXPANDED are squares by 2 q.x - |x|^2, which a matrix product gives; SQUARES takes differences."""

STEP = 64
"""Scores that are looked at together."""


@kernel
def halving_sum(terms, length):
    """The sum of `terms[:length]` in the order of `vjaccel.arrays.search.halving_sum`; overwrites them."""
    while length > 1:
        half = 1
        while half * 2 < length:
            half *= 2
        for j in range(length - half):
            terms[j] += terms[half + j]
        length = half
    return terms[0] if length else 0.0


@kernel
def exact_score(code, query, query_norm, row, row_norm, terms):
    """The float64 score of `row`, bit for bit that of `GenericSearch.exact_scores`."""
    dim = query.shape[0]
    if code == DOT or code == COSINE:
        for j in range(dim):
            terms[j] = query[j] * np.float64(row[j])
        total = halving_sum(terms, dim)
        if code == DOT:
            return total
        norms = query_norm * row_norm
        return total / norms if norms != 0.0 else 0.0
    if code == MANHATTAN:
        for j in range(dim):
            terms[j] = abs(query[j] - np.float64(row[j]))
    else:
        for j in range(dim):
            difference = query[j] - np.float64(row[j])
            terms[j] = difference * difference
    return -halving_sum(terms, dim)


@kernel
def worse(score, index, other_score, other_index):
    return score < other_score or (score == other_score and index > other_index)


@kernel
def offer(score, index, scores, indices, size):
    """Put a row into the heap whose root is the worst kept, if it is better; the heap's new size."""
    k = scores.shape[0]
    if size < k:
        place = size
        while place > 0:
            parent = (place - 1) // 2
            if not worse(score, index, scores[parent], indices[parent]):
                break
            scores[place], indices[place] = scores[parent], indices[parent]
            place = parent
        scores[place], indices[place] = score, index
        return size + 1
    if not worse(scores[0], indices[0], score, index):
        return size
    place = 0
    while True:
        child = 2 * place + 1
        if child >= k:
            break
        if child + 1 < k and worse(scores[child + 1], indices[child + 1], scores[child], indices[child]):
            child += 1
        if not worse(scores[child], indices[child], score, index):
            break
        scores[place], indices[place] = scores[child], indices[child]
        place = child
    scores[place], indices[place] = score, index
    return size


@kernel
def offer_all(scores, indices, heap_scores, heap_indices, size):
    """Offer rows to one query's heap; a score of -inf is no row. `size` is (1,)."""
    for a in range(scores.shape[0]):
        if scores[a] > -np.inf:
            size[0] = offer(scores[a], indices[a], heap_scores, heap_indices, size[0])


@kernel
def add_rows(rows, total):
    """Add the finite numbers of each column to `total` (dim,)."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            x = np.float64(rows[i, j])
            total[j] += x if np.isfinite(x) else 0.0


@kernel
def line_under(worst, absolute, relative, shift):
    """The scan score below which no row can be as good as `worst`, rounded down to where float32 can say it."""
    line = worst - absolute - relative * abs(worst) - shift
    return line - abs(line) * 2.0**-23 - 2.0**-149


@kernel
def any_reaches(scores, weight, code, line):
    # An "or" of comparisons vectorises as it stands; a maximum does so only if NaN may be ignored.
    hit = False
    if code == COSINE:
        for a in range(scores.shape[0]):
            hit |= scores[a] * weight[a] >= line
    elif code == EXPANDED:
        for a in range(scores.shape[0]):
            hit |= scores[a] - weight[a] >= line
    else:
        for a in range(scores.shape[0]):
            hit |= scores[a] >= line
    return hit


@kernel
def collect(
    code, scores, first, rows, weight, usable, mask, queries, query_norms, shifts, row_norms, bounds, relative, heaps
):
    """Offer to the heaps all rows whose scan score reaches the query's line.

    Parameters
    ----------
    scores : (n_queries, t), scan scores before `weight`: COSINE multiplies by it, EXPANDED subtracts it
    first : index in the corpus of the tile's first row
    rows : (t, dim), the tile, exact; weight, usable, row_norms : (n,), of the corpus
    mask : (1 or n_queries, n), or (0, 0) for none
    queries : (n_queries, dim) float64; shifts : (n_queries,), what the scan leaves out of a score
    bounds : (n_queries,), absolute rounding bounds; heaps : scores, indices, sizes
    """
    heap_scores, heap_indices, sizes = heaps
    n_queries, n_rows = scores.shape
    k = heap_scores.shape[1]
    terms = np.empty(queries.shape[1])
    for q in range(n_queries):
        size = sizes[q]
        line = -np.inf
        if size == k:
            line = line_under(heap_scores[q, 0], bounds[q], relative, shifts[q])
        mask_row = q if mask.shape[0] > 1 else 0
        for start in range(0, n_rows, STEP):
            end = min(start + STEP, n_rows)
            narrow = scores.dtype.type(line)
            if not any_reaches(scores[q, start:end], weight[first + start : first + end], code, narrow):
                continue
            for a in range(start, end):
                value = scores[q, a]
                if code == COSINE:
                    value = value * weight[first + a]
                elif code == EXPANDED:
                    value = value - weight[first + a]
                if not value >= line or not usable[first + a]:
                    continue
                if mask.shape[0] and not mask[mask_row, first + a]:
                    continue
                exact = exact_score(code, queries[q], query_norms[q], rows[a], row_norms[first + a], terms)
                size = offer(exact, first + a, heap_scores[q], heap_indices[q], size)
                if size == k:
                    line = line_under(heap_scores[q, 0], bounds[q], relative, shifts[q])
        sizes[q] = size


@summing_kernel
def products_of_four(queries, q, row):
    a = b = c = d = row.dtype.type(0)
    for j in range(row.shape[0]):
        x = row[j]
        a += queries[q, j] * x
        b += queries[q + 1, j] * x
        c += queries[q + 2, j] * x
        d += queries[q + 3, j] * x
    return a, b, c, d


@summing_kernel
def product(query, row):
    total = row.dtype.type(0)
    for j in range(row.shape[0]):
        total += query[j] * row[j]
    return total


@summing_kernel
def squared_distance(query, row):
    total = row.dtype.type(0)
    for j in range(row.shape[0]):
        difference = query[j] - row[j]
        total += difference * difference
    return total


@summing_kernel
def absolute_distance(query, row):
    total = row.dtype.type(0)
    for j in range(row.shape[0]):
        total += abs(query[j] - row[j])
    return total


@kernel
def score_few(code, queries, rows, scores):
    """Scan scores of a few rows that stay in the cache; products of four queries are read off a row at once."""
    n_queries = queries.shape[0]
    q = 0
    if code == DOT or code == COSINE:
        while q + 4 <= n_queries:
            for a in range(rows.shape[0]):
                scores[q, a], scores[q + 1, a], scores[q + 2, a], scores[q + 3, a] = products_of_four(
                    queries, q, rows[a]
                )
            q += 4
        for q in range(q, n_queries):
            for a in range(rows.shape[0]):
                scores[q, a] = product(queries[q], rows[a])
    elif code == SQUARES:
        for q in range(n_queries):
            for a in range(rows.shape[0]):
                scores[q, a] = -squared_distance(queries[q], rows[a])
    else:
        for q in range(n_queries):
            for a in range(rows.shape[0]):
                scores[q, a] = -absolute_distance(queries[q], rows[a])


@kernel
def scan_rows(
    code, narrow, first, rows, weight, usable, mask, queries, query_norms, shifts, row_norms, bounds, relative, heaps
):
    """Scan a tile for queries `narrow` (n_queries, dim) of the scan's dtype, reading each row from memory once."""
    scores = np.empty((narrow.shape[0], STEP), rows.dtype)
    for start in range(0, rows.shape[0], STEP):
        end = min(start + STEP, rows.shape[0])
        part = rows[start:end]
        score_few(code, narrow, part, scores)
        collect(
            code, scores[:, : end - start], first + start, part, weight, usable, mask,
            queries, query_norms, shifts, row_norms, bounds, relative, heaps,
        )  # fmt: skip


@kernel
def row_facts(rows, center, norms, near_squares, finite):
    """What preparing needs of each row: its norm, its squared distance from `center`, whether it is finite.

    Parameters
    ----------
    center : (dim,), or (0,): then `near_squares` is left alone
    """
    dim = rows.shape[1]
    terms = np.empty(dim)
    for i in range(rows.shape[0]):
        for j in range(dim):
            x = np.float64(rows[i, j])
            terms[j] = x * x
        square = halving_sum(terms, dim)
        norms[i] = np.sqrt(square)
        finite[i] = np.isfinite(square)
        if center.shape[0]:
            for j in range(dim):
                x = np.float64(rows[i, j] - center[j])
                terms[j] = x * x
            near_squares[i] = halving_sum(terms, dim)
