"""What exactness costs: against a scan that certifies nothing, and where many rows lie too close to tell apart."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import pytest
import torch
from rounds import contest
from usearch.index import MetricKind, search

import vjaccel as vj

K = 10
ROWS, DIM = 200_000, 384


def half_one_row() -> np.ndarray:
    """Half of the corpus is one row, and the queries look for it."""
    rows = np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)
    rows[np.random.default_rng(1).permutation(ROWS)[: ROWS // 2]] = rows[7]
    return rows


def all_in_the_band() -> np.ndarray:
    """Rows that float32 arithmetic cannot tell apart."""
    one = np.random.default_rng(2).standard_normal((1, DIM), dtype=np.float32)
    return one * (1 + np.float32(2e-7) * np.random.default_rng(3).integers(-1, 2, (ROWS, DIM)).astype(np.float32))


def uncertified(rows: np.ndarray, wanted: np.ndarray) -> Callable[[], object]:
    """A product and its largest, by query: what a search in float32 does at least."""
    return lambda: [np.argpartition(scores, ROWS - K)[-K:] for scores in wanted @ rows.T]


@pytest.mark.parametrize("sketch", [None, "int8"])
@pytest.mark.parametrize("n_queries", [1, 10])
@pytest.mark.parametrize("worst", [half_one_row, all_in_the_band])
def test_worst_cases(benchmark, worst: Callable[[], np.ndarray], n_queries: int, sketch: str | None) -> None:
    rows = worst()
    wanted = np.repeat(rows[7:8], n_queries, axis=0)
    corpus = vj.Corpus(rows, metric="dot", sketch=sketch)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(rows)
    contest(
        benchmark,
        "worst",
        {
            "vjaccel": lambda: corpus.topk(wanted, K),
            "faiss": lambda: flat.search(wanted, K),
            "limit: uncertified": uncertified(rows, wanted),
        },
        rounds=3,
    )


@pytest.mark.parametrize("n_queries", [1, 10, 100])
def test_certifying_ordinary_rows(benchmark, n_queries: int) -> None:
    rows = np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)
    wanted = np.random.default_rng(1).standard_normal((n_queries, DIM), dtype=np.float32)
    corpus = vj.Corpus(rows, metric="dot")
    contest(
        benchmark,
        "certify",
        {"vjaccel": lambda: corpus.topk(wanted, K), "limit: uncertified": uncertified(rows, wanted),
         "limit: sgemm": lambda: wanted @ rows.T},
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("n_queries", [1, 4])
def test_by_a_sketch(benchmark, corpus: np.ndarray, queries: np.ndarray, n_queries: int, metric: str) -> None:
    some = queries[:n_queries]
    usual, sketched = vj.Corpus(corpus, metric=metric), vj.Corpus(corpus, metric=metric, sketch="int8")
    flat = faiss.IndexFlatIP(DIM)  # the rows are of norm one, so that it is the cosine too
    flat.add(corpus)
    rows, wanted = torch.from_numpy(corpus), torch.from_numpy(some)
    kind = MetricKind.IP if metric == "dot" else MetricKind.Cos
    contest(
        benchmark,
        "P1b",
        {
            "vjaccel": lambda: sketched.topk(some, K),
            "limit: without the sketch": lambda: usual.topk(some, K),
            "faiss": lambda: flat.search(some, K),
            "torch": lambda: torch.topk(wanted @ rows.T, K),
            "usearch": lambda: search(corpus, some, K, kind, exact=True),
        },
    )
    same = np.array_equal(usual.topk(some, K).indices, sketched.topk(some, K).indices)
    benchmark.extra_info["ids_equal"] = same
