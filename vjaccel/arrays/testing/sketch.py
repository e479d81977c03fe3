"""A sketch: the same answers as without one, in the worst cases too, or the word that there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, TopK
from vjaccel.arrays.testing.memory import SPARE_BYTES
from vjaccel.arrays.testing.oracle import answers, awkward
from vjaccel.arrays.testing.search import DIM, LAYOUTS, QUERIES, ROWS, K, SearchConformance, normal
from vjaccel.arrays.testing.subject import FLOATS
from vjaccel.errors import NotSupported

__all__ = ["SketchConformance"]

METRICS = ("cosine", "dot", "euclidean", "sqeuclidean")

few_or_many = pytest.mark.parametrize("queries", [1, 5, 80])
every_metric = pytest.mark.parametrize("metric", METRICS)


class SketchConformance(SearchConformance):
    """Corpus(..., sketch="int8")."""

    def sketched(self, queries: Any, rows: Any, metric: str, k: int = K, mask: np.ndarray | None = None) -> TopK:
        """The answers of a sketched corpus, which must be the oracle's."""
        if not self.backend.capabilities.sketches:
            pytest.skip("the backend has no sketch")
        corpus = Corpus(rows, metric=metric, backend=self.backend, sketch="int8")
        found = corpus.topk(queries, k, mask=None if mask is None else self.given(mask, "bool"))
        wanted, held = self.held(queries, rows)
        np.testing.assert_array_equal(self.host(found.indices), answers(metric, wanted, held, k, mask)[1])
        return found

    def test_a_backend_without_a_sketch_says_so(self) -> None:
        if self.backend.capabilities.sketches:
            pytest.skip("the backend has one")
        with pytest.raises(
            NotSupported, match=f"backend '{self.backend.name}' .* has no sketch 'int8'.*; leave it out"
        ):
            Corpus(self.given(normal(3)), backend=self.backend, sketch="int8")

    def test_a_metric_that_has_no_sketch_is_refused_with_the_reason(self) -> None:
        if not self.backend.capabilities.sketches:
            pytest.skip("the backend has no sketch")
        with pytest.raises(NotSupported, match="metric 'manhattan'"):
            Corpus(self.given(normal(3)), metric="manhattan", backend=self.backend, sketch="int8")

    @pytest.mark.parametrize("dtype", FLOATS)
    @every_metric
    def test_by_a_sketch_the_ids_are_the_oracles_among_what_is_awkward(self, metric: str, dtype: str) -> None:
        queries, rows = (self.given(x, dtype) for x in awkward())
        for start in range(0, QUERIES, 3):
            self.sketched(queries[start : start + 3, :], rows, metric)

    @few_or_many
    @every_metric
    def test_by_a_sketch_values_are_those_without_one(self, metric: str, queries: int) -> None:
        wanted, rows = self.given(normal(queries, seed=1)), self.given(normal(ROWS, seed=2))
        found, usual = self.sketched(wanted, rows, metric), self.search(wanted, rows, K, metric)
        np.testing.assert_array_equal(self.host(found.values), self.host(usual.values))

    @pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
    @every_metric
    def test_by_a_sketch_the_ids_are_the_oracles_at_every_magnitude(self, metric: str, scale: float) -> None:
        self.sketched(self.given(normal(4, seed=1)), self.given(scale * normal(ROWS, seed=2)), metric)

    @pytest.mark.parametrize("dim", [1, 2, 130, 3000])
    @every_metric
    def test_by_a_sketch_the_ids_are_the_oracles_at_every_width(self, metric: str, dim: int) -> None:
        self.sketched(self.given(normal(5, 1, dim)), self.given(normal(300, 2, dim)), metric)

    @every_metric
    def test_columns_far_larger_than_the_rest_make_a_sketch_coarse_but_not_wrong(self, metric: str) -> None:
        rows, queries = normal(5000, seed=1), normal(5, seed=2)
        rows[:, 3] *= 1e4
        queries[1:, 3] = 0
        self.sketched(self.given(queries), self.given(rows), metric)

    @every_metric
    def test_a_corpus_of_which_half_is_one_row_is_sketched(self, metric: str) -> None:
        rows = normal(8000, seed=3)
        rows[np.random.default_rng(4).permutation(8000)[:4000]] = rows[17]
        self.sketched(self.given(np.stack([rows[17], *normal(3, seed=5)])), self.given(rows), metric)

    @every_metric
    def test_rows_closer_to_each_other_than_the_sketch_can_tell_are_in_order(self, metric: str) -> None:
        rows = normal(1, seed=6) + 1e-4 * normal(8000, seed=7)
        self.sketched(self.given(rows[:3] + 1e-4 * normal(3, seed=8)), self.given(rows), metric)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    @pytest.mark.parametrize("each", ["one mask", "a mask a query"])
    def test_by_a_sketch_a_masked_row_is_never_returned(self, each: str, share: float) -> None:
        mask = np.random.default_rng(1).random((5, ROWS) if each == "a mask a query" else ROWS) < share
        queries, rows = awkward()
        self.sketched(self.given(queries[:5]), self.given(rows), "cosine", mask=mask)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_the_layout_in_memory_does_not_matter_to_a_sketch(self, layout: str) -> None:
        laid, view = LAYOUTS[layout]
        self.sketched(self.given(normal(5)), view(self.given(laid(normal(ROWS, seed=1)))), "euclidean")

    @pytest.mark.parametrize("rows", [1, 5, 64, 65])
    def test_a_k_above_the_rows_of_a_sketch_gives_all_of_them(self, rows: int) -> None:
        self.sketched(self.given(normal(3)), self.given(normal(rows, seed=1)), "cosine", min(50, rows))

    def test_an_empty_corpus_has_an_empty_sketch(self) -> None:
        self.sketched(self.given(normal(3)), self.given(np.zeros((0, DIM))), "dot")

    def test_searching_a_sketch_of_equal_rows_takes_no_more_memory(self) -> None:
        if not self.backend.capabilities.sketches:
            pytest.skip("the backend has no sketch")
        rows = self.given(np.ones((150_000, 200)))  # 120 MB, and every row is as good as the best
        corpus, query = Corpus(rows, backend=self.backend, sketch="int8"), self.given(normal(1, dim=200))
        assert self.grown(lambda: corpus.topk(query, K)) < SPARE_BYTES // 4

    @every_metric
    def test_a_sketched_corpus_that_is_changed_answers_as_if_made_anew(self, metric: str) -> None:
        if not self.backend.capabilities.sketches:
            pytest.skip("the backend has no sketch")
        rows = self.given(normal(ROWS))
        self.assert_changed_as_anew(Corpus(rows, metric=metric, backend=self.backend, sketch="int8"), rows)
