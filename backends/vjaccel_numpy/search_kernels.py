"""Kernels of searching: scans, exact scores, and the heaps between them.

A row enters a query's heap by its exact float64 score alone; the scan's float32 score only decides whether the exact one is
worth computing. So each heap holds, at any time, the exact best k of the rows seen.
"""

from __future__ import annotations

import numpy as np

from vjaccel_numpy.jit import inlined, kernel, summing_kernel

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
    "scan_distances",
    "scan_products",
]

DOT, COSINE, SQUARES, MANHATTAN, EXPANDED = range(5)
"""What a scan computes. EXPANDED are squares by 2 q.x - |x|^2, which a matrix product gives; SQUARES takes differences."""

STEP = 64
"""Scores that are looked at together."""


@kernel
def halving_sum(terms):
    """The sum in the order of `vjaccel.arrays.search.halving_sum`; overwrites `terms`."""
    length = terms.shape[0]
    while length > 1:
        half = 1
        while half * 2 < length:
            half *= 2
        # As two slices, which cannot overlap, the additions vectorise: four times as fast as by index.
        lower, upper = terms[: length - half], terms[half:length]
        for j in range(length - half):
            lower[j] += upper[j]
        length = half
    return terms[0]


@inlined
def multiply(queries, q, rows, a, terms):
    for j in range(terms.shape[0]):
        terms[j] = queries[q, j] * np.float64(rows[a, j])


@inlined
def subtract(queries, q, rows, a, terms):
    for j in range(terms.shape[0]):
        terms[j] = abs(queries[q, j] - np.float64(rows[a, j]))


@kernel
def square(terms):
    for j in range(terms.shape[0]):
        terms[j] *= terms[j]


@inlined
def exact_score(code, queries, q, query_norm, rows, a, row_norm, terms):
    """The float64 score of query `q` and row `a`, bit for bit that of `GenericSearch.exact_scores`."""
    if code in (DOT, COSINE):
        multiply(queries, q, rows, a, terms)
        total = halving_sum(terms)
        if code == COSINE:
            norms = query_norm * row_norm
            total = total / norms if norms != 0.0 else 0.0
        return total
    subtract(queries, q, rows, a, terms)
    if code != MANHATTAN:
        square(terms)
    return -halving_sum(terms)


@kernel
def worse(score, index, other_score, other_index):
    return score < other_score or (score == other_score and index > other_index)


@kernel
def offer(score, index, scores, indices, q, size):
    """Put a row into query `q`'s heap, whose root is the worst kept, if it is better; the heap's new size."""
    k = scores.shape[1]
    if size < k:
        place = size
        while place > 0:
            parent = (place - 1) // 2
            if not worse(score, index, scores[q, parent], indices[q, parent]):
                break
            scores[q, place], indices[q, place] = scores[q, parent], indices[q, parent]
            place = parent
        scores[q, place], indices[q, place] = score, index
        return size + 1
    if not worse(scores[q, 0], indices[q, 0], score, index):
        return size
    place = 0
    while True:
        child = 2 * place + 1
        if child >= k:
            break
        if child + 1 < k and worse(scores[q, child + 1], indices[q, child + 1], scores[q, child], indices[q, child]):
            child += 1
        if not worse(scores[q, child], indices[q, child], score, index):
            break
        scores[q, place], indices[q, place] = scores[q, child], indices[q, child]
        place = child
    scores[q, place], indices[q, place] = score, index
    return size


@kernel
def offer_all(exact, indices, heaps):
    """Offer the rows `indices` (c,) to each query's heap by `exact` (n_queries, c); a score of -inf is no row."""
    heap_scores, heap_indices, sizes = heaps[0], heaps[1], heaps[2]
    for q in range(exact.shape[0]):
        for a in range(exact.shape[1]):
            if exact[q, a] > -np.inf:
                sizes[q] = offer(exact[q, a], indices[a], heap_scores, heap_indices, q, sizes[q])


@kernel
def add_rows(rows, total):
    """Add the finite numbers of each column to `total` (dim,)."""
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            x = np.float64(rows[i, j])
            total[j] += x if np.isfinite(x) else 0.0


@inlined
def line_under(worst, absolute, relative, shift):
    """The scan score below which no row can be as good as `worst`, rounded down to where float32 can say it."""
    line = worst - absolute - relative * abs(worst) - shift
    return line - abs(line) * 2.0**-23 - 2.0**-149


@inlined
def weighted(code, score, weight):
    if code == COSINE:
        return score * weight
    if code == EXPANDED:
        return score - weight
    return score


