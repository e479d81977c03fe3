"""The closest pairs: blocks, the line that rises, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays import Metric, certified_pairs
from vjaccel.arrays.testing.closest import closest
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import METRICS

GOOD = np.eye(3)

every_metric = pytest.mark.parametrize("metric", METRICS)


class Watched(Reference):
    """The generic backend; how many pairs it scored exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0

    def rescore(self, queries: Any, prepared: Any, ids: Any) -> Any:
        self.looked += int((ids >= 0).sum())
        return super().rescore(queries, prepared, ids)


def vectors(rows: int, equal: int = 0) -> np.ndarray:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, 16)).astype(np.float32)
    x[generator.permutation(rows)[:equal]] = x[0]
    return x


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows."""
    monkeypatch.setattr(certified_pairs, "FIRST_QUERIES", 3)
    monkeypatch.setattr(certified_pairs, "MORE_QUERIES", 37)
    monkeypatch.setattr(certified_pairs, "BLOCK_ROWS", 64)
    monkeypatch.setattr(certified_pairs, "HITS", 400)


@pytest.mark.parametrize("equal", [0, 60])
@pytest.mark.parametrize("k", [1, 30, 5000])
@every_metric
def test_the_pairs_of_many_small_blocks_are_the_pairs(small: None, metric: str, k: int, equal: int) -> None:
    x = vectors(300, equal)
    found = certified_pairs.pairs(Reference(), x, Metric(metric), k, -np.inf)
    np.testing.assert_array_equal(np.stack(found[:2]), np.stack(closest(metric, x, k, None)[:2]))


@every_metric
def test_few_pairs_beside_the_k_best_are_scored_exactly(metric: str) -> None:
    backend = Watched()
    certified_pairs.pairs(backend, vectors(2000), Metric(metric), 10, -np.inf)
    assert backend.looked < 16 * 2000 + 4000  # of 2 million


def test_equal_rows_beyond_k_are_not_looked_at_where_no_pair_can_be_closer(small: None) -> None:
    backend = Watched()
    certified_pairs.pairs(backend, np.ones((400, 16), np.float32), Metric.EUCLIDEAN, 10, -np.inf)
    assert backend.looked < 400 * 64  # of 80 thousand


def test_what_is_held_is_bounded_by_k() -> None:
    closest_pairs, most = certified_pairs.Closest(10, -np.inf), 0
    for start in range(0, 10_000, 100):
        rows = np.arange(start, start + 100)
        closest_pairs.add(rows, rows + 1, np.ones(100))
        most = max(most, closest_pairs._held)
    assert most <= 20
    assert closest_pairs.best()[0].tolist() == list(range(10))


def test_neither_k_nor_a_threshold_is_said() -> None:
    with pytest.raises(vj.InvalidInput, match="pairs needs k, threshold or both"):
        vj.pairs(GOOD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"threshold": np.nan}, "threshold is NaN"),
        ({"threshold": -1, "metric": "euclidean"}, "threshold is -1, and no euclidean distance is below 0"),
        ({"k": 1, "metric": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_what_can_be_no_pairs_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(vj.InvalidInput, match=message):
        vj.pairs(GOOD, **options)


@pytest.mark.parametrize("x", [np.ones(3), np.ones((2, 3, 3)), np.ones((3, 0))])
def test_a_set_is_two_dimensional(x: np.ndarray) -> None:
    with pytest.raises(vj.InvalidInput, match="x has shape"):
        vj.pairs(x, k=1)


def test_a_metric_that_contradicts_a_corpus_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="metric='dot' contradicts the corpus"):
        vj.pairs(vj.Corpus(GOOD), k=1, metric="dot")


def test_pairs_stay_on_the_device_of_the_set(on: Any) -> None:
    found = vj.pairs(on("loopback:gpu:1", vectors(50)), k=5)
    assert {x.place for x in found} == {"gpu:1"}
    np.testing.assert_array_equal(found.left, vj.pairs(vectors(50), k=5).left)
