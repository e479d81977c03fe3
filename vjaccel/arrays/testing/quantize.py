"""Quantized vectors: what the codes are, and what is found by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Quantized, TopK, quantize, topk
from vjaccel.arrays.codes import Kind
from vjaccel.arrays.testing.oracle import answers, awkward, pairs
from vjaccel.arrays.testing.search import DIM, QUERIES, ROWS, K, normal
from vjaccel.arrays.testing.subject import FLOATS, Subject

__all__ = ["QuantizeConformance"]

METRICS = ("cosine", "dot", "euclidean", "sqeuclidean")
EVERY_ROW = -(-ROWS // K)

every_kind = pytest.mark.parametrize("kind", ["int8", "binary"])
every_metric = pytest.mark.parametrize("metric", METRICS)


def hammings(queries: np.ndarray, rows: np.ndarray, thresholds: np.ndarray | float = 0.0) -> np.ndarray:
    different: np.ndarray = ((queries > thresholds)[:, None, :] != (rows > thresholds)[None, :, :]).sum(axis=2)
    return different


class QuantizeConformance(Subject):
    """quantize, and topk of what it gives."""

    def quantized(self, rows: Any, kind: Kind, **options: Any) -> Quantized:
        return quantize(rows, kind, backend=self.backend, **options)

    def ids(self, found: TopK) -> np.ndarray:
        indices = self.host(found.indices)
        assert indices.dtype == self.backend.capabilities.index_dtype
        return indices

    # The codes

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_an_int8_code_times_its_columns_scale_is_the_nearest_to_the_number(self, dtype: str) -> None:
        rows = self.given(normal(ROWS) * np.geomspace(0.1, 10, DIM), dtype)
        made = self.quantized(rows, "int8")
        codes, scales, (held,) = self.host(made.codes), self.host(made.scales), self.held(rows)
        held = held.astype(np.float64)
        assert (codes.dtype.name, codes.shape) == ("int8", (ROWS, DIM))
        np.testing.assert_allclose(scales, np.abs(held).max(axis=0) / 127, rtol=1e-6)
        assert (np.abs(codes * scales - held) <= scales * 0.5001).all()

    @pytest.mark.parametrize("dim", [1, 8, 13, 64, 130])
    def test_binary_codes_are_the_packed_signs(self, dim: int) -> None:
        rows = normal(50, dim=dim)
        rows[3] = 0
        codes = self.host(self.quantized(self.given(rows), "binary").codes)
        np.testing.assert_array_equal(codes, np.packbits(rows > 0, axis=1))

    def test_a_calibration_says_what_the_largest_code_stands_for(self) -> None:
        rows, others = np.array([[0.5, 4.0, 1.0]]), np.array([[1.0, -2.0, 0.0], [0.1, np.nan, 0.0]])
        made = self.quantized(self.given(rows), "int8", calibration=self.given(others))
        np.testing.assert_array_equal(self.host(made.codes), [[64, 127, 0]])

    def test_a_calibration_says_above_what_a_bit_is_set(self) -> None:
        rows, others = normal(ROWS, seed=1) + 3, normal(400, seed=2) + 3
        made = self.quantized(self.given(rows), "binary", calibration=self.given(others))
        means = self.host(made.scales)
        np.testing.assert_allclose(means, others.mean(axis=0), rtol=1e-5)
        queries = normal(QUERIES, seed=3) + 3
        expected = np.argsort(
            hammings(queries.astype(np.float32), rows.astype(np.float32), means), axis=1, kind="stable"
        )
        found = self.ids(made.topk(self.given(queries), K, rescore=0))
        np.testing.assert_array_equal(found, expected[:, :K])

    @every_kind
    def test_quantizing_touches_no_input(self, kind: Kind) -> None:
        rows = self.given(normal(ROWS))
        (before,) = (x.copy() for x in self.held(rows))
        with np.errstate(all="raise"):
            topk(rows[:3, :], self.quantized(rows, kind, calibration=rows), 3)
        np.testing.assert_array_equal(self.held(rows)[0], before)

    # Found by the codes

    @pytest.mark.parametrize("dim", [5, 64, 130])
    def test_by_bits_alone_the_smallest_hamming_distances_come_first_and_equals_by_their_index(self, dim: int) -> None:
        queries, rows = normal(QUERIES, 1, dim), normal(ROWS, 2, dim)
        distances = hammings(queries, rows)
        expected = np.argsort(distances, axis=1, kind="stable")[:, :K]
        found = topk(self.given(queries), self.quantized(self.given(rows), "binary"), K, rescore=0)
        np.testing.assert_array_equal(self.ids(found), expected)
        np.testing.assert_array_equal(self.host(found.values), np.take_along_axis(distances, expected, axis=1))

    @every_metric
    def test_by_int8_alone_values_are_those_of_what_the_codes_stand_for(self, metric: str) -> None:
        queries, made = normal(QUERIES, 1), self.quantized(self.given(normal(ROWS, 2)), "int8")
        found = topk(self.given(queries), replace(made, vectors=None), K, metric=metric)
        stand_for = self.host(made.codes).astype(np.float64) * self.host(made.scales)
        values = pairs(metric, queries.astype(np.float32), stand_for)
        expected = np.sort(values if metric not in ("cosine", "dot") else -values, axis=1)[:, :K]
        best = self.host(found.values) if metric not in ("cosine", "dot") else -self.host(found.values)
        np.testing.assert_allclose(best, expected, rtol=1e-3, atol=1e-4)
        there = np.take_along_axis(values, self.ids(found).astype(np.int64), axis=1)
        np.testing.assert_allclose(self.host(found.values), there, rtol=1e-3, atol=1e-4)

    @every_metric
    def test_int8_finds_nearly_all_that_an_exact_search_finds(self, metric: str) -> None:
        queries, rows = (self.given(normal(n, n)) for n in (QUERIES, ROWS))
        found = self.ids(topk(queries, self.quantized(rows, "int8"), K, metric=metric))
        wanted, held = self.held(queries, rows)
        exact = answers(metric, wanted, held, K)[1]
        assert np.mean([np.isin(ours, theirs).mean() for ours, theirs in zip(found, exact, strict=True)]) > 0.98

    # Ranked again

    @pytest.mark.parametrize(
        ("metric", "dtype"),
        [*((metric, "float32") for metric in METRICS[1:]), *(("cosine", dtype) for dtype in FLOATS)],
    )
    @every_kind
    def test_with_every_row_a_candidate_the_answer_is_the_exact_one(self, metric: str, kind: Kind, dtype: str) -> None:
        queries, rows = (self.given(x, dtype) for x in awkward())
        found = topk(queries, self.quantized(rows, kind), K, metric=metric, rescore=EVERY_ROW)
        expected = topk(queries, rows, K, metric=metric, backend=self.backend)
        np.testing.assert_array_equal(self.ids(found), self.host(expected.indices))
        np.testing.assert_array_equal(self.host(found.values), self.host(expected.values))
        assert self.host(found.values).dtype == self.host(expected.values).dtype

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    @pytest.mark.parametrize("each", ["one mask", "a mask a query"])
    @every_kind
    def test_a_masked_row_is_not_found_by_its_codes(self, kind: Kind, each: str, share: float) -> None:
        mask = np.random.default_rng(1).random((QUERIES, ROWS) if each == "a mask a query" else ROWS) < share
        queries, rows = (self.given(x) for x in awkward())
        made, allowed = self.quantized(rows, kind), self.given(mask, "bool")
        found = self.ids(topk(queries, made, K, mask=allowed, rescore=EVERY_ROW))
        wanted, held = self.held(queries, rows)
        np.testing.assert_array_equal(found, answers("cosine", wanted, held, K, mask)[1])

    @every_kind
    def test_what_is_not_finite_is_not_found_by_codes_and_finds_nothing(self, kind: Kind) -> None:
        queries, rows = normal(4), normal(20, seed=1)
        queries[0, 0], rows[3, 2], rows[5, 0] = np.nan, np.inf, np.nan
        found = self.ids(topk(self.given(queries), self.quantized(self.given(rows), kind), 20, rescore=0))
        assert (found[0] == -1).all()
        np.testing.assert_array_equal(np.sort(found[1]), [-1, -1, 0, 1, 2, 4, *range(6, 20)])

    # Edges

    @every_kind
    def test_a_host_query_of_codes_is_answered_on_the_host(self, kind: Kind) -> None:
        made = self.quantized(self.given(normal(ROWS)), kind)
        found = topk(normal(QUERIES, seed=1).astype(np.float32), made, K)
        assert {type(x) for x in found} == {np.ndarray}
        assert found.indices.dtype == np.int64

    @pytest.mark.parametrize("rows", [0, 1, 5])
    @every_kind
    def test_a_k_above_the_codes_gives_all_of_them(self, kind: Kind, rows: int) -> None:
        made = self.quantized(self.given(normal(rows, seed=1)), kind)
        assert len(made) == rows
        np.testing.assert_array_equal(
            np.sort(self.ids(topk(self.given(normal(3)), made, 50))), np.tile(np.arange(rows), (3, 1))
        )

    @every_kind
    def test_one_query_of_codes_has_no_axis_in_the_result(self, kind: Kind) -> None:
        made = self.quantized(self.given(normal(ROWS)), kind)
        assert self.host(topk(self.given(normal(1)[0]), made, K).indices).shape == (K,)
        assert self.host(topk(self.given(normal(0)), made, K).values).shape == (0, K)
