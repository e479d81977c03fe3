"""Tiles: their plan, what memory that runs out does to them, and that they do not show in an answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Metric
from vjaccel.arrays.generic import FLOOR_BYTES
from vjaccel.arrays.search import halving_sum
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import METRICS, answers, awkward, pairs

every_metric = pytest.mark.parametrize("metric", METRICS)


@pytest.fixture
def backend() -> Reference:
    return Reference()


@pytest.mark.parametrize(
    ("rows", "row_bytes", "steps"), [(10, 4, [10]), (10, 400, [2] * 5), (3, 10_000, [1] * 3), (0, 4, [])]
)
def test_blocks_take_at_most_the_bytes_and_at_least_a_row(
    backend: Reference, rows: int, row_bytes: int, steps: list[int]
) -> None:
    backend.tile_bytes = 1000
    found = list(backend.blocks(rows, row_bytes))
    assert [block.stop - block.start for block in found] == steps
    assert [i for block in found for i in range(rows)[block]] == list(range(rows))


def test_rows_of_no_bytes_are_one_block(backend: Reference) -> None:
    assert list(backend.blocks(5, 0)) == [slice(0, 5)]


@every_metric
def test_a_search_in_small_tiles_is_a_search(backend: Reference, metric: str) -> None:
    backend.tile_bytes = 1 << 12
    queries, corpus = awkward()
    mask = np.random.default_rng(0).random((9, 700)) < 0.5
    with np.errstate(all="ignore"):
        found = backend.topk(queries, backend.prepare(corpus, Metric(metric)), 12, mask)
    np.testing.assert_array_equal(found.indices, answers(metric, queries, corpus, 12, mask)[1])


@every_metric
def test_all_pairs_and_pairs_in_small_tiles_are_the_oracles(backend: Reference, metric: str) -> None:
    backend.tile_bytes = 1 << 12
    a, b = (np.random.default_rng(seed).standard_normal((60, 9)) for seed in (1, 2))
    b[7] = a[7]
    expected = pairs(metric, a, b)
    np.testing.assert_allclose(backend.scores(Metric(metric), a, b), expected, atol=1e-9)
    np.testing.assert_allclose(backend.paired(Metric(metric), a, b), expected.diagonal(), atol=1e-9)


def test_normalizing_in_small_tiles_is_normalizing(backend: Reference) -> None:
    backend.tile_bytes = 1 << 10
    x = np.random.default_rng(1).standard_normal((60, 9))
    np.testing.assert_allclose(backend.normalize(x), x / np.linalg.norm(x, axis=1, keepdims=True))


class Failing:
    """Fails so many times, then gives 3."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error = times, error

    def __call__(self) -> int:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return 3


def test_memory_that_runs_out_halves_the_tile_and_goes_on(backend: Reference) -> None:
    size = backend.tile_bytes
    assert backend.retried(Failing(3, MemoryError())) == 3
    assert backend.tile_bytes == size // 8


def test_a_tile_that_cannot_be_halved_again_is_an_error(backend: Reference) -> None:
    with pytest.raises(MemoryError):
        backend.retried(Failing(100, MemoryError()))
    assert backend.tile_bytes == FLOOR_BYTES


def test_another_error_is_raised_at_once(backend: Reference) -> None:
    size, failing = backend.tile_bytes, Failing(1, ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        backend.retried(failing)
    assert (failing.left, backend.tile_bytes) == (0, size)


@pytest.mark.parametrize("operation", ["normalize", "scores", "paired", "prepare", "topk"])
def test_every_operation_goes_on_after_memory_ran_out(
    backend: Reference, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).standard_normal((30, 8))
    calls: dict[str, Any] = {
        "normalize": lambda: backend.normalize(x),
        "scores": lambda: backend.scores(Metric.EUCLIDEAN, x, x),
        "paired": lambda: backend.paired(Metric.COSINE, x, x + 1),
        "prepare": lambda: backend.prepare(x, Metric.COSINE).weight,
        "topk": lambda: backend.topk(x, backend.prepare(x, Metric.DOT), 3, None).indices,
    }
    expected, size = calls[operation](), backend.tile_bytes
    real, failing = backend.widened, Failing(1, MemoryError())
    monkeypatch.setattr(backend, "widened", lambda rows: (failing(), real(rows))[1])
    np.testing.assert_array_equal(calls[operation](), expected)
    assert backend.tile_bytes == size // 2


@pytest.mark.parametrize("length", [*range(10), 24, 255, 384])
def test_the_fixed_sum_is_a_sum_of_every_term_once(length: int) -> None:
    whole = np.random.default_rng(0).integers(-1000, 1000, (3, length)).astype(float)
    np.testing.assert_array_equal(halving_sum(np, whole), [math.fsum(row) for row in whole])


def test_the_fixed_sum_folds_the_upper_half_onto_the_lower() -> None:
    # In any other order the small one is lost.
    assert halving_sum(np, np.asarray([[1e16, 1.0, -1e16, 0.0]])).tolist() == [1.0]