@kernel
def same_rows(rows, a, b):
    if rows[a, 0] != rows[b, 0]:
        return False
    differ = False
    for j in range(rows.shape[1]):
        differ |= rows[a, j] != rows[b, j]
    return not differ


@inlined
def consider(code, q, place, rows, a, corpus, wanted, heaps, terms):
    """Offer row `a` of the tile, which is row `place` of the corpus, to query `q`'s heap."""
    _, ordinary, row_norms, mask = corpus
    queries, query_norms, shifts, bounds, relative = wanted
    scores, indices, sizes, lines, last, last_scores = heaps
    if not ordinary[place]:
        return
    if mask.shape[0] and not mask[q if mask.shape[0] > 1 else 0, place]:
        return
    if last[q] < 0 or not same_rows(rows, a, last[q]):
        last_scores[q] = exact_score(code, queries, q, query_norms[q], rows, a, row_norms[place], terms)
        last[q] = a
    sizes[q] = offer(last_scores[q], place, scores, indices, q, sizes[q])
    if sizes[q] == scores.shape[1]:
        line = line_under(scores[q, 0], bounds[q], relative, shifts[q])
        if line > lines[q]:  # a store takes the line out of the other threads' caches
            lines[q] = line


@kernel
def any_reaches(code, scores, a, start, many, lines, weight):
    """Whether one of the scores `start` to `start + many` of row `a` reaches its line.

    An "or" of comparisons vectorises as it stands; a maximum would only if NaN could be ignored. Unsigned, `start` needs no
    check for counting from the end, which would keep the loops from vectorising.
    """
    hit = False
    if code == COSINE:
        for i in range(many):
            hit |= scores[a, start + i] * weight >= lines[start + i]
    elif code == EXPANDED:
        for i in range(many):
            hit |= scores[a, start + i] - weight >= lines[start + i]
    else:
        for i in range(many):
            hit |= scores[a, start + i] >= lines[start + i]
    return hit


@kernel
def collect(code, scores, first, rows, corpus, wanted, heaps):
    """Consider a tile's rows for many queries.

    Parameters
    ----------
    scores : (t, n_queries), scan scores before the weight: COSINE multiplies by it, EXPANDED subtracts it
    first : index in the corpus of the tile's first row
    rows : (t, dim), the tile, exact
    corpus : weight, ordinary, norms, each (n,); mask, (1 or n_queries, n), or (0, 0) for none
    wanted : queries in float64 (n_queries, dim), their norms, what the scan leaves out of their scores, the scan's absolute
        rounding bounds, each (n_queries,); its relative bound
    heaps : scores, indices, each (n_queries, k); sizes, lines, the tile's row that was scored last and its
        score, each (n_queries,)
    """
    weights, lines = corpus[0], heaps[3]
    n_queries = scores.shape[1]
    heaps[4][:] = -1
    terms = np.empty(rows.shape[1])
    for a in range(scores.shape[0]):
        weight = weights[first + a]
        for start in range(0, n_queries, STEP):
            many = min(STEP, n_queries - start)
            hit = any_reaches(code, scores, a, np.uint64(start), np.uint64(many), lines, weight)
            if hit:
                for q in range(start, start + many):
                    if weighted(code, scores[a, q], weight) >= lines[q]:
                        consider(code, q, first + a, rows, a, corpus, wanted, heaps, terms)


@inlined
def collect_few(code, scores, first, rows, start, corpus, wanted, heaps, terms):
    """The same for the scores (n_queries, STEP) of few queries with the rows from `start` on."""
    weights, lines = corpus[0], heaps[3]
    many = min(STEP, rows.shape[0] - start)
    for q in range(scores.shape[0]):
        line = lines[q]
        hit = False
        if code == COSINE:
            for i in range(many):
                hit |= scores[q, i] * weights[first + start + i] >= line
        else:
            for i in range(many):
                hit |= scores[q, i] >= line
        if hit:
            for i in range(many):
                if weighted(code, scores[q, i], weights[first + start + i]) >= lines[q]:
                    consider(code, q, first + start + i, rows, start + i, corpus, wanted, heaps, terms)


