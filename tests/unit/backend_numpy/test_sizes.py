"""Where the kernels' way of working changes with the size of what they are given."""

from __future__ import annotations

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.testing.oracle import answers, pairs


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_thousands_of_rows_beyond_the_scans_range_are_searched_exactly(metric: str) -> None:
    generator = np.random.default_rng(0)
    rows = (generator.standard_normal((5000, 8)) * 1e30).astype(np.float32)
    queries = generator.standard_normal((3, 8)).astype(np.float32)
    found = vj.topk(queries, rows, 7, metric=metric, backend="numpy")
    np.testing.assert_array_equal(found.indices, answers(metric, queries, rows, 7)[1])


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances_of_several_blocks_are_put_where_they_belong(metric: str) -> None:
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((rows, 4)).astype(np.float32) for rows in (1100, 2100))
    found = vj.distance(a, b, metric=metric, backend="numpy")
    # Near pairs, which are a few of two million, keep two digits; the rest all of float32's.
    np.testing.assert_allclose(found, pairs(metric, a, b), rtol=1e-2)
    np.testing.assert_allclose(found, pairs(metric, a, b), atol=1e-4)
