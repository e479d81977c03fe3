"""Searching quantized vectors on the CPU: each thread scans a slice of the codes into heaps of its own."""

from __future__ import annotations

from functools import partial

import numpy as np

from vjaccel.arrays.codes import Codes
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.search import EXPANDED
from vjaccel_numpy import code_kernels as kernels
from vjaccel_numpy.sketch_kernels import CODE
from vjaccel_numpy.threads import run, slices
from vjaccel_numpy.tiles import unlocked

__all__ = ["scan"]

ONE_THREAD = 1 << 20
"""Bytes of codes read, times queries, below which a second thread costs more than it saves."""

TILE_BYTES = 1 << 20
QUERIES = 256
"""At once: their scores of a step of rows stay in the cache."""


def scan(
    queries: np.ndarray,
    codes: Codes,
    metric: Metric,
    count: int,
    mask: np.ndarray | None,
    query_bits: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The best `count` rows by their codes, ties to the lower index; `query_bits`: the queries' own codes, of bits."""
    found = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
    facts = _facts(codes, metric)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, min(start + QUERIES, len(queries)))
        wanted = _bytes_wanted(queries[part], codes) if query_bits is None else (_words(query_bits[part]),)
        allowed = mask[part] if mask is not None and mask.ndim == 2 else mask
        found[0][part], found[1][part] = _scan(wanted, codes, facts, count, allowed)
    return found


def _scan(
    wanted: tuple[np.ndarray, ...], codes: Codes, facts: tuple[np.ndarray, ...], count: int, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    rows, n_queries = len(codes.codes), len(wanted[0])
    allowed = np.empty((0, 0), np.bool_) if mask is None else unlocked(np.ascontiguousarray(np.atleast_2d(mask)))
    parts = slices(rows, codes.codes.size * n_queries // ONE_THREAD)
    heaps = [
        (np.full((n_queries, count), -np.inf), np.full((n_queries, count), -1, np.int64), np.zeros(n_queries, np.int64))
        for _ in parts
    ]
    task = _scan_bytes if codes.kind == "int8" else _scan_bits
    run([partial(task, wanted, codes, facts, allowed, *part) for part in zip(heaps, parts, strict=True)])
    scores, indices = (np.concatenate([heap[column] for heap in heaps], axis=1) for column in (0, 1))
    order = np.lexsort((indices, -scores), axis=1)[:, :count]
    indices, limit = np.take_along_axis(indices, order, 1), np.finfo(np.float32).max
    scores = np.clip(np.take_along_axis(scores, order, 1), -limit, limit)
    return np.where(indices < 0, -np.inf, scores), indices


def _scan_bytes(
    wanted: tuple[np.ndarray, ...], codes: Codes, facts: tuple[np.ndarray, ...], mask: np.ndarray, heaps: tuple,
    part: tuple[int, int],
) -> None:  # fmt: skip
    kernels.scan_bytes(unlocked(codes.codes), wanted, facts, *part, mask, heaps)


def _scan_bits(
    wanted: tuple[np.ndarray, ...], codes: Codes, facts: tuple[np.ndarray, ...], mask: np.ndarray, heaps: tuple,
    part: tuple[int, int],
) -> None:  # fmt: skip
    step = max(1, TILE_BYTES // codes.codes.shape[1])
    for start in range(*part, step):
        words = _words(codes.codes[start : min(start + step, part[1])])
        kernels.scan_bits(words, wanted[0], facts[0], start, mask, heaps)


def _facts(codes: Codes, metric: Metric) -> tuple[np.ndarray, ...]:
    usable = ~np.isnan(codes.squares)
    if codes.kind == "binary":
        return (usable,)
    factors, less = np.ones(len(usable), np.float32), np.zeros(len(usable), np.float32)
    if metric is Metric.COSINE:
        np.divide(1.0, np.sqrt(codes.squares), out=factors, where=codes.squares > 0)
    elif metric in EXPANDED:
        factors[:], less = 2.0, np.where(usable, codes.squares, 0.0)
    return usable, factors, less


def _bytes_wanted(queries: np.ndarray, codes: Codes) -> tuple[np.ndarray, ...]:
    """The queries, times the columns' scales, as the finest codes whose sums of products fit an int32."""
    wanted = np.where(np.isfinite(queries), queries, 0.0) * codes.steps.astype(np.float64)
    finest = max(1, min(2**15 - 1, (2**31 - 1) // (CODE * codes.dim)))
    scales = np.abs(wanted).max(1) / finest
    wide = np.clip(np.rint(wanted / np.where(scales == 0, 1.0, scales)[:, None]), -finest, finest)
    return wide.astype(np.int16), scales


def _words(bits: np.ndarray) -> np.ndarray:
    """Rows of bytes as rows of eight, zeros at their end."""
    short = -bits.shape[1] % 8
    padded = np.pad(bits, ((0, 0), (0, short))) if short else np.ascontiguousarray(bits)
    return unlocked(padded).view(np.uint64)
