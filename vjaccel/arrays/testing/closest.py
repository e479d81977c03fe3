"""The closest pairs inside one set: those of a float64 brute force, each once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, Pairs, pairs
from vjaccel.arrays.testing.memory import SPARE_BYTES
from vjaccel.arrays.testing.oracle import METRICS, TOLERANCE, assert_close, awkward, between
from vjaccel.arrays.testing.oracle import pairs as all_pairs
from vjaccel.arrays.testing.subject import FLOATS, Subject

__all__ = ["ClosestConformance"]

ROWS, DIM = 300, 24

every_metric = pytest.mark.parametrize("metric", METRICS)


def normal(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim))


def closest(
    metric: str, x: np.ndarray, k: int | None, threshold: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left and right rows and values of the oracle."""
    similar = metric in ("cosine", "dot")
    left, right = np.triu_indices(len(x), 1)
    finite = np.isfinite(x).all(axis=1)
    kept = finite[left] & finite[right]
    left, right = left[kept], right[kept]
    values = all_pairs(metric, x, x)[left, right]
    order = np.lexsort((right, left, -values if similar else values))
    if threshold is not None:
        order = order[(values[order] >= threshold) if similar else (values[order] <= threshold)]
    order = order[:k]
    return left[order], right[order], values[order]


class ClosestConformance(Subject):
    """pairs."""

    def assert_closest(self, metric: str, x: Any, k: int | None = None, threshold: float | None = None) -> Pairs:
        """A result, which must be the oracle's pairs, in its order, with its values as closely as is promised."""
        found = pairs(x, k=k, threshold=threshold, metric=metric, backend=self.backend)
        (held,) = self.held(x)
        left, right, values = (self.host(column) for column in found)
        expected = closest(metric, held, k, threshold)
        np.testing.assert_array_equal(np.stack([left, right]), np.stack(expected[:2]))
        assert left.dtype == right.dtype == self.backend.capabilities.index_dtype
        with np.errstate(all="ignore"):
            norms = np.linalg.norm(held.astype(np.float64), axis=1)
        kind = np.finfo(values.dtype)
        rest = (np.abs(expected[2]) < kind.max) & ((np.abs(expected[2]) >= kind.smallest_normal) | (expected[2] == 0))
        magnitudes = norms[left] * norms[right]
        assert_close(metric, values[rest], expected[2][rest], magnitudes[rest], TOLERANCE["topk"])
        return found

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_the_k_closest_pairs_are_the_oracles(self, metric: str, dtype: str) -> None:
        found = self.assert_closest(metric, self.given(normal(ROWS), dtype), 40)
        assert self.host(found.values).dtype == self.result_dtype(dtype)

    @every_metric
    def test_the_pairs_that_reach_a_threshold_are_the_oracles(self, metric: str) -> None:
        x = self.given(normal(ROWS, seed=1))
        (held,) = self.held(x)
        self.assert_closest(metric, x, threshold=between(metric, 0.2, held, held))

    @pytest.mark.parametrize("k", [5, 10**9])
    def test_the_k_closest_of_those_that_reach_a_threshold_are_the_oracles(self, k: int) -> None:
        x = self.given(normal(ROWS, seed=1))
        (held,) = self.held(x)
        self.assert_closest("euclidean", x, k, between("euclidean", 0.01, held, held))

    @pytest.mark.parametrize("k", [7, 10**9])
    @every_metric
    def test_pairs_are_the_oracles_among_zeros_nan_infinity_ties_and_huge_and_tiny_rows(
        self, metric: str, k: int
    ) -> None:
        self.assert_closest(metric, self.given(awkward(rows=200)[1]), k)

    def test_equal_rows_pair_by_their_numbers(self) -> None:
        x = normal(2000)
        x[np.random.default_rng(1).permutation(2000)[:900]] = x[3]
        equal = np.flatnonzero((x == x[3]).all(axis=1))
        found = pairs(self.given(x), k=50, metric="euclidean", backend=self.backend)
        assert (self.host(found.left) == equal[0]).all()
        np.testing.assert_array_equal(self.host(found.right), equal[1:51])

    @every_metric
    def test_near_duplicates_far_from_the_origin_pair_in_order(self, metric: str) -> None:
        self.assert_closest(metric, self.given(1000 + 1e-3 * normal(ROWS)), 60)

    @pytest.mark.parametrize("rows", [0, 1])
    @pytest.mark.parametrize(("k", "threshold"), [(3, None), (None, 0.5), (3, 0.5)])
    def test_fewer_than_two_rows_have_no_pair(self, rows: int, k: int | None, threshold: float | None) -> None:
        found = pairs(self.given(normal(rows)), k=k, threshold=threshold, backend=self.backend)
        assert [self.host(column).shape for column in found] == [(0,)] * 3
        assert self.host(found.values).dtype == np.float32

    def test_a_host_set_has_its_pairs_on_the_host(self) -> None:
        found = pairs(normal(ROWS), k=5, backend=self.backend)
        assert {type(column) for column in found} == {np.ndarray}
        np.testing.assert_array_equal(found.left, closest("cosine", normal(ROWS), 5, None)[0])

    def test_a_corpus_stands_for_its_rows_and_its_metric(self) -> None:
        x = self.given(normal(ROWS))
        found = pairs(Corpus(x, metric="manhattan", backend=self.backend), k=9)
        expected = self.assert_closest("manhattan", x, 9)
        for column, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(self.backend.to_numpy(column), self.host(other))

    def test_neither_the_set_nor_numpys_error_state_is_touched(self) -> None:
        x = self.given(awkward(rows=200)[1])
        before = self.held(x)[0].copy()
        with np.errstate(all="raise"):
            pairs(x, k=20, metric="sqeuclidean", backend=self.backend)
        np.testing.assert_array_equal(self.held(x)[0], before)

    def test_a_matrix_of_all_pairs_never_exists_whole(self) -> None:
        x = self.given(normal(12_000, dim=8))  # 576 MB of scores
        assert self.grown(lambda: pairs(x, k=10, metric="dot", backend=self.backend)) < SPARE_BYTES