@summing_kernel
def sixteen_products(queries, q, rows, a, scores, i):
    """Four rows with four queries: eight loads for sixteen products, where one at a time takes two for one."""
    zero = rows.dtype.type(0)
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
    for j in range(rows.shape[1]):
        x0, x1, x2, x3 = rows[a, j], rows[a + 1, j], rows[a + 2, j], rows[a + 3, j]
        y = queries[q, j]
        s00 += x0 * y
        s01 += x1 * y
        s02 += x2 * y
        s03 += x3 * y
        y = queries[q + 1, j]
        s10 += x0 * y
        s11 += x1 * y
        s12 += x2 * y
        s13 += x3 * y
        y = queries[q + 2, j]
        s20 += x0 * y
        s21 += x1 * y
        s22 += x2 * y
        s23 += x3 * y
        y = queries[q + 3, j]
        s30 += x0 * y
        s31 += x1 * y
        s32 += x2 * y
        s33 += x3 * y
    scores[q, i], scores[q, i + 1], scores[q, i + 2], scores[q, i + 3] = s00, s01, s02, s03
    scores[q + 1, i], scores[q + 1, i + 1], scores[q + 1, i + 2], scores[q + 1, i + 3] = s10, s11, s12, s13
    scores[q + 2, i], scores[q + 2, i + 1], scores[q + 2, i + 2], scores[q + 2, i + 3] = s20, s21, s22, s23
    scores[q + 3, i], scores[q + 3, i + 1], scores[q + 3, i + 2], scores[q + 3, i + 3] = s30, s31, s32, s33


@summing_kernel
def product(queries, q, rows, a):
    total = rows.dtype.type(0)
    for j in range(rows.shape[1]):
        total += queries[q, j] * rows[a, j]
    return total


@summing_kernel
def squared_distance(queries, q, rows, a):
    total = rows.dtype.type(0)
    for j in range(rows.shape[1]):
        difference = queries[q, j] - rows[a, j]
        total += difference * difference
    return total


@summing_kernel
def absolute_distance(queries, q, rows, a):
    total = rows.dtype.type(0)
    for j in range(rows.shape[1]):
        total += abs(queries[q, j] - rows[a, j])
    return total


@inlined
def score_products(queries, rows, start, many, scores):
    """Scan scores (n_queries, STEP) of the rows from `start` on, which stay in the cache."""
    n_queries = queries.shape[0]
    fours, quads = n_queries // 4 * 4, many // 4 * 4
    for q in range(0, fours, 4):
        for i in range(0, quads, 4):
            sixteen_products(queries, q, rows, start + i, scores, i)
        for i in range(quads, many):
            for one in range(q, q + 4):
                scores[one, i] = product(queries, one, rows, start + i)
    for q in range(fours, n_queries):
        for i in range(many):
            scores[q, i] = product(queries, q, rows, start + i)


@kernel
def scan_products(code, narrow, first, rows, corpus, wanted, heaps):
    """Scan a tile for queries `narrow` (n_queries, dim) of the scan's dtype by DOT or COSINE, reading each row once.

    No slice is taken in the loops: numba counts references to each, atomically, on memory that the threads share.
    """
    scores = np.empty((narrow.shape[0], STEP), rows.dtype)
    heaps[4][:] = -1
    terms = np.empty(rows.shape[1])
    for start in range(0, rows.shape[0], STEP):
        many = min(STEP, rows.shape[0] - start)
        score_products(narrow, rows, start, many, scores)
        collect_few(code, scores, first, rows, start, corpus, wanted, heaps, terms)


@kernel
def scan_distances(code, narrow, first, rows, corpus, wanted, heaps):
    """The same by SQUARES or MANHATTAN."""
    scores = np.empty((narrow.shape[0], STEP), rows.dtype)
    heaps[4][:] = -1
    terms = np.empty(rows.shape[1])
    for start in range(0, rows.shape[0], STEP):
        for q in range(narrow.shape[0]):
            for i in range(min(STEP, rows.shape[0] - start)):
                if code == SQUARES:
                    scores[q, i] = -squared_distance(narrow, q, rows, start + i)
                else:
                    scores[q, i] = -absolute_distance(narrow, q, rows, start + i)
        collect_few(code, scores, first, rows, start, corpus, wanted, heaps, terms)


@kernel
def row_facts(rows, center, norms, near_squares, finite):
    """What preparing needs of each row: its norm, its squared distance from `center`, whether it is finite.

    Parameters
    ----------
    center : (dim,), or (0,): then `near_squares` is left alone
    """
    terms = np.empty(rows.shape[1])
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(terms.shape[0]):
            terms[j] = np.float64(row[j])
        square(terms)
        total = halving_sum(terms)
        norms[i] = np.sqrt(total)
        finite[i] = np.isfinite(total)
        if center.shape[0]:
            for j in range(terms.shape[0]):
                terms[j] = np.float64(row[j] - center[j])
            square(terms)
            near_squares[i] = halving_sum(terms)
