"""Searching: the ids of a float64 brute force, whatever the batch, the layout, and what is in the way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, Metric, TopK, topk
from vjaccel.arrays.testing.memory import SPARE_BYTES
from vjaccel.arrays.testing.oracle import METRICS, TOLERANCE, answers, assert_close, awkward
from vjaccel.arrays.testing.subject import FLOATS, Subject

__all__ = ["SearchConformance"]

ROWS, DIM, QUERIES, K = 700, 24, 9, 12
"""Of most tests: a library that compiles for shapes compiles once."""

LARGER = {"cosine", "dot"}

every_metric = pytest.mark.parametrize("metric", METRICS)

LAYOUTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "every second row": (lambda x: np.repeat(x, 2, axis=0), lambda x: x[::2, :]),
    "every second column": (lambda x: np.repeat(x, 2, axis=1), lambda x: x[:, ::2]),
    "transposed": (lambda x: x.T, lambda x: x.T),
}
"""What to give, and the view of it that has the values again."""


def normal(rows: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim))


class SearchConformance(Subject):
    """topk, and Corpus."""

    def search(self, queries: Any, corpus: Any, k: int, metric: str = "cosine", mask: Any = None) -> TopK:
        return topk(queries, corpus, k, metric=metric, mask=mask, backend=self.backend)

    def assert_exact(self, metric: str, queries: Any, corpus: Any, k: int = K, mask: np.ndarray | None = None) -> TopK:
        """A search's result, which must have the oracle's ids, and its values as closely as is promised."""
        result = self.search(queries, corpus, k, metric, None if mask is None else self.given(mask, "bool"))
        queries, corpus = self.held(queries, corpus)
        values, indices = (self.host(x) for x in result)
        expected, ids = answers(metric, queries, corpus, k, mask)
        np.testing.assert_array_equal(indices, ids)
        assert indices.dtype == self.backend.capabilities.index_dtype
        none = ids < 0
        np.testing.assert_array_equal(values[none], -np.inf if metric in LARGER else np.inf)
        with np.errstate(all="ignore"):
            beyond = ~none & np.isinf(expected.astype(values.dtype))
            norms = [np.linalg.norm(x.astype(np.float64), axis=1) for x in (queries, corpus)]
            magnitudes = norms[0][:, None] * norms[1][ids]
        np.testing.assert_array_equal(values[beyond], np.copysign(np.inf, expected[beyond]))
        tiny = np.finfo(values.dtype).smallest_normal  # subnormal values may count as zero
        rest = ~none & ~beyond & ((np.abs(expected) >= tiny) | (expected == 0))
        assert_close(metric, values[rest], expected[rest], magnitudes[rest], TOLERANCE["topk"])
        gaps = np.diff(values[np.isfinite(values).all(axis=1)], axis=1)
        assert ((gaps <= 0) if metric in LARGER else (gaps >= 0)).all(), "the best come first"
        return result

    # The answer

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_the_ids_are_the_oracles(self, metric: str, dtype: str) -> None:
        found = self.assert_exact(metric, *(self.given(normal(rows, rows), dtype) for rows in (QUERIES, ROWS)))
        assert self.host(found.values).dtype == self.result_dtype(dtype)

    @pytest.mark.parametrize("dtype", ["int8", "int64", "bool"])
    @pytest.mark.parametrize("metric", ["dot", "euclidean", "sqeuclidean", "manhattan"])
    def test_ties_of_whole_numbers_go_to_the_lower_index(self, metric: str, dtype: str) -> None:
        # Few different sums occur, and all are exact.
        generator = np.random.default_rng(6)
        queries, corpus = (self.given(generator.integers(-1, 2, (n, DIM)), dtype) for n in (QUERIES, ROWS))
        found = self.assert_exact(metric, queries, corpus)
        assert self.host(found.values).dtype == self.result_dtype(dtype)

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_the_ids_are_the_oracles_among_zeros_nan_infinity_ties_and_huge_and_tiny_rows(
        self, metric: str, dtype: str
    ) -> None:
        self.assert_exact(metric, *(self.given(x, dtype) for x in awkward()))

    @every_metric
    def test_thousands_of_equal_rows_come_by_their_index(self, metric: str) -> None:
        generator = np.random.default_rng(3)
        corpus = normal(5000, seed=4)
        corpus[generator.permutation(5000)[:3000]] = corpus[17]
        corpus[generator.permutation(5000)[:1000]] = corpus[18]
        queries = normal(QUERIES, seed=5)
        queries[0] = corpus[17]
        self.assert_exact(metric, self.given(queries), self.given(corpus))

    def test_rows_that_differ_in_length_by_a_power_of_two_tie_in_cosine(self) -> None:
        lengths = 2.0 ** (np.random.default_rng(8).permutation(35) - 17)
        rows = (lengths[:, None, None] * normal(20, seed=7)).reshape(ROWS, DIM)
        self.assert_exact("cosine", self.given(normal(QUERIES, seed=9)), self.given(rows))

    @every_metric
    def test_near_duplicates_far_from_the_origin_are_in_order(self, metric: str) -> None:
        self.assert_exact(metric, *(self.given(1000 + 1e-3 * normal(rows, rows)) for rows in (QUERIES, ROWS)))

    @pytest.mark.parametrize("rows", [5, ROWS])
    @pytest.mark.parametrize(
        ("query", "row"), [(1e30, 1e30), (1e12, 1e12), (1e-12, 1e-12), (1e-30, 1e-30), (1e30, 1), (1, 1e30), (1e-30, 1)]
    )
    @every_metric
    def test_the_ids_are_the_oracles_at_every_magnitude(self, metric: str, query: float, row: float, rows: int) -> None:
        queries, corpus = self.given(query * normal(QUERIES, 1)), self.given(row * normal(rows, 2))
        self.assert_exact(metric, queries, corpus, min(K, rows))

    @pytest.mark.parametrize("dim", [1, 130])
    @every_metric
    def test_the_ids_are_the_oracles_at_every_width(self, metric: str, dim: int) -> None:
        self.assert_exact(metric, *(self.given(normal(rows, rows, dim)) for rows in (QUERIES, ROWS)))

    # The same answer, however it is asked

    @pytest.mark.parametrize("size", [1, 7])
    @every_metric
    def test_a_query_is_answered_alone_as_in_a_batch(self, metric: str, size: int) -> None:
        _, rows = awkward(seed=1)
        corpus = Corpus(self.given(rows), metric=metric, backend=self.backend)
        queries = normal(15, seed=11)
        queries[:5] = rows[:5]
        whole = corpus.topk(self.given(queries), K)
        parts = [corpus.topk(self.given(queries[i : i + size]), K) for i in range(0, len(queries), size)]
        for column, together in enumerate(whole):
            apart = np.concatenate([self.host(part[column]) for part in parts])
            np.testing.assert_array_equal(apart, self.host(together))

    @every_metric
    def test_the_order_of_the_corpus_changes_its_numbers_alone(self, metric: str) -> None:
        queries, rows = self.given(normal(QUERIES, seed=1)), normal(ROWS, seed=2)
        order = np.random.default_rng(3).permutation(ROWS)
        found = self.host(self.search(queries, self.given(rows), K, metric).indices)
        shuffled = self.host(self.search(queries, self.given(rows[order]), K, metric).indices)
        np.testing.assert_array_equal(order[shuffled], found)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @every_metric
    def test_the_layout_in_memory_does_not_matter_to_a_search(self, metric: str, layout: str) -> None:
        laid, view = LAYOUTS[layout]
        self.assert_exact(metric, *(view(self.given(laid(normal(rows, rows)))) for rows in (QUERIES, ROWS)))

    def test_several_threads_at_once_are_answered_as_one(self) -> None:
        queries, rows = awkward(seed=2)
        corpus, wanted = Corpus(self.given(rows), backend=self.backend), self.given(queries)
        alone = self.host(corpus.topk(wanted, K).indices)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: self.host(corpus.topk(wanted, K).indices), range(8)))
        np.testing.assert_array_equal(found, [alone] * 8)

    def test_the_backend_follows_the_arrays(self) -> None:
        queries, corpus = (self.given(x) for x in awkward())
        named = self.search(queries, corpus, K)
        np.testing.assert_array_equal(self.host(topk(queries, corpus, K).indices), self.host(named.indices))

    def test_a_host_query_comes_back_to_the_host(self) -> None:
        queries, corpus = awkward()
        found = self.search(queries, corpus, K)
        assert {type(x) for x in found} == {np.ndarray}
        assert found.indices.dtype == np.int64
        np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, K)[1])

    # Masks

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    @pytest.mark.parametrize("each", ["one mask", "a mask a query"])
    @every_metric
    def test_a_masked_row_is_never_returned(self, metric: str, each: str, share: float) -> None:
        mask = np.random.default_rng(1).random((QUERIES, ROWS) if each == "a mask a query" else ROWS) < share
        queries, corpus = (self.given(x) for x in awkward())
        self.assert_exact(metric, queries, corpus, mask=mask)

    @every_metric
    def test_a_mask_over_equal_rows_holds(self, metric: str) -> None:
        mask = np.random.default_rng(2).random(5000) < 0.5
        queries, corpus = self.given(normal(QUERIES)), self.given(np.ones((5000, DIM)))
        found = self.search(queries, corpus, K, metric, mask)
        np.testing.assert_array_equal(self.host(found.indices), np.tile(np.flatnonzero(mask)[:K], (QUERIES, 1)))

    # Edges

    @pytest.mark.parametrize("rows", [0, 1, 5])
    @pytest.mark.parametrize("metric", ["cosine", "euclidean"])
    def test_a_k_above_the_rows_gives_all_of_them(self, metric: str, rows: int) -> None:
        found = self.assert_exact(metric, self.given(normal(QUERIES)), self.given(normal(rows, seed=1)), 50)
        assert self.host(found.indices).shape == (QUERIES, rows)

    @pytest.mark.parametrize("rows", [0, ROWS])
    @every_metric
    def test_no_queries_give_no_rows(self, metric: str, rows: int) -> None:
        found = self.search(self.given(normal(0)), self.given(normal(rows)), K, metric)
        assert [self.host(x).shape for x in found] == [(0, min(rows, K))] * 2

    @every_metric
    def test_one_query_has_no_axis_in_the_result(self, metric: str) -> None:
        query, corpus = normal(1), self.given(normal(ROWS, seed=1))
        alone = self.search(self.given(query[0]), corpus, K, metric)
        for single, batch in zip(alone, self.search(self.given(query), corpus, K, metric), strict=True):
            assert self.host(single).shape == (K,)
            np.testing.assert_array_equal(self.host(single), self.host(batch)[0])

    @every_metric
    def test_whatever_is_not_finite_is_neither_found_nor_finds(self, metric: str) -> None:
        queries, corpus = normal(QUERIES), normal(ROWS, seed=1)
        queries[0, 0], queries[1, 0] = np.nan, np.inf
        corpus[: ROWS - 8, 3] = np.nan
        corpus[-1, 4], corpus[-2, 4] = -np.inf, np.inf
        found = self.assert_exact(metric, self.given(queries), self.given(corpus))
        indices = self.host(found.indices)
        assert (indices[:2] == -1).all()
        np.testing.assert_array_equal(np.unique(indices[2:]), [-1, *range(ROWS - 8, ROWS - 2)])

    # Corpus

    @every_metric
    def test_a_corpus_answers_every_time_as_topk_does(self, metric: str) -> None:
        queries, rows = (self.given(x) for x in awkward())
        corpus = Corpus(rows, metric=metric, backend=self.backend)
        assert (len(corpus), corpus.dim, corpus.metric) == (ROWS, DIM, Metric(metric))
        expected = self.search(queries, rows, K, metric)
        for found in (corpus.topk(queries, K), corpus.topk(queries, K), topk(queries, corpus, K)):
            for column, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(self.host(column), self.host(other))

    # What else a call must leave alone

    @every_metric
    def test_neither_the_input_of_a_search_nor_numpys_error_state_is_touched(self, metric: str) -> None:
        queries, corpus = (self.given(x) for x in awkward())
        mask = self.given(np.arange(ROWS) % 3 > 0, "bool")
        before = [values.copy() for values in self.held(queries, corpus, mask)]
        with np.errstate(all="raise"):
            self.search(queries, corpus, K, metric, mask)
        for now, then in zip(self.held(queries, corpus, mask), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_a_matrix_of_queries_by_corpus_never_exists_whole(self) -> None:
        queries, corpus = (self.given(normal(rows, rows, 4)) for rows in (1600, 50_000))  # 320 MB of scores
        assert self.grown(lambda: self.search(queries, corpus, 3, "dot")) < SPARE_BYTES

    def test_copies_of_one_row_are_settled_in_little_memory(self) -> None:
        rows = self.given(np.ones((120_000, 512), np.float32))  # 246 MB, and every row is as good as the best
        corpus, query = Corpus(rows, metric="dot", backend=self.backend), self.given(normal(1, dim=512))
        found: list[TopK] = []
        assert self.grown(lambda: found.append(corpus.topk(query, K))) < SPARE_BYTES // 2
        np.testing.assert_array_equal(self.host(found[0].indices), [range(K)])
