"""Range search: the rows that a float64 brute force finds, no more and no fewer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, Matches, within
from vjaccel.arrays.testing.memory import SPARE_BYTES
from vjaccel.arrays.testing.oracle import METRICS, TOLERANCE, assert_close, awkward, between, pairs, reaching
from vjaccel.arrays.testing.subject import FLOATS, Subject

__all__ = ["RangeConformance"]

ROWS, DIM, QUERIES = 700, 24, 9

every_metric = pytest.mark.parametrize("metric", METRICS)


def normal(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim))


class RangeConformance(Subject):
    """within, and Corpus.within."""

    def search_within(
        self, queries: Any, corpus: Any, threshold: float, metric: str = "cosine", **options: Any
    ) -> Matches:
        return within(queries, corpus, threshold, metric=metric, backend=self.backend, **options)

    def by_query(self, found: Matches) -> list[np.ndarray]:
        """The rows of each query."""
        offsets, indices, values = (self.host(x) for x in found)
        assert offsets[0] == 0
        assert offsets[-1] == len(indices) == len(values)
        assert indices.dtype == offsets.dtype == self.backend.capabilities.index_dtype
        return [indices[start:stop] for start, stop in pairwise(offsets)]

    def assert_reaching(
        self, metric: str, queries: Any, corpus: Any, threshold: float, mask: np.ndarray | None = None
    ) -> None:
        """Fail where a search's rows are not the oracle's, or its values not as close as is promised."""
        allowed = None if mask is None else self.given(mask, "bool")
        found = self.search_within(queries, corpus, threshold, metric, mask=allowed)
        queries, corpus = self.held(queries, corpus)
        expected = reaching(metric, queries, corpus, threshold, mask)
        for ids, wanted in zip(self.by_query(found), expected, strict=True):
            np.testing.assert_array_equal(ids, wanted)
        rows = np.repeat(np.arange(len(expected)), [len(ids) for ids in expected])
        ids, values = np.concatenate(expected), self.host(found.values)
        every = pairs(metric, queries, corpus)[rows, ids]
        with np.errstate(all="ignore"):
            norms = [np.linalg.norm(x.astype(np.float64), axis=1) for x in (queries, corpus)]
        magnitudes = norms[0][rows] * norms[1][ids]
        kind = np.finfo(values.dtype)  # subnormal values may count as zero
        rest = (np.abs(every) < kind.max) & ((np.abs(every) >= kind.smallest_normal) | (every == 0))
        assert_close(metric, values[rest], every[rest], magnitudes[rest], TOLERANCE["topk"])

    # The answer

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_the_rows_that_reach_a_threshold_are_the_oracles(self, metric: str, dtype: str) -> None:
        queries, corpus = (self.given(normal(rows, rows), dtype) for rows in (QUERIES, ROWS))
        self.assert_reaching(metric, queries, corpus, between(metric, 0.1, *self.held(queries, corpus)))
        found = self.search_within(queries, corpus, 1.0, metric)
        assert self.host(found.values).dtype == self.result_dtype(dtype)

    @every_metric
    def test_they_are_the_oracles_among_zeros_nan_infinity_ties_and_huge_and_tiny_rows(self, metric: str) -> None:
        queries, corpus = awkward()
        threshold = between(metric, 0.9, queries, corpus)
        self.assert_reaching(metric, self.given(queries), self.given(corpus), threshold)

    @pytest.mark.parametrize("metric", ["dot", "euclidean", "sqeuclidean", "manhattan"])
    def test_a_row_exactly_at_the_threshold_is_returned(self, metric: str) -> None:
        generator = np.random.default_rng(6)
        queries, corpus = (self.given(generator.integers(-2, 3, (n, 5)), "int8") for n in (QUERIES, ROWS))
        threshold = {"dot": 3.0, "euclidean": 4.0, "sqeuclidean": 7.0, "manhattan": 5.0}[metric]
        values = pairs(metric, *self.held(queries, corpus))
        assert (values == threshold).any()
        self.assert_reaching(metric, queries, corpus, threshold)

    @every_metric
    def test_what_float32_cannot_tell_from_the_threshold_is_told(self, metric: str) -> None:
        queries, corpus = (self.given(1000 + 1e-3 * normal(rows, rows)) for rows in (QUERIES, ROWS))
        held = self.held(queries, corpus)
        if metric == "cosine":  # of these values too little is left in float64, too
            held = queries, corpus = normal(1), normal(1) * (1 + 1e-3 * normal(ROWS, 1))
            queries, corpus = (self.given(x) for x in held)
            held = self.held(queries, corpus)
        self.assert_reaching(metric, queries, corpus, between(metric, 0.3, *held))

    @every_metric
    def test_thousands_of_equal_rows_reach_it_together_in_their_order(self, metric: str) -> None:
        generator = np.random.default_rng(3)
        corpus = normal(5000, seed=4)
        corpus[generator.permutation(5000)[:3000]] = corpus[17]
        queries = normal(QUERIES, seed=5)
        queries[0] = corpus[17] + 1e-3
        x, y = self.given(queries), self.given(corpus)
        self.assert_reaching(metric, x, y, between(metric, 0.2, *self.held(x, y)))

    @pytest.mark.parametrize("size", [1, 4])
    def test_a_query_reaches_alone_what_it_reaches_in_a_batch(self, size: int) -> None:
        queries, rows = awkward(seed=1)
        corpus = Corpus(self.given(rows), backend=self.backend)
        whole = corpus.within(self.given(queries), 0.3)
        parts = [corpus.within(self.given(queries[i : i + size]), 0.3) for i in range(0, len(queries), size)]
        for column in (1, 2):
            apart = np.concatenate([self.host(part[column]) for part in parts])
            np.testing.assert_array_equal(apart, self.host(whole[column]))

    @pytest.mark.parametrize("most", [3, 10**6])
    @every_metric
    def test_at_most_so_many_are_the_best_of_them(self, metric: str, most: int) -> None:
        queries, corpus = awkward()
        threshold = between(metric, 0.5, queries, corpus)
        found = self.search_within(self.given(queries), self.given(corpus), threshold, metric, max_per_query=most)
        expected = reaching(metric, queries, corpus, threshold)
        for ids, wanted in zip(self.by_query(found), expected, strict=True):
            np.testing.assert_array_equal(ids, wanted[:most])

    # Masks

    @pytest.mark.parametrize("each", ["one mask", "a mask a query"])
    @pytest.mark.parametrize("most", [None, 5])
    @pytest.mark.parametrize("metric", ["cosine", "euclidean"])
    def test_a_masked_row_reaches_nothing(self, metric: str, each: str, most: int | None) -> None:
        mask = np.random.default_rng(1).random((QUERIES, ROWS) if each == "a mask a query" else ROWS) < 0.5
        queries, corpus = awkward()
        threshold = between(metric, 0.5, queries, corpus)
        found = self.search_within(
            self.given(queries), self.given(corpus), threshold, metric,
            mask=self.given(mask, "bool"), max_per_query=most,
        )  # fmt: skip
        expected = reaching(metric, queries, corpus, threshold, mask)
        for ids, wanted in zip(self.by_query(found), expected, strict=True):
            np.testing.assert_array_equal(ids, wanted[:most])

    # Edges

    @every_metric
    def test_a_threshold_that_all_reach_gives_all_and_one_that_none_reaches_none(self, metric: str) -> None:
        queries, corpus = (self.given(x) for x in awkward())
        similar = metric in ("cosine", "dot")
        self.assert_reaching(metric, queries, corpus, -np.inf if similar else np.inf)
        found = self.search_within(queries, self.given(1 + np.abs(normal(50))), np.inf if similar else 0.0, metric)
        assert [self.host(x).shape for x in found] == [(QUERIES + 1,), (0,), (0,)]

    @pytest.mark.parametrize(("queries", "rows"), [(0, ROWS), (QUERIES, 0), (0, 0)])
    @pytest.mark.parametrize("most", [None, 5])
    def test_nothing_on_either_side_reaches_nothing(self, queries: int, rows: int, most: int | None) -> None:
        found = self.search_within(self.given(normal(queries)), self.given(normal(rows)), 0.0, max_per_query=most)
        assert [self.host(x).shape for x in found] == [(queries + 1,), (0,), (0,)]
        assert self.host(found.values).dtype == np.float32

    @every_metric
    def test_one_query_has_all_that_is_found(self, metric: str) -> None:
        query, corpus = normal(1), self.given(normal(ROWS, seed=1))
        threshold = between(metric, 0.2, query, normal(ROWS, seed=1))
        alone = self.search_within(self.given(query[0]), corpus, threshold, metric)
        batch = self.search_within(self.given(query), corpus, threshold, metric)
        assert self.host(alone.offsets).tolist() == [0, len(self.host(alone.indices))]
        for single, together in zip(alone, batch, strict=True):
            np.testing.assert_array_equal(self.host(single), self.host(together))

    def test_host_queries_reach_rows_on_the_host(self) -> None:
        queries, corpus = awkward()
        found = self.search_within(queries, corpus, 0.3)
        assert {type(x) for x in found} == {np.ndarray}
        assert {found.offsets.dtype, found.indices.dtype} == {np.dtype(np.int64)}

    @every_metric
    def test_a_corpus_gives_every_time_what_within_gives(self, metric: str) -> None:
        queries, rows = (self.given(x) for x in awkward())
        corpus = Corpus(rows, metric=metric, backend=self.backend)
        threshold = between(metric, 0.3, *awkward())
        expected = self.search_within(queries, rows, threshold, metric)
        for found in (corpus.within(queries, threshold), within(queries, corpus, threshold)):
            for column, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(self.host(column), self.host(other))

    # What else a call must leave alone

    def test_neither_the_input_of_a_range_search_nor_numpys_error_state_is_touched(self) -> None:
        queries, corpus = (self.given(x) for x in awkward())
        before = [values.copy() for values in self.held(queries, corpus)]
        with np.errstate(all="raise"):
            self.search_within(queries, corpus, 3.0, "euclidean")
        for now, then in zip(self.held(queries, corpus), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_all_pairs_of_queries_and_rows_never_exist_in_a_range_search(self) -> None:
        queries, corpus = (self.given(normal(rows, rows, 4)) for rows in (1600, 50_000))  # 320 MB of scores
        assert self.grown(lambda: self.search_within(queries, corpus, 12.0, "dot")) < SPARE_BYTES
