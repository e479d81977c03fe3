"""normalize, and similarities and distances: of all pairs, and row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Corpus, distance, normalize, paired_distance, paired_similarity, similarity
from vjaccel.arrays.testing.memory import SPARE_BYTES
from vjaccel.arrays.testing.oracle import CANCELLED, TOLERANCE, assert_close, normalized, pairs
from vjaccel.arrays.testing.subject import DTYPES, FLOATS, Subject

__all__ = ["PairConformance"]

SIMILARITIES = ("cosine", "dot")
DISTANCES = ("euclidean", "sqeuclidean", "manhattan", "cosine")
ALL_PAIRS = {"similarity": similarity, "distance": distance}
ROW_BY_ROW = {"similarity": paired_similarity, "distance": paired_distance}
DIM = 24

every_operation = pytest.mark.parametrize(
    ("family", "metric"), [("similarity", m) for m in SIMILARITIES] + [("distance", m) for m in DISTANCES]
)

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "every second row": lambda x: x[::2, :],
    "every second column": lambda x: x[:, ::2],
    "transposed": lambda x: x.T,
}
HOST_LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "reversed": lambda x: x[::-1, ::-1],
    "Fortran": np.asfortranarray,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "other byte order": lambda x: x.astype(">f4"),
    "list": lambda x: x.tolist(),
}


def vectors(rows: int = 17, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, DIM)) * scale


def near_duplicates(rows: int = 40) -> np.ndarray:
    """Far from the origin: of a squared distance by |a|^2 + |b|^2 - 2ab not one digit is left."""
    return 1000.0 + vectors(rows, scale=1e-3)


def expected_pairs(family: str, metric: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    values: np.ndarray = pairs(metric, a, b)
    return 1.0 - values if (family, metric) == ("distance", "cosine") else values


def norms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = (np.linalg.norm(x.astype(np.float64), axis=1) for x in (a, b))
    product: np.ndarray = left[:, None] * right[None, :]
    return product


class PairConformance(Subject):
    """Everything but searching."""

    def all_pairs(self, family: str, metric: str, a: Any, b: Any) -> Any:
        return ALL_PAIRS[family](a, b, metric=metric, backend=self.backend)

    def row_by_row(self, family: str, metric: str, a: Any, b: Any) -> Any:
        return ROW_BY_ROW[family](a, b, metric=metric, backend=self.backend)

    # normalize

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_normalizing_divides_each_row_by_its_norm(self, dtype: str) -> None:
        x = self.given(vectors(scale=20), dtype)
        found = self.host(normalize(x, backend=self.backend))
        tolerance = TOLERANCE[dtype] if dtype in ("float16", "bfloat16") else self.tolerance(dtype)
        np.testing.assert_allclose(found, normalized(*self.held(x)), atol=tolerance)

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_normalizing_keeps_a_floating_dtype(self, dtype: str) -> None:
        x = self.given(vectors(), dtype)
        assert normalize(x, backend=self.backend).dtype == x.dtype

    def test_a_zero_row_normalizes_to_itself_and_a_nan_spoils_its_own_row_alone(self) -> None:
        x = vectors()
        x[3], x[5, 2] = 0, np.nan
        found = self.host(normalize(self.given(x), backend=self.backend))
        np.testing.assert_array_equal(found[3], 0)
        assert np.isnan(found[5]).any()
        kept = np.arange(len(x)) != 5
        np.testing.assert_allclose(found[kept], normalized(x[kept]), atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("scale", [1e30, 1e-30])
    def test_normalizing_is_right_where_squares_leave_float32(self, scale: float) -> None:
        x = self.given(vectors(scale=scale))
        found = self.host(normalize(x, backend=self.backend))
        np.testing.assert_allclose(found, normalized(*self.held(x)), atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("shape", [(0, DIM), (1, DIM), (DIM,), (3, 1)])
    def test_normalizing_keeps_the_shape(self, shape: tuple[int, ...]) -> None:
        found = self.host(normalize(self.given(np.full(shape, 2.0)), backend=self.backend))
        np.testing.assert_allclose(found, np.full(shape, shape[-1] ** -0.5), rtol=TOLERANCE["float32"])

    # Values

    @pytest.mark.parametrize("dtype", DTYPES)
    @every_operation
    def test_all_pairs_agree_with_the_oracle(self, family: str, metric: str, dtype: str) -> None:
        a, b = (self.given(vectors(rows, seed=rows, scale=5), dtype) for rows in (17, 23))
        found = self.host(self.all_pairs(family, metric, a, b))
        left, right = self.held(a, b)
        assert found.dtype == self.result_dtype(dtype)
        expected = expected_pairs(family, metric, left, right)
        assert_close(metric, found, expected, norms(left, right), self.tolerance(dtype))

    @pytest.mark.parametrize("dtype", DTYPES)
    @every_operation
    def test_pairs_row_by_row_agree_with_the_oracle(self, family: str, metric: str, dtype: str) -> None:
        a, b = (self.given(vectors(seed=seed, scale=5), dtype) for seed in (1, 2))
        found = self.host(self.row_by_row(family, metric, a, b))
        left, right = self.held(a, b)
        assert found.dtype == self.result_dtype(dtype)
        expected = expected_pairs(family, metric, left, right).diagonal()
        assert_close(metric, found, expected, norms(left, right).diagonal(), self.tolerance(dtype))

    @every_operation
    def test_the_wider_dtype_of_two_is_the_results(self, family: str, metric: str) -> None:
        a, b = self.given(vectors(seed=1)), self.given(vectors(seed=2), "float64")
        found = self.host(self.all_pairs(family, metric, a, b))
        assert found.dtype == self.result_dtype("float64")
        left, right = self.held(a, b)
        assert_close(
            metric, found, expected_pairs(family, metric, left, right), norms(left, right), self.tolerance("float64")
        )

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("metric", DISTANCES)
    def test_near_duplicates_far_from_the_origin_are_told_apart(self, metric: str, dtype: str) -> None:
        x = self.given(near_duplicates(), dtype)
        (values,) = self.held(x)
        found = self.host(self.all_pairs("distance", metric, x, x))
        assert_close(metric, found, expected_pairs("distance", metric, values, values), 0.0, CANCELLED)

    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "manhattan"])
    def test_the_distance_to_itself_is_exactly_zero(self, metric: str, dtype: str) -> None:
        x = self.given(np.concatenate([vectors(20), near_duplicates(20), vectors(20, scale=1e-9)]), dtype)
        np.testing.assert_array_equal(self.host(self.all_pairs("distance", metric, x, x)).diagonal(), 0)
        np.testing.assert_array_equal(self.host(self.row_by_row("distance", metric, x, x)), 0)

    # Numbers that go wrong

    @pytest.mark.parametrize(("family", "right"), [("similarity", 0.0), ("distance", 1.0)])
    def test_the_cosine_with_a_zero_vector_is_zero(self, family: str, right: float) -> None:
        zero, other = self.given(np.zeros((3, DIM))), self.given(np.concatenate([vectors(2), np.zeros((1, DIM))]))
        for found in (self.all_pairs, self.row_by_row):
            np.testing.assert_array_equal(self.host(found(family, "cosine", zero, other)), right)

    @every_operation
    def test_a_nan_spoils_its_own_pairs_alone(self, family: str, metric: str) -> None:
        a, b = vectors(12, seed=1), vectors(14, seed=2)
        a[3, 0], b[5, 1] = np.nan, np.nan
        found = self.host(self.all_pairs(family, metric, self.given(a), self.given(b)))
        expected = expected_pairs(family, metric, a, b)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        whole = ~np.isnan(expected)
        assert_close(metric, found[whole], expected[whole], norms(a, b)[whole], self.tolerance("float32"))

    @pytest.mark.parametrize("shape", ["all pairs", "row by row"])
    @every_operation
    def test_huge_and_tiny_numbers_give_the_value_or_infinity_and_never_nan(
        self, family: str, metric: str, shape: str
    ) -> None:
        scales = np.repeat([1e30, 1.0, 1e-30], 8)[:, None]
        a, b = self.given(vectors(24, seed=1) * scales), self.given(vectors(24, seed=2) * np.roll(scales, 4))
        found = self.host((self.all_pairs if shape == "all pairs" else self.row_by_row)(family, metric, a, b))
        left, right = self.held(a, b)
        expected = expected_pairs(family, metric, left, right)
        if shape == "row by row":
            expected, magnitudes = expected.diagonal(), norms(left, right).diagonal()
        else:
            magnitudes = norms(left, right)
        with np.errstate(all="ignore"):
            beyond = np.isinf(expected.astype(np.float32))
        np.testing.assert_array_equal(found[beyond], np.copysign(np.inf, expected[beyond]))
        under = ~beyond & (np.abs(expected) < 1e-37) & (metric != "cosine")  # subnormal numbers may count as zero
        np.testing.assert_allclose(found[under], 0, atol=1e-37)
        rest = ~beyond & ~under
        assert_close(metric, found[rest], expected[rest], magnitudes[rest], self.tolerance("float32"))

    # Shapes and layouts

    @every_operation
    def test_a_single_vector_has_no_axis_in_the_result(self, family: str, metric: str) -> None:
        one, many = self.given(vectors(1)[0]), self.given(vectors(5, seed=1))
        for a, b, shape in ((one, many, (5,)), (many, one, (5,)), (one, one, ())):
            assert self.host(self.all_pairs(family, metric, a, b)).shape == shape
        assert self.host(self.row_by_row(family, metric, one, one)).shape == ()

    @every_operation
    def test_nothing_compared_with_something_is_an_empty_result(self, family: str, metric: str) -> None:
        none, some = self.given(np.empty((0, DIM))), self.given(vectors(5))
        for a, b, shape in ((none, some, (0, 5)), (some, none, (5, 0)), (none, none, (0, 0))):
            assert self.host(self.all_pairs(family, metric, a, b)).shape == shape
        assert self.host(self.row_by_row(family, metric, none, none)).shape == (0,)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @every_operation
    def test_the_layout_in_memory_does_not_matter(self, family: str, metric: str, layout: str) -> None:
        x = LAYOUTS[layout](self.given(vectors(DIM, scale=3)))
        (values,) = self.held(x)
        found = self.host(self.all_pairs(family, metric, x, x))
        expected = expected_pairs(family, metric, values, values)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
        found = self.host(normalize(x, backend=self.backend))
        np.testing.assert_allclose(found, normalized(values), atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("layout", HOST_LAYOUTS)
    @every_operation
    def test_a_host_array_of_any_layout_comes_back_to_the_host(self, family: str, metric: str, layout: str) -> None:
        x = HOST_LAYOUTS[layout](vectors(9, scale=3).astype(np.float32))
        values = np.asarray(x, np.float64)
        found = self.all_pairs(family, metric, x, x)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, expected_pairs(family, metric, values, values), atol=1e-4, rtol=1e-5)

    @every_operation
    def test_a_corpus_stands_for_its_vectors(self, family: str, metric: str) -> None:
        a, b = self.given(vectors(5, seed=1)), self.given(vectors(9, seed=2))
        corpus = Corpus(b, metric=metric, backend=self.backend)
        found, expected = ALL_PAIRS[family](a, corpus, backend=self.backend), self.all_pairs(family, metric, a, b)
        np.testing.assert_array_equal(self.host(found), self.host(expected))

    # What else a call must leave alone

    @every_operation
    def test_neither_the_input_nor_numpys_error_state_is_touched(self, family: str, metric: str) -> None:
        a = vectors(9) * np.repeat([1e30, 1.0, 1e-30], 3)[:, None]
        a[4], a[5, 0] = 0, np.nan
        x = self.given(a)
        (before,) = (values.copy() for values in self.held(x))
        with np.errstate(all="raise"):
            self.all_pairs(family, metric, x, x)
            self.row_by_row(family, metric, x, x)
            normalize(x, backend=self.backend)
        np.testing.assert_array_equal(self.held(x)[0], before)

    @pytest.mark.parametrize("metric", DISTANCES)
    def test_all_pairs_take_little_memory_beside_the_result(self, metric: str) -> None:
        x = self.given(np.random.default_rng(0).standard_normal((1000, 160)))
        assert self.grown(lambda: self.all_pairs("distance", metric, x, x)) < SPARE_BYTES + 4_000_000
