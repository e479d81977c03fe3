"""Searches of a size that is a GPU's have the ids of float64, by every scan that the device has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import vjaccel as vj
from tests.gpu.truth import best, copied, drawn, near
from vjaccel.arrays.protocol import Coarse

pytestmark = pytest.mark.gpu

DIM, K = 384, 10
every_scan = pytest.mark.parametrize("scan", [None, "tf32", "float16"], ids=["float32", "tf32", "float16"])

Sized = Callable[[int], int]


class Case(NamedTuple):
    """Rows, queries near some of them, and the ids that float64 gives them."""

    rows: np.ndarray
    queries: np.ndarray
    ids: np.ndarray


@cache
def corpus(rows: int, spread: float) -> np.ndarray:
    """A small spread: rows close together, far from zero, as text's vectors are."""
    found = copied(drawn(rows, DIM))
    if spread != 1.0:
        found *= np.float32(spread)
        found += drawn(1, DIM, seed=9)
    return found


@cache
def case(metric: str, rows: int, queries: int, k: int = K, spread: float = 1.0) -> Case:
    """Made once for all backends."""
    held = corpus(rows, spread)
    wanted = near(held, np.random.default_rng(3).integers(0, rows, queries), 0.3 * spread)
    return Case(held, wanted, best(metric, wanted, held, k))


def corpus_of(rows: np.ndarray, metric: str, spec: str, scan: Coarse | None) -> vj.Corpus:
    if scan is not None and scan not in vj.get_backend(spec).capabilities.scans:
        pytest.skip(f"{spec} has no scan {scan!r} on this device")
    return vj.Corpus(rows, metric=metric, backend=spec, scan=scan)


@every_scan
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_a_million_rows_are_searched_as_by_float64(spec: str, sized: Sized, metric: str, scan: Coarse | None) -> None:
    rows, queries, expected = case(metric, sized(1_000_000), 300)
    found = corpus_of(rows, metric, spec, scan).topk(queries, K)
    np.testing.assert_array_equal(found.indices, expected)


@every_scan
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rows_that_lie_close_together_are_searched_as_by_float64(
    spec: str, sized: Sized, metric: str, scan: Coarse | None
) -> None:
    rows, queries, expected = case(metric, sized(200_000), 64, spread=0.02)
    found = corpus_of(rows, metric, spec, scan).topk(queries, K)
    np.testing.assert_array_equal(found.indices, expected)


@pytest.mark.parametrize("queries", [1, 3000])
def test_one_query_and_thousands_have_the_same_ids(spec: str, sized: Sized, queries: int) -> None:
    rows, wanted, expected = case("cosine", sized(1_000_000), 300)
    found = vj.topk(np.resize(wanted, (queries, DIM)), rows, K, backend=spec)
    np.testing.assert_array_equal(found.indices, np.resize(expected, (queries, K)))


def test_manhattan_is_searched_as_by_float64(spec: str, sized: Sized) -> None:
    rows, queries, expected = case("manhattan", sized(200_000), 10)
    np.testing.assert_array_equal(vj.topk(queries, rows, K, metric="manhattan", backend=spec).indices, expected)


@every_scan
def test_a_k_above_2048_is_no_special_number(spec: str, sized: Sized, scan: Coarse | None) -> None:
    rows = sized(200_000)
    k = min(5000, rows // 2)
    held, queries, expected = case("dot", rows, 20, k)
    np.testing.assert_array_equal(corpus_of(held, "dot", spec, scan).topk(queries, k).indices, expected)


def test_all_pairs_are_within_float32_of_float64(spec: str, sized: Sized) -> None:
    rows = drawn(sized(20_000), DIM, seed=4)
    for metric in ("cosine", "dot"):
        found = vj.similarity(rows, rows[:1000], metric=metric, backend=spec)
        wide = rows.astype(np.float64)
        norms = np.linalg.norm(wide, axis=1)
        exact = wide @ wide[:1000].T / (norms[:, None] * norms[:1000])
        scale = np.float64(1.0) if metric == "cosine" else norms[:, None] * norms[:1000]
        # TF32's products are off by 1e-4 of the norms and more.
        np.testing.assert_allclose(found / scale, exact, atol=3e-6)
