"""Kernels of the int8 sketch: making it, and scanning it for the rows that may be among the best."""

from __future__ import annotations

import numpy as np

from vjaccel_numpy.jit import kernel, summing_kernel
from vjaccel_numpy.search_kernels import STEP, consider

__all__ = ["CODE", "consider_found", "scan_codes", "sketch_rows"]

CODE = 127
"""The largest code of a row."""


@kernel
def sketch_rows(rows, factors, center, codes, scales, errors):
    """Codes for rows, times a factor each, less `center`; the norms of what the codes stand for are not above the result.

    Parameters
    ----------
    factors : (t,) or (0,), float64
    center : (dim,) or (0,)
    codes, scales, errors : (t, dim), (t,), (t,); a row less its codes times its scale has at most its error as its norm
    """
    values = np.empty(rows.shape[1])
    largest = 0.0
    for i in range(rows.shape[0]):
        reach = 0.0
        for j in range(values.shape[0]):
            x = np.float64(rows[i, j])
            if center.shape[0]:
                x -= np.float64(center[j])
            if factors.shape[0]:
                x *= factors[i]
            values[j] = x
            reach = max(reach, abs(x))
        scale = np.float32(reach / CODE)
        error = square = 0.0
        for j in range(values.shape[0]):
            code = np.rint(values[j] / scale) if scale > 0.0 else 0.0
            code = min(max(code, -CODE), CODE)
            codes[i, j] = np.int8(code)
            rest = values[j] - code * scale
            error += rest * rest
            square += code * scale * (code * scale)
        # Upwards, whatever the roundings: of these sums, and of the conversion.
        scales[i], errors[i] = scale, np.float32(np.sqrt(error) * (1.0 + 2.0**-20) + 2.0**-120)
        largest = max(largest, np.sqrt(square) * (1.0 + 2.0**-20))
    return largest


@summing_kernel
def product(codes, a, wide, q):
    # numba's own sums of int32 are int64, which do not vectorise; these cannot overflow.
    total = np.int32(0)
    for j in range(codes.shape[1]):
        total = np.int32(total + np.int32(np.int32(codes[a, j]) * np.int32(wide[q, j])))
    return total


@summing_kernel
def four_products(codes, a, wide, q):
    s = t = u = v = np.int32(0)
    for j in range(codes.shape[1]):
        x = np.int32(codes[a, j])
        s = np.int32(s + np.int32(x * np.int32(wide[q, j])))
        t = np.int32(t + np.int32(x * np.int32(wide[q + 1, j])))
        u = np.int32(u + np.int32(x * np.int32(wide[q + 2, j])))
        v = np.int32(v + np.int32(x * np.int32(wide[q + 3, j])))
    return s, t, u, v


@kernel
def multiply_codes(codes, start, many, wide, products):
    fours = wide.shape[0] // 4 * 4
    for q in range(0, fours, 4):
        for i in range(many):
            s, t, u, v = four_products(codes, start + i, wide, q)
            products[q, i], products[q + 1, i], products[q + 2, i], products[q + 3, i] = s, t, u, v
    for q in range(fours, wide.shape[0]):
        for i in range(many):
            products[q, i] = product(codes, start + i, wide, q)


@kernel
def any_can_reach(products, start, many, sketch, asked, lines, reaches):
    """How high each score can be, as `reaches` (n_queries, STEP); whether one is not below its line."""
    _, scales, errors, weights = sketch
    _, query_scales, spans = asked
    hit = False
    for q in range(products.shape[0]):
        line, scale, span = lines[q], query_scales[q], spans[q]
        if weights.shape[0]:
            for i in range(many):
                reach = products[q, i] * (scale * scales[start + i]) + span * errors[start + i] - weights[start + i]
                reaches[q, i] = reach
                hit |= reach >= line
        else:
            for i in range(many):
                reach = products[q, i] * (scale * scales[start + i]) + span * errors[start + i]
                reaches[q, i] = reach
                hit |= reach >= line
    return hit


@kernel
def scan_codes(start, stop, sketch, asked, corpus, lines, found, room):
    """Find the rows that may be as good as a query's line, until `room` of them may not be enough.

    Parameters
    ----------
    sketch : codes (n, dim), int8; scales, errors (n,); weights to subtract (n,), or (0,)
    asked : the queries' codes (n_queries, dim), int16; their scales and norms (n_queries,), float64
    corpus, lines : as in `search_kernels.collect`
    found : places (c,) of the rows, and how high their scores can be (c, n_queries): NaN where a row may not be returned

    Returns
    -------
    int, int
        The row to go on from, and how many were found.
    """
    places, heights = found
    ordinary, mask = corpus[1], corpus[3]
    n_queries = lines.shape[0]
    products = np.empty((n_queries, STEP), np.int32)
    reaches = np.empty((n_queries, STEP))
    count = 0
    while start < stop and count + STEP <= room:
        many = min(STEP, stop - start)
        multiply_codes(sketch[0], start, many, asked[0], products)
        if any_can_reach(products, start, many, sketch, asked, lines, reaches):
            for i in range(many):
                one = False
                for q in range(n_queries):
                    allowed = ordinary[start + i]
                    if mask.shape[0]:
                        allowed = allowed and mask[q if mask.shape[0] > 1 else 0, start + i]
                    heights[count, q] = reaches[q, i] if allowed else np.nan
                    one |= heights[count, q] >= lines[q]
                if one:
                    places[count] = start + i
                    count += 1
        start += many
    return start, count


@kernel
def consider_found(code, rows, corpus, wanted, heaps, found):
    """Consider what `scan_codes` found: `rows` (c, dim), exact, of the places found."""
    places, heights = found
    lines = heaps[3]
    heaps[4][:] = -1
    terms = np.empty(rows.shape[1])
    for a in range(rows.shape[0]):
        for q in range(lines.shape[0]):
            if heights[a, q] >= lines[q]:
                consider(code, q, places[a], rows, a, corpus, wanted, heaps, terms)
