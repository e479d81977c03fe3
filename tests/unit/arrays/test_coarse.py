"""What is asked of a backend when a coarser scan cannot tell rows apart, and what the coarser scan's numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vjaccel.arrays import Metric
from vjaccel.arrays.coarse import TOP, coarse_error, halves
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import answers

K = 10


class Watched(Reference):
    """The generic backend; which scans were asked for, and for how many queries."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str | None, int]] = []

    def scan(self, queries: Any, prepared: Any, *rest: Any) -> Any:
        self.asked.append((prepared.scan, len(queries)))
        return super().scan(queries, prepared, *rest)

    def above(self, queries: Any, *rest: Any) -> Any:
        self.asked.append(("above", len(queries)))
        return super().above(queries, *rest)


def asked(queries: np.ndarray, rows: np.ndarray, mask: np.ndarray | None = None) -> list[tuple[str | None, int]]:
    """What a search in float16 asks for; its answers are the oracle's."""
    backend = Watched()
    with np.errstate(all="ignore"):  # as around every call of a kernel
        found = backend.topk(queries, backend.prepare_scanned(rows, Metric.COSINE, "float16"), K, mask)
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, rows, K, mask)[1])
    return backend.asked


def vectors(rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    queries, corpus = (generator.standard_normal((n, 32)).astype(np.float32) for n in (7, rows))
    return queries, corpus


def test_rows_that_differ_are_scanned_once() -> None:
    assert asked(*vectors()) == [("float16", 7)]


def close_to_the_second_query(apart: float) -> tuple[np.ndarray, np.ndarray]:
    queries, rows = vectors()
    noise = np.random.default_rng(1).standard_normal((300, 32))
    rows[100:400] = queries[1] + apart * noise
    return queries, rows


@pytest.mark.parametrize("shape", [None, (2000,), (7, 2000)])
def test_a_query_whose_rows_float16_cannot_tell_apart_is_scanned_again_by_the_vectors(shape: Any) -> None:
    mask = None if shape is None else np.random.default_rng(2).random(shape) < 0.9
    assert asked(*close_to_the_second_query(1e-2), mask) == [("float16", 7), (None, 1)]


def test_what_the_vectors_scan_cannot_tell_apart_either_is_settled() -> None:
    assert asked(*close_to_the_second_query(0.0)) == [("float16", 7), (None, 1), ("above", 1)]


def test_a_row_in_float16_times_its_scale_is_the_row_whatever_its_magnitude() -> None:
    rows = vectors(50)[1] * 10.0 ** np.linspace(-20, 14, 50, dtype=np.float32)[:, None]
    half, scales = halves(Reference().xp, rows)
    assert half.dtype == np.float16
    assert np.abs(half).max() == TOP
    reach = np.abs(rows).max(axis=1, keepdims=True)
    np.testing.assert_array_less(np.abs(half * scales[:, None] - rows), 2.0**-10.9 * np.abs(rows) + 2.0**-29 * reach)


def test_a_row_too_small_for_a_scale_is_zero() -> None:
    half, scales = halves(Reference().xp, np.asarray([[1e-30, 0.0], [0.0, 0.0]], np.float32))
    assert not half.any()
    assert not scales.any()


def test_the_error_of_float16_is_half_that_of_tf32_which_may_cut_bits_off() -> None:
    assert coarse_error("float16", 384) < 1.2e-3 < coarse_error("tf32", 384) < 2.2e-3
