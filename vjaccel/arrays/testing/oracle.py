"""The answers that every backend is held to: float64 NumPy, every pair, ties to the lower index.

And how far from them a result may be, in one table.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "CANCELLED",
    "METRICS",
    "TOLERANCE",
    "answers",
    "assert_close",
    "awkward",
    "between",
    "normalized",
    "pairs",
    "reaching",
]

METRICS = ("cosine", "dot", "euclidean", "sqeuclidean", "manhattan")

TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5, "float64": 1e-12, "topk": 1e-6}
"""By the dtype of a result, and for the values of a search: absolute for cosine, a part of |a| |b| for dot, relative for
a distance."""

CANCELLED = 1e-2
"""Relative, for a distance between float32 vectors that nearly cancel: near duplicates far from the origin."""


def normalized(x: np.ndarray) -> np.ndarray:
    """Each row divided by its norm; a zero row stays zero."""
    x = x.astype(np.float64)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms == 0, 1, norms)


def pairs(metric: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The metric's value for all pairs. Each is a sum of its own: a matrix product gives equal rows unequal values."""
    a, b = a.astype(np.float64)[:, None, :], b.astype(np.float64)[None, :, :]
    with np.errstate(all="ignore"):
        if metric in ("cosine", "dot"):
            norms = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=2)
            values = (a * b).sum(axis=2) / (1.0 if metric == "dot" else np.where(norms == 0, 1, norms))
        elif metric == "manhattan":
            values = np.abs(a - b).sum(axis=2)
        else:
            values = ((a - b) ** 2).sum(axis=2)
        found: np.ndarray = np.sqrt(values) if metric == "euclidean" else values
        return found


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


def reaching(
    metric: str, queries: np.ndarray, corpus: np.ndarray, threshold: float, mask: np.ndarray | None = None
) -> list[np.ndarray]:
    """For each query the ids of the rows that reach the threshold, best first, ties to the lower index."""
    values, ids = answers(metric, queries, corpus, len(corpus), mask)
    reached = (ids >= 0) & ((values >= threshold) if metric in ("cosine", "dot") else (values <= threshold))
    return [row[hit] for row, hit in zip(ids, reached, strict=True)]


def between(metric: str, share: float, queries: np.ndarray, corpus: np.ndarray) -> float:
    """A threshold that about `share` of all pairs reach, in the middle between two values."""
    with np.errstate(all="ignore"):
        values = np.unique(pairs(metric, queries, corpus))
    values = values[np.isfinite(values) & (np.abs(values) < 1e20)]
    place = min(int((1 - share if metric in ("cosine", "dot") else share) * len(values)), len(values) - 2)
    gap = np.diff(values[place:]) > 1e-9 * np.abs(values[place:-1])  # not between two roundings of one value
    place += int(np.argmax(gap))
    return float((values[place] + values[place + 1]) / 2)


def assert_close(
    metric: str, found: np.ndarray, expected: np.ndarray, norms: np.ndarray | float, tolerance: float
) -> None:
    """Fail where `found` is farther from `expected` than `tolerance`, as `TOLERANCE` means it.

    Parameters
    ----------
    norms : |a| |b| of each pair
        Asked for by dot alone.
    """
    if metric == "dot":
        # Infinite on both sides is right; a difference of infinities says nothing.
        both = np.isinf(expected) & (found == expected)
        found, expected = (np.where(both, 0.0, x) / np.where(norms == 0, 1.0, norms) for x in (found, expected))
    relative = 0.0 if metric in ("cosine", "dot") else tolerance
    np.testing.assert_allclose(found, expected, rtol=relative, atol=tolerance if relative == 0.0 else 0.0)


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
