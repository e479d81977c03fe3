"""Kernels that scan codes of bytes and of bits."""

from __future__ import annotations

import numpy as np

from vjaccel_numpy.jit import kernel
from vjaccel_numpy.search_kernels import STEP, offer
from vjaccel_numpy.sketch_kernels import multiply_codes

__all__ = ["scan_bits", "scan_bytes"]


@kernel
def offer_scores(scores, many, start, usable, mask, heaps):
    """Offer rows `start` to `start + many` by `scores` (n_queries, STEP). A later row with an equal score is no better."""
    best, indices, sizes = heaps
    for q in range(scores.shape[0]):
        full = sizes[q] == best.shape[1]
        line = best[q, 0] if full else -np.inf
        hit = not full
        for i in range(many):
            hit |= scores[q, i] > line
        if hit:
            for i in range(many):
                place = start + i
                if sizes[q] == best.shape[1] and not scores[q, i] > best[q, 0]:
                    continue
                if not usable[place] or (mask.shape[0] and not mask[q if mask.shape[0] > 1 else 0, place]):
                    continue
                sizes[q] = offer(scores[q, i], place, best, indices, q, sizes[q])


@kernel
def scan_bytes(codes, wanted, facts, start, stop, mask, heaps):
    """Scan rows `start` to `stop`.

    Parameters
    ----------
    codes : (n, dim), int8
    wanted : the queries' codes (n_queries, dim), int16; their scales (n_queries,), float64
    facts : whether a row may be returned; what its score is multiplied by, and then less: each (n,)
    mask : (1 or n_queries, n), or (0, 0)
    heaps : scores, indices, (n_queries, count); sizes (n_queries,)
    """
    usable, factors, less = facts
    wide, scales = wanted
    products = np.empty((wide.shape[0], STEP), np.int32)
    scores = np.empty((wide.shape[0], STEP))
    for first in range(start, stop, STEP):
        many = min(STEP, stop - first)
        multiply_codes(codes, first, many, wide, products)
        for q in range(wide.shape[0]):
            for i in range(many):
                scores[q, i] = products[q, i] * scales[q] * factors[first + i] - less[first + i]
        offer_scores(scores, many, first, usable, mask, heaps)


@kernel
def different_bits(words, a, wanted, q):
    total = np.uint64(0)
    for j in range(words.shape[1]):
        # LLVM knows this for what it is, and makes it one instruction.
        x = words[a, j] ^ wanted[q, j]
        x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
        x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
        x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total += (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return total


@kernel
def scan_bits(words, wanted, usable, first, mask, heaps):
    """Scan rows of bits by hamming distance.

    Parameters
    ----------
    words : (t, w), uint64, of the rows from `first` on
    wanted : (n_queries, w), uint64
    usable, mask, heaps : as in `scan_bytes`
    """
    scores = np.empty((wanted.shape[0], STEP))
    for start in range(0, words.shape[0], STEP):
        many = min(STEP, words.shape[0] - start)
        for q in range(wanted.shape[0]):
            for i in range(many):
                scores[q, i] = -np.float64(different_bits(words, start + i, wanted, q))
        offer_scores(scores, many, first + start, usable, mask, heaps)
