"""Large random corpora, and what float64 says of them: plain NumPy, a block of rows at a time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vjaccel.arrays.testing.oracle import answers

__all__ = ["best", "copied", "drawn", "near"]

BLOCK = 1 << 16
SPARE = 64
"""Candidates beside k, since a product gives equal rows unequal scores: more copies of a row than that may be out of order."""


def drawn(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers in float32, (rows, dim)."""
    out = np.empty((rows, dim), np.float32)

    def fill(start: int) -> None:
        np.random.default_rng((seed, start)).standard_normal(out=out[start : start + BLOCK], dtype=np.float32)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, rows, BLOCK)))
    return out


def copied(rows: np.ndarray, seed: int = 1) -> np.ndarray:
    """`rows`, of which one in ten is made a copy of another: in place."""
    places = np.random.default_rng(seed).permutation(len(rows))[: 2 * (len(rows) // 10)]
    rows[places[::2]] = rows[places[1::2]]
    return rows


def near(rows: np.ndarray, places: np.ndarray, noise: float = 0.3, seed: int = 2) -> np.ndarray:
    """Queries close to the rows at `places`."""
    numbers = np.random.default_rng(seed).standard_normal((len(places), rows.shape[1]), dtype=np.float32)
    return rows[places] + np.float32(noise) * numbers


def best(metric: str, queries: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The ids of the best `k` for each query, ties to the lower: named by a product in float64, settled by the oracle."""
    found: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for start in range(0, len(rows), BLOCK):
        block = _scores(metric, queries.astype(np.float64), rows[start : start + BLOCK].astype(np.float64))
        count = min(k + SPARE, block.shape[1])
        chosen = np.argpartition(-block, count - 1, axis=1)[:, :count]
        found.append(chosen + start)
        scores.append(np.take_along_axis(block, chosen, axis=1))
    ids, values = np.concatenate(found, axis=1), np.concatenate(scores, axis=1)
    some = np.argsort(-values, axis=1)[:, : k + SPARE]
    candidates = np.sort(np.take_along_axis(ids, some, axis=1), axis=1)
    settled = [
        answers(metric, query[None], rows[these], k)[1][0] for query, these in zip(queries, candidates, strict=True)
    ]
    return np.take_along_axis(candidates, np.stack(settled), axis=1)


def _scores(metric: str, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if metric == "manhattan":
        return np.stack([-np.abs(rows - query).sum(axis=1) for query in queries])
    products: np.ndarray = queries @ rows.T
    if metric == "dot":
        return products
    squares = (rows * rows).sum(axis=1)
    return products / np.sqrt(squares) if metric == "cosine" else 2 * products - squares
