"""Range search: its threshold in scores, its batches, and what it refuses."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays import Metric, certified_range
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import METRICS, between, reaching

GOOD = np.eye(3)
MOST = sys.float_info.max

every_metric = pytest.mark.parametrize("metric", METRICS)


def vectors(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)


def settled(backend: Reference, metric: str, queries: Any, corpus: Any, threshold: float) -> list[list[int]]:
    """The rows of each query, of all batches that there were."""
    prepared = backend.prepare(corpus, Metric(metric))
    least = certified_range.least_score(Metric(metric), threshold)
    found = certified_range.joined(list(certified_range.within(backend, queries, prepared, least, None, None)))
    assert (np.diff(found.queries) >= 0).all()
    return [found.ids[found.queries == i].tolist() for i in range(len(queries))]


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.0, 0.1, 1 / 3, math.pi, 1e-160, 1e-163, 5e-324, 1e150])
def test_the_least_square_is_the_last_whose_root_reaches_the_distance(threshold: float) -> None:
    square = -certified_range.least_score(Metric.EUCLIDEAN, threshold)
    assert math.sqrt(square) <= threshold < math.sqrt(math.nextafter(square, math.inf))


@pytest.mark.parametrize(
    ("metric", "threshold", "score"),
    [
        ("cosine", 0.5, 0.5), ("dot", -3.0, -3.0), ("dot", -math.inf, -MOST), ("dot", math.inf, math.inf),
        ("manhattan", 2.0, -2.0), ("sqeuclidean", math.inf, -MOST), ("euclidean", math.inf, -MOST),
        ("euclidean", 1e200, -MOST),
    ],
)  # fmt: skip
def test_a_threshold_is_a_least_score(metric: str, threshold: float, score: float) -> None:
    assert certified_range.least_score(Metric(metric), threshold) == score


@every_metric
def test_queries_with_many_hits_share_fewer_walks_and_reach_the_same(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, corpus = vectors(40), vectors(500, seed=1)
    threshold = between(metric, 0.4, queries, corpus)
    monkeypatch.setattr(certified_range, "HITS", 900)
    monkeypatch.setattr(certified_range, "AT_ONCE", 64)
    expected = [row.tolist() for row in reaching(metric, queries, corpus, threshold)]
    assert settled(Reference(), metric, queries, corpus, threshold) == expected


@every_metric
def test_a_range_search_in_small_tiles_is_a_range_search(metric: str) -> None:
    backend = Reference()
    backend.tile_bytes = 1 << 12
    queries, corpus = vectors(40), vectors(500, seed=1)
    threshold = between(metric, 0.1, queries, corpus)
    expected = [row.tolist() for row in reaching(metric, queries, corpus, threshold)]
    assert settled(backend, metric, queries, corpus, threshold) == expected


def test_what_the_scan_rules_out_is_not_scored_again() -> None:
    looked: list[int] = []

    class Watched(Reference):
        def rescore(self, queries: Any, prepared: Any, ids: Any) -> Any:
            looked.append(int((ids >= 0).sum()))
            return super().rescore(queries, prepared, ids)

    queries, corpus = vectors(40), vectors(500, seed=1)
    found = settled(Watched(), "cosine", queries, corpus, 0.5)
    assert sum(map(len, found)) <= sum(looked) < sum(map(len, found)) + 20


# What is refused


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan"])
@pytest.mark.parametrize("threshold", [-1, -1e-300, -np.inf])
def test_a_distance_below_zero_is_said(metric: str, threshold: float) -> None:
    message = rf"threshold is -.*, and no {metric} distance is below 0; it must be at least 0"
    with pytest.raises(vj.InvalidInput, match=message):
        vj.within(GOOD, GOOD, threshold, metric=metric)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_a_distance_of_minus_zero_is_zero(metric: str) -> None:
    assert vj.within(GOOD, GOOD, -0.0, metric=metric).indices.tolist() == [0, 1, 2]


@every_metric
def test_a_threshold_of_nan_is_said(metric: str) -> None:
    with pytest.raises(vj.InvalidInput, match="threshold is NaN, which nothing reaches"):
        vj.Corpus(GOOD, metric=metric).within(GOOD, np.nan)


@pytest.mark.parametrize("threshold", ["0.5", None, [0.5, 0.6], 1j])
def test_a_threshold_that_is_no_number_is_a_type_error(threshold: Any) -> None:
    with pytest.raises(vj.InvalidType, match="threshold must be a number, not"):
        vj.within(GOOD, GOOD, threshold)


@pytest.mark.parametrize("most", [0, -1, True])
def test_a_most_below_one_is_said(most: Any) -> None:
    with pytest.raises(vj.InvalidInput, match="max_per_query must be at least 1, not"):
        vj.within(GOOD, GOOD, 0.5, max_per_query=most)


def test_what_a_search_refuses_a_range_search_refuses() -> None:
    with pytest.raises(vj.InvalidInput, match="queries has vectors of width 2 and the corpus of width 3"):
        vj.within(np.ones((1, 2)), GOOD, 0.5)
    with pytest.raises(vj.InvalidInput, match=r"mask has shape \(2,\)"):
        vj.within(GOOD, GOOD, 0.5, mask=[True, False])
    with pytest.raises(vj.InvalidInput, match="metric='dot' contradicts the corpus"):
        vj.within(GOOD, vj.Corpus(GOOD), 0.5, metric="dot")


@pytest.mark.parametrize("threshold", [1, np.float32(1), np.int8(1), np.asarray(1.0), True])
def test_every_real_number_is_a_threshold(threshold: Any) -> None:
    assert vj.within(GOOD, GOOD, threshold, metric="dot").indices.tolist() == [0, 1, 2]


# Other libraries


def test_a_result_goes_where_the_queries_are(on: Any) -> None:
    queries, corpus = vectors(5), vectors(50, seed=1)
    found = vj.within(on("loopback:gpu:1", queries), corpus, 0.2)
    assert {x.place for x in found} == {"gpu:1"}
    np.testing.assert_array_equal(found.indices, vj.within(queries, corpus, 0.2).indices)


def test_queries_with_gradients_are_searched() -> None:
    torch = pytest.importorskip("torch")
    queries, corpus = vectors(5), vectors(50, seed=1)
    found = vj.within(torch.from_numpy(queries).requires_grad_(), torch.from_numpy(corpus), 0.2)
    assert not found.values.requires_grad
    np.testing.assert_array_equal(found.indices.numpy(), vj.within(queries, corpus, 0.2).indices)


def test_traced_queries_are_refused_in_a_sentence() -> None:
    jax = pytest.importorskip("jax")
    corpus = vj.Corpus(GOOD, backend="jax:cpu")
    with pytest.raises(vj.NotSupported, match="a search cannot be traced by JAX"):
        jax.jit(lambda x: corpus.within(x, 0.5))(GOOD)
