"""The certificate: what the scan may have missed is looked for, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Metric, certify
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import METRICS, answers

K = 5

every_metric = pytest.mark.parametrize("metric", METRICS)


class Watched(Reference):
    """The generic backend; how many queries were settled by the slow way, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[int] = []
        self.scan_gives: Any = lambda scores: scores

    def scan(self, *arguments: Any) -> Any:
        scores, ids = super().scan(*arguments)
        return self.scan_gives(scores), ids

    def above(self, queries: Any, *rest: Any) -> Iterator[Any]:
        self.settled.append(len(queries))
        return super().above(queries, *rest)


@pytest.fixture
def backend() -> Watched:
    return Watched()


def vectors(queries: int = 7, rows: int = 400, equal: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    wanted, corpus = (generator.standard_normal((n, 16)).astype(np.float32) for n in (queries, rows))
    corpus[generator.permutation(rows)[:equal]] = corpus[0]
    return wanted, corpus


def assert_exact(backend: Watched, metric: str, queries: Any, corpus: Any, mask: Any = None) -> None:
    with np.errstate(all="ignore"):  # as around every call of a kernel
        found = certify.topk(backend, queries, backend.prepare(corpus, Metric(metric)), K, mask)
    np.testing.assert_array_equal(found.indices, answers(metric, queries, corpus, K, mask)[1])


@every_metric
def test_where_rows_differ_nothing_is_looked_at_twice(backend: Watched, metric: str) -> None:
    assert_exact(backend, metric, *vectors())
    assert backend.settled == []


@every_metric
def test_equal_rows_beyond_the_slack_are_settled_for_the_queries_they_concern(backend: Watched, metric: str) -> None:
    queries, corpus = vectors(equal=100)
    queries[2] = queries[5] = corpus[0]
    if metric == "dot":
        queries[[0, 1, 3, 4, 6]] = -corpus[0]  # the equal rows are the farthest
    assert_exact(backend, metric, queries, corpus)
    (settled,) = backend.settled
    assert settled == 2 if metric == "dot" else settled >= 2


@every_metric
@pytest.mark.parametrize("shape", [(400,), (7, 400)])
def test_a_mask_holds_where_rows_are_settled(backend: Watched, metric: str, shape: tuple[int, ...]) -> None:
    queries, corpus = vectors(equal=200)
    queries[:] = corpus[0]
    assert_exact(backend, metric, queries, corpus, np.random.default_rng(1).random(shape) < 0.5)
    assert backend.settled == [7]


@every_metric
def test_a_slack_that_is_too_small_costs_time_and_no_row(
    backend: Watched, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "slack", lambda k: 0)
    assert_exact(backend, metric, *vectors())
    assert sum(backend.settled) == 7  # the last of k is never below the line under itself


@every_metric
def test_a_scan_that_gives_nothing_but_nan_is_not_believed(backend: Watched, metric: str) -> None:
    backend.scan_gives = lambda scores: np.full_like(scores, np.nan)
    assert_exact(backend, metric, *vectors())
    assert backend.settled == [7]


def test_many_queries_are_settled_some_at_a_time(backend: Watched) -> None:
    queries, corpus = vectors(queries=150, equal=200)
    queries[:] = corpus[0]
    assert_exact(backend, "euclidean", queries, corpus)
    assert backend.settled == [64, 64, 22]


@every_metric
def test_rows_are_settled_over_many_tiles(backend: Watched, metric: str) -> None:
    backend.tile_bytes = 1 << 12
    queries, corpus = vectors(equal=200)
    queries[3] = corpus[0]
    assert_exact(backend, metric, queries, corpus)
    assert backend.settled


def test_queries_beyond_the_scans_range_are_settled(backend: Watched) -> None:
    queries, corpus = vectors()
    queries[1] *= np.float32(1e20)
    assert_exact(backend, "euclidean", queries, corpus)
    assert backend.settled == [1]


def test_a_query_that_is_not_finite_settles_nothing(backend: Watched) -> None:
    queries, corpus = vectors(equal=200)
    queries[:] = -corpus[0]
    queries[4, 3] = np.nan
    assert_exact(backend, "dot", queries, corpus)
    assert backend.settled == []


def test_the_slack_grows_with_k() -> None:
    assert [certify.slack(k) for k in (1, 10, 100, 1000)] == [22, 23, 34, 147]
