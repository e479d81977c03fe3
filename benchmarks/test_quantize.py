"""Searching by codes: the time, and recall@10 against the exact search on the embedded glosses."""

from __future__ import annotations

import numpy as np
import pytest
import texts
from rounds import contest

import vjaccel as vj

K = 10
QUERIES = 100


@pytest.fixture(scope="module")
def glosses() -> np.ndarray:
    """The embedded glosses; the first of them are the queries, the rest the corpus."""
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
        vectors: np.ndarray = embedder.embed(texts.glosses()).embeddings
    return vectors


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the exact rows that were found."""
    return float(np.mean([np.isin(theirs, ours).mean() for ours, theirs in zip(found, exact, strict=True)]))


@pytest.mark.parametrize("rescore", [0, 4])
@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_recall_on_the_glosses(benchmark, glosses: np.ndarray, kind: str, rescore: int) -> None:
    queries, rows = glosses[:QUERIES], glosses[QUERIES:]
    exact, quantized = vj.Corpus(rows), vj.quantize(rows, kind)
    found = vj.topk(queries, quantized, K, rescore=rescore)
    contest(
        benchmark,
        "quantize",
        {
            "vjaccel": lambda: vj.topk(queries, quantized, K, rescore=rescore),
            "exact": lambda: exact.topk(queries, K),
        },
    )
    benchmark.extra_info["recall"] = round(recall(found.indices, exact.topk(queries, K).indices), 4)


@pytest.mark.parametrize("n_queries", [1, 100])
@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_codes_of_200k_by_384(benchmark, corpus: np.ndarray, queries: np.ndarray, kind: str, n_queries: int) -> None:
    exact, quantized = vj.Corpus(corpus, metric="dot"), vj.quantize(corpus, kind)
    some = queries[:n_queries]
    contest(
        benchmark,
        "quantize",
        {
            "vjaccel": lambda: vj.topk(some, quantized, K, metric="dot"),
            "exact": lambda: exact.topk(some, K),
        },
    )
