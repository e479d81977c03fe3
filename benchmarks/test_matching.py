"""Range search and near duplicates against the peers, whose answers are not certified."""

from __future__ import annotations

import faiss
import numpy as np
import torch
from rounds import contest
from sentence_transformers.util import paraphrase_mining_embeddings
from sklearn.neighbors import NearestNeighbors

import vjaccel as vj


def test_within_of_100_queries(benchmark, corpus: np.ndarray, queries: np.ndarray) -> None:
    some, threshold = queries[:100], 0.5
    prepared = vj.Corpus(corpus, metric="dot")
    flat = faiss.IndexFlatIP(corpus.shape[1])
    flat.add(corpus)
    neighbours = NearestNeighbors(radius=1 - threshold, algorithm="brute", metric="cosine").fit(corpus)
    contest(
        benchmark,
        "within",
        {
            "vjaccel": lambda: prepared.within(some, threshold),
            "faiss": lambda: flat.range_search(some, threshold),
            "scikit-learn": lambda: neighbours.radius_neighbors(some),
            "limit: sgemm": lambda: some @ corpus.T,
        },
        rounds=3,
    )


def test_pairs_among_20k_by_384(benchmark, corpus: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, corpus.shape[1]), dtype=np.float32)
    rows[10_000:10_500] = rows[:500] + rng.standard_normal((500, corpus.shape[1]), dtype=np.float32) * np.float32(0.1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    tensor = torch.from_numpy(rows)
    contest(
        benchmark,
        "pairs",
        {
            "vjaccel": lambda: vj.pairs(rows, k=500),
            "sentence-transformers": lambda: paraphrase_mining_embeddings(tensor, max_pairs=500, top_k=10),
            "limit: sgemm": lambda: rows @ rows.T,
        },
        rounds=3,
    )
