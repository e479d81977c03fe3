"""The answers that every backend is held to: float64 NumPy, every pair, ties to the lower index."""

from __future__ import annotations

import numpy as np

__all__ = ["METRICS", "answers", "awkward", "pairs"]

METRICS = ("cosine", "dot", "euclidean", "sqeuclidean", "manhattan")


def pairs(metric: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The metric's value for all pairs. Each is a sum of its own: a matrix product gives equal rows unequal values."""
    a, b = a.astype(np.float64)[:, None, :], b.astype(np.float64)[None, :, :]
    with np.errstate(all="ignore"):
        if metric in ("cosine", "dot"):
            dots = (a * b).sum(axis=2)
            norms = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2)
            return dots if metric == "dot" else dots / np.where(norms == 0, 1, norms)
        if metric == "manhattan":
            return np.abs(a - b).sum(axis=2)
        squares = ((a - b) ** 2).sum(axis=2)
        return np.sqrt(squares) if metric == "euclidean" else squares


def answers(
    metric: str, queries: np.ndarray, corpus: np.ndarray, k: int, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Values and ids of the best `k` for each query; -1 and the worst value where there are fewer."""
    larger = metric in ("cosine", "dot")
    values = pairs(metric, queries, corpus)
    scores = values if larger else -values
    refused = ~np.isfinite(corpus).all(axis=1)[None, :] | ~np.isfinite(queries).all(axis=1)[:, None]
    if mask is not None:
        refused = refused | ~np.broadcast_to(mask, scores.shape)
    scores = np.where(refused, -np.inf, scores)
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, ids, axis=1)
    return best if larger else -best, np.where(best == -np.inf, -1, ids)


def awkward(rows: int = 700, dim: int = 24, queries: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Queries and a corpus with what goes wrong: equal rows in random places, zeros, NaN, infinity, huge and tiny."""
    generator = np.random.default_rng(seed)
    corpus = generator.standard_normal((rows, dim)).astype(np.float32)
    places = generator.permutation(rows)
    corpus[places[: rows // 3]] = corpus[places[0]]
    corpus[places[-1]] = 0
    corpus[places[-2], 1] = np.nan
    corpus[places[-3], 2] = np.inf
    corpus[places[-4]] *= np.float32(1e30)
    corpus[places[-5]] *= np.float32(1e-30)
    wanted = generator.standard_normal((queries, dim)).astype(np.float32)
    wanted[0] = corpus[places[0]]
    wanted[1] = 0
    wanted[2, 0] = np.nan
    wanted[3] *= np.float32(1e30)
    wanted[4] *= np.float32(1e-30)
    return wanted, corpus
