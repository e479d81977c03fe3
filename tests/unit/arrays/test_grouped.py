"""The best scores by groups are the best scores."""

from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjaccel.arrays.grouped import group_size, largest_by_groups

ROWS = 5


class Sorting:
    """A library that sorts; how many scores it was given."""

    def __init__(self) -> None:
        self.sorted = 0

    def best(self, scores: np.ndarray, count: int) -> np.ndarray:
        self.sorted += scores.size
        return np.argsort(-scores, axis=1)[:, :count]


SCORES = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "few different": lambda generator, shape: generator.integers(0, 3, shape),
    "all equal": lambda generator, shape: np.zeros(shape),
    "most refused": lambda generator, shape: np.where(generator.random(shape) < 0.01, 1.0, -np.inf),
    "rows that only rescoring can score": lambda generator, shape: np.where(generator.random(shape) < 0.1, np.inf, 0.0),
    "descending": lambda generator, shape: -np.broadcast_to(np.arange(shape[1]), shape),
    "ascending": lambda generator, shape: np.broadcast_to(np.arange(shape[1]), shape),
}


@pytest.mark.parametrize("count", [1, 7, 32])
@pytest.mark.parametrize("columns", [32, 4096, 4097, 20_001])
@pytest.mark.parametrize("kind", SCORES)
def test_they_are_those_of_a_sort(kind: str, columns: int, count: int) -> None:
    scores = SCORES[kind](np.random.default_rng(0), (ROWS, columns)).astype(np.float32)
    chosen = largest_by_groups(xp, Sorting().best, scores, count)
    assert chosen.shape == (ROWS, count)
    assert all(len(set(row)) == count for row in chosen.tolist())
    found = np.sort(np.take_along_axis(scores, chosen, axis=1), axis=1)
    np.testing.assert_array_equal(found, np.sort(scores, axis=1)[:, columns - count :])


def test_few_scores_are_sorted() -> None:
    library = Sorting()
    largest_by_groups(xp, library.best, np.random.default_rng(0).random((ROWS, 200_000)), 33)
    assert library.sorted < ROWS * 200_000 / 30


def test_rows_too_short_for_groups_are_the_librarys_own_to_sort() -> None:
    library = Sorting()
    largest_by_groups(xp, library.best, np.zeros((ROWS, 1000)), 33)
    assert library.sorted == ROWS * 1000


@given(st.integers(1, 10**7), st.integers(1, 3000))
def test_there_are_at_least_as_many_groups_as_are_chosen(columns: int, count: int) -> None:
    count = min(count, columns)
    size = group_size(columns, count)
    assert columns // size >= count
    assert size == 1 or size >= 8
