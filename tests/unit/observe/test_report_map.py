"""The sample of a run's rows, and what is found in it: near duplicates, outliers, two dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from vjaccel.observe.report.near import pictured
from vjaccel.observe.report.sample import Row, Sample, beginning


def sampled(rows: int, most: int, step: int, seed: int = 0) -> Sample:
    made = Sample(most, seed)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        made.add(np.ones(count, bool), lambda i, start=start: (Row(str(start + i), ""), np.array([start + i, 1.0])))
    return made


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_sample_is_the_same_however_the_rows_come(step: int) -> None:
    found, other = sampled(1000, 50, step), sampled(1000, 50, 100)
    assert (found.rows, found.seen) == (other.rows, 1000)
    assert [int(row.name) for row in found.rows] == sorted(int(row.name) for row in found.rows)
    assert found.vectors[:, 0].tolist() == [float(row.name) for row in found.rows]


def test_every_row_is_as_likely_as_another() -> None:
    counts = np.zeros(100)
    for seed in range(400):
        for row in sampled(100, 25, 30, seed).rows:
            counts[int(row.name)] += 1
    assert abs(counts - 100).max() < 45  # 5 standard deviations


def test_rows_without_a_vector_are_in_no_sample() -> None:
    made = Sample(10)
    made.add(np.array([True, False, True]), lambda i: (Row(str(i), ""), np.array([float(i)])))
    assert [row.name for row in made.rows] == ["0", "2"]
    assert made.seen == 2


def test_few_rows_are_all_in_the_sample() -> None:
    assert [row.name for row in sampled(20, 50, 6).rows] == [str(i) for i in range(20)]


@pytest.mark.parametrize(
    ("text", "short"),
    [("a\n b\t c", "a b c"), (None, ""), (3, "3"), ("x" * 200, "x" * 159 + "…")],
    ids=["spaces", "none", "number", "long"],
)
def test_the_beginning_of_a_text_is_one_line(text: object, short: str) -> None:
    assert beginning(text) == short


def random(rows: int, dim: int = 32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, dim))


def test_near_duplicates_are_in_one_group_by_way_of_others() -> None:
    vectors = random(200)
    vectors[10], vectors[50], vectors[90] = vectors[3] * 2, vectors[3] + 0.01, vectors[3] + 0.02
    vectors[120] = vectors[7]
    found = pictured(vectors)
    assert found.groups == [[3, 10, 50, 90], [7, 120]]
    assert found.closest == pytest.approx([1.0, 1.0], abs=1e-6)


def test_a_row_far_from_all_others_is_an_outlier() -> None:
    vectors = random(200) * 0.2 + np.eye(32)[0]
    vectors[17] = -np.eye(32)[3]
    found = pictured(vectors)
    assert found.outliers[0][0] == 17
    assert len(found.outliers) < 5
    assert found.usual is not None
    assert found.outliers[0][1] < found.usual


def test_the_two_directions_are_those_of_the_largest_variance() -> None:
    vectors = random(300) * 0.01
    vectors[:, 5] += np.linspace(-1, 1, 300)
    found = pictured(vectors)
    assert found.shares[0] > 0.95
    assert abs(np.corrcoef(found.places[:, 0], np.arange(300))[0, 1]) > 0.99


@pytest.mark.parametrize("shape", [(300, 32), (40, 384), (50, 2)], ids=["many rows", "many columns", "two columns"])
def test_the_places_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    vectors = random(*shape) * np.linspace(1, 3, shape[1]) + 5
    vectors /= np.abs(vectors).max()
    found, other = pictured(vectors), PCA(2, svd_solver="full")
    places = other.fit_transform(vectors)
    signs = np.sign((found.places * places).sum(axis=0))  # that of a direction is free
    np.testing.assert_allclose(found.places, places * signs, atol=1e-9)
    np.testing.assert_allclose(found.shares, other.explained_variance_ratio_, atol=1e-9)


@pytest.mark.parametrize("dim", [8, 400])
def test_rows_along_one_line_have_no_second_direction(dim: int) -> None:
    found = pictured(np.linspace(-1, 1, 60)[:, None] * random(1, dim))
    assert found.shares == pytest.approx((1.0, 0.0), abs=1e-9)
    assert np.abs(found.places[:, 1]).max() < 1e-9


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((50, 8)), np.zeros((50, 8)), random(3), random(30, 1), random(30) * 1e30, random(30) * 1e-30,
        np.full((5, 2), 3e38),
    ],
    ids=["all the same", "all zero", "three", "one wide", "very large", "very small", "largest"],
)  # fmt: skip
def test_any_vectors_have_a_picture_without_a_warning(vectors: np.ndarray) -> None:
    found = pictured(vectors)
    assert np.isfinite(found.places).all()
    assert found.places.shape == (len(vectors), 2)
    assert 0 <= sum(found.shares) <= 1 + 1e-9
