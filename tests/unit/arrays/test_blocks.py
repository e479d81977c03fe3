"""The closest rows among blocks are those of a search among all rows, however these are cut; and rows taken out of a corpus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.blocks import topk_of_blocks
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.testing.oracle import METRICS

DIM = 4


def drawn(count: int) -> np.ndarray:
    """Small whole numbers, so that many rows are equally close; some rows of NaN."""
    rows = np.random.default_rng(count).integers(-1, 2, (count, DIM)).astype(np.float32)
    rows[::17] = np.nan
    return rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1, 7, 60, 500])
def test_blocks_in_any_order_give_what_all_rows_do(metric: str, size: int) -> None:
    rows, queries = drawn(200), drawn(16)[1:]
    # Numbers ascend within a block, and blocks come mixed.
    order = np.random.default_rng(size).permutation(200)
    blocks = [np.sort(order[start : start + size]) for start in range(0, 200, size)]
    found = topk_of_blocks(queries, [(block, rows[block]) for block in blocks], 9, metric=Metric(metric))
    expected = vj.topk(queries, rows, 9, metric=metric)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.values.dtype == expected.values.dtype


@pytest.mark.parametrize(("blocks", "width"), [([], 0), ([(np.arange(0), np.empty((0, DIM), np.float32))], 0)])
def test_no_rows_give_no_columns(blocks: Any, width: int) -> None:
    found = topk_of_blocks(drawn(3), blocks, 5, metric=Metric.COSINE)
    assert found.values.shape == found.indices.shape == (3, width)


def test_a_block_of_another_width_is_said() -> None:
    with pytest.raises(vj.InvalidInput, match="queries has vectors of width 4 and the rows of width 3"):
        topk_of_blocks(drawn(3), [(np.arange(2), np.ones((2, 3), np.float32))], 1, metric=Metric.DOT)


@pytest.mark.parametrize("backend", ["numpy", "torch:cpu", "jax:cpu"])
def test_rows_are_taken_by_position_and_are_a_copy(backend: str) -> None:
    pytest.importorskip(backend.partition(":")[0], reason=f"{backend} is not installed")
    rows = np.arange(40, dtype=np.float32).reshape(10, DIM)
    corpus = vj.Corpus(rows.copy(), backend=backend)
    corpus.remove([0, 3])
    corpus.add(rows[:1])
    taken = corpus.backend.to_numpy(corpus.take([8, 1, 0]))
    np.testing.assert_array_equal(taken, rows[[0, 2, 1]])
    taken = np.array(taken)
    taken[:] = -1
    np.testing.assert_array_equal(corpus.backend.to_numpy(corpus.take(8)), rows[:1])
    with pytest.raises(vj.InvalidInput, match="positions has 9; the corpus has 9 rows"):
        corpus.take([9])
    assert vj.Corpus(rows[:0], backend=backend).take([]).shape == (0, DIM)
