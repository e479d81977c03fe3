"""All-pairs distances and similarities against the peers: bars P3 and P10."""

from __future__ import annotations

import numpy as np
import torch
from rounds import contest
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import euclidean_distances, manhattan_distances

import vjaccel as vj


def test_euclidean_1000_by_20000_by_384(benchmark, corpus: np.ndarray, queries: np.ndarray) -> None:
    rows = corpus[:20_000]
    a, b = torch.from_numpy(queries), torch.from_numpy(rows)
    contest(
        benchmark,
        "P3",
        {
            "vjaccel": lambda: vj.distance(queries, rows),
            "scikit-learn": lambda: euclidean_distances(queries, rows),
            "torch": lambda: torch.cdist(a, b),
            "limit: sgemm": lambda: queries @ rows.T,
        },
    )


def test_manhattan_200_by_5000_by_384(benchmark, corpus: np.ndarray, queries: np.ndarray) -> None:
    some, rows = queries[:200], corpus[:5000]
    a, b = torch.from_numpy(some), torch.from_numpy(rows)
    contest(
        benchmark,
        "P3",
        {
            "vjaccel": lambda: vj.distance(some, rows, metric="manhattan"),
            "scikit-learn": lambda: manhattan_distances(some, rows),
            "torch": lambda: torch.cdist(a, b, p=1.0),
            "scipy": lambda: cdist(some, rows, "cityblock"),
        },
    )


def test_one_query_against_5000_by_128(benchmark) -> None:
    rng = np.random.default_rng(0)
    query, rows = rng.standard_normal(128, dtype=np.float32), rng.standard_normal((5000, 128), dtype=np.float32)
    contest(
        benchmark,
        "P10",
        {"vjaccel": lambda: vj.similarity(query, rows, metric="dot"), "numpy": lambda: rows @ query},
        rounds=300,
        work=5000,
    )


def test_one_cosine_against_5000_by_128(benchmark) -> None:
    rng = np.random.default_rng(0)
    query, rows = rng.standard_normal(128, dtype=np.float32), rng.standard_normal((5000, 128), dtype=np.float32)
    contest(
        benchmark,
        "P10",
        {
            "vjaccel": lambda: vj.similarity(query, rows),
            "numpy": lambda: (rows @ query) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query)),
        },
        rounds=300,
        work=5000,
    )


def test_the_overhead_of_a_call(benchmark) -> None:
    one = np.ones((1, 8), np.float32)
    contest(
        benchmark,
        "P10",
        {"vjaccel": lambda: vj.similarity(one, one, metric="dot"), "limit: numpy": lambda: one @ one.T},
        rounds=300,
    )
