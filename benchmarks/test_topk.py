"""Certified exact top-10 against the peers' top-10, whose ids are not certified: bar P1."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import jax
import numpy as np
import pytest
import torch
from rounds import contest
from sentence_transformers.util import semantic_search
from sklearn.neighbors import NearestNeighbors
from usearch.index import MetricKind, search

import vjaccel as vj

K = 10


@pytest.mark.parametrize("n_queries", [1, 4, 10, 32, 100, 1000])
def test_topk_of_200k_by_384(benchmark, corpus: np.ndarray, queries: np.ndarray, n_queries: int) -> None:
    some = queries[:n_queries]
    prepared = vj.Corpus(corpus, metric="dot")
    flat = faiss.IndexFlatIP(corpus.shape[1])
    flat.add(corpus)
    neighbours = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(corpus)
    rows, wanted = torch.from_numpy(corpus), torch.from_numpy(some)
    contenders = {
        "vjaccel": lambda: prepared.topk(some, K),
        "faiss": lambda: flat.search(some, K),
        "torch": lambda: torch.topk(wanted @ rows.T, K),
        "semantic_search": lambda: semantic_search(wanted, rows, top_k=K),
        "scikit-learn": lambda: neighbours.kneighbors(some),
        "usearch": lambda: search(corpus, some, K, MetricKind.IP, exact=True),
        "limit: sgemm": lambda: some @ corpus.T,
    }
    contest(benchmark, "P1", contenders, rounds=5 if n_queries == 1000 else 7)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
def test_topk_by_metric_of_10_queries(benchmark, corpus: np.ndarray, queries: np.ndarray, metric: str) -> None:
    some = queries[:10]
    prepared = vj.Corpus(corpus, metric=metric)
    rows, wanted = torch.from_numpy(corpus), torch.from_numpy(some)
    peers = {
        "cosine": lambda: torch.topk(wanted @ rows.T, K),
        "euclidean": lambda: torch.topk(torch.cdist(wanted, rows), K, largest=False),
        "manhattan": lambda: torch.topk(torch.cdist(wanted, rows, p=1.0), K, largest=False),
    }
    contest(benchmark, "P1", {"vjaccel": lambda: prepared.topk(some, K), "torch": peers[metric]})


@pytest.mark.parametrize("n_queries", [1, 10, 100])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_topk_on_other_backends(
    benchmark, corpus: np.ndarray, queries: np.ndarray, backend: str, n_queries: int
) -> None:
    some = queries[:n_queries]
    prepared = vj.Corpus(corpus, metric="dot", backend=backend)
    own = {"torch": _topk_in_torch, "jax": _topk_in_jax}[backend](some, corpus)
    numpy = vj.Corpus(corpus, metric="dot")
    contest(
        benchmark,
        backend,
        {
            "vjaccel": lambda: prepared.topk(some, K),
            f"{backend}'s own": own,
            "limit: numpy backend": lambda: numpy.topk(some, K),
        },
    )


def _topk_in_torch(queries: np.ndarray, rows: np.ndarray) -> Callable[[], object]:
    a, b = torch.from_numpy(queries), torch.from_numpy(rows)
    return lambda: torch.topk(a @ b.T, K)


def _topk_in_jax(queries: np.ndarray, rows: np.ndarray) -> Callable[[], object]:
    a, b = jax.device_put(queries), jax.device_put(rows)
    found = jax.jit(lambda a, b: jax.lax.top_k(jax.numpy.matmul(a, b.T, precision="highest"), K))
    return lambda: jax.block_until_ready(found(a, b))


def test_a_call_that_prepares_the_corpus_itself(benchmark, corpus: np.ndarray, queries: np.ndarray) -> None:
    prepared = vj.Corpus(corpus)
    contest(
        benchmark,
        "prepare",
        {"vjaccel": lambda: vj.topk(queries[0], corpus, K), "limit: prepared": lambda: prepared.topk(queries[0], K)},
    )
