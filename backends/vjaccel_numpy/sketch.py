"""An int8 sketch of a corpus, a quarter of its bytes, which says how high each row's score can be.

A row is ``scale * codes + rest``, and its score with a query at most the codes' own plus ``|query| |rest|``. Rows for which
that is below the k-th best are never read; the others are scored exactly. So the answer is the one of a scan of the vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.search import EXPANDED, halving_sum, rounding_bound
from vjaccel.errors import NotSupported
from vjaccel_numpy import search_kernels, sketch_kernels
from vjaccel_numpy.threads import share
from vjaccel_numpy.tiles import scan_dtype, tiles

if TYPE_CHECKING:
    from vjaccel_numpy.search import PreparedVectors, SketchedVectors

__all__ = ["FEW", "Sketch", "of", "scan", "wanted"]

FEW = 8
"""Up to so many queries are scanned by the sketch; more are bound by arithmetic, not by memory."""

WIDEST = 1 << 20
"""Beyond it the queries' codes would be too coarse to be of use: a sum of products must fit an int32."""

ONE_THREAD = 1 << 20
TILE_ELEMENTS = 1 << 18

ROOM = 2 * search_kernels.STEP
"""Rows that are looked for before the first lines are known."""


class Sketch(NamedTuple):
    """Codes of the rows as the metric sees them: of norm one for cosine, less the center for euclidean.

    Attributes
    ----------
    codes : ndarray (rows, dim), int8
    scales, errors : ndarray (rows,), float32
        Each row less its codes times its scale has a norm of at most its error.
    largest_code : float
        No row of codes times its scale has a larger norm.
    """

    codes: np.ndarray
    scales: np.ndarray
    errors: np.ndarray
    largest_code: float


class Wanted(NamedTuple):
    """Queries as the scan of codes, and as the exact score want them; `facts` is for `search_kernels.collect`."""

    code: int
    asked: tuple[np.ndarray, np.ndarray, np.ndarray]
    facts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def of(prepared: PreparedVectors) -> Sketch:
    """The sketch of a corpus.

    Raises
    ------
    NotSupported
        The metric is no product of vectors, or they are too wide.
    """
    if prepared.metric is Metric.MANHATTAN:
        raise NotSupported(
            "sketch='int8' bounds products of vectors, and metric 'manhattan' is none; leave the sketch out"
        )
    if prepared.dim > WIDEST:
        raise NotSupported(f"sketch='int8' takes vectors of width {WIDEST} at most, not {prepared.dim}")
    rows, dim, dtype = prepared.rows, prepared.dim, scan_dtype(prepared.vectors)
    codes = np.empty((rows, dim), np.int8)
    scales, errors = np.empty(rows, np.float32), np.empty(rows, np.float32)
    center = np.empty(0, dtype) if prepared.center is None else prepared.center
    factors = np.empty(0)
    if prepared.metric is Metric.COSINE:
        factors = np.zeros(rows)
        np.divide(1.0, prepared.norms, out=factors, where=prepared.norms > 0)
    largest = []

    def part(low: int, high: int) -> None:
        for start, tile in tiles(prepared.vectors, low, high, TILE_ELEMENTS // dim, dtype):
            these = slice(start, start + len(tile))
            made = codes[these], scales[these], errors[these]
            # A row that is not ordinary is scored without the sketch, or not at all; and its codes mean nothing.
            usable = np.where(prepared.ordinary[these, None], tile, 0)
            largest.append(sketch_kernels.sketch_rows(usable, factors[these], center, *made))

    share(rows, rows * dim // ONE_THREAD, part)
    return Sketch(codes, scales, errors, max(largest, default=0.0))


def wanted(queries: np.ndarray, prepared: SketchedVectors) -> Wanted:
    """The queries' codes, as fine as an int32 sum allows, and how far the scores of codes can be from the exact ones."""
    exact = np.ascontiguousarray(queries, dtype=np.float64)
    norms = np.sqrt(halving_sum(np, exact * exact))
    code, seen, near, shifts = search_kernels.DOT, norms, exact, np.zeros(len(queries))
    if prepared.metric is Metric.COSINE:
        code, near = search_kernels.COSINE, exact / norms[:, None]
    elif prepared.metric in EXPANDED:
        code, near = search_kernels.EXPANDED, exact - prepared.center
        seen = np.sqrt(np.square(near).sum(1))
        near, shifts = 2 * near, -np.square(seen)
    finest = min(2**15 - 1, (2**31 - 1) // (sketch_kernels.CODE * prepared.dim))
    scales = np.abs(near).max(1) / finest
    codes = np.clip(np.rint(near / np.where(scales == 0, 1.0, scales)[:, None]), -finest, finest)
    rests = np.sqrt(np.square(near - scales[:, None] * codes).sum(1))
    # The roundings of this sum are float64's; those of weights and of centering are the vectors' own, as in their scan.
    absolute, relative = rounding_bound(prepared.metric, prepared.dim, 2.0**-24, seen, float(prepared.largest))
    bounds = absolute + 1.01 * rests * prepared.largest_code
    asked = codes.astype(np.int16), scales, np.sqrt(np.square(near).sum(1)) * (1.0 + 2.0**-20)
    return Wanted(code, asked, (exact, norms, shifts, bounds, relative))


def scan(
    wanted: Wanted, prepared: SketchedVectors, corpus: tuple[np.ndarray, ...], heaps: tuple, part: tuple[int, int]
) -> None:
    """Offer the heaps what a slice of the corpus has for them."""
    weights = prepared.weight if wanted.code == search_kernels.EXPANDED else prepared.weight[:0]
    codes = prepared.codes, prepared.scales, prepared.errors, weights
    most, room = max(ROOM, TILE_ELEMENTS // prepared.dim), ROOM
    places, heights = np.empty(most, np.int64), np.empty((most, len(wanted.asked[0])))
    start, stop = part
    while start < stop:
        start, count = sketch_kernels.scan_codes(
            start, stop, codes, wanted.asked, corpus, heaps[3], (places, heights), room
        )
        rows = np.ascontiguousarray(prepared.vectors[places[:count]], dtype=scan_dtype(prepared.vectors))
        sketch_kernels.consider_found(wanted.code, rows, corpus, wanted.facts, heaps, (places, heights))
        # Few at first, since each pause raises the lines; more where many rows lie close together.
        room = min(2 * room, most)
