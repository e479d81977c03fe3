"""More than 2^31 numbers: where an index of 32 bits is no longer enough, in a library or in its kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import vjaccel as vj
from tests.gpu.truth import best, drawn, near
from vjaccel.arrays.protocol import Coarse
from vjaccel.arrays.testing.oracle import pairs

pytestmark = pytest.mark.gpu

ROWS, DIM, K = 6_000_000, 384, 10

Sized = Callable[[int], int]
Room = Callable[[float], None]


@pytest.fixture(scope="module")
def corpus(sized: Sized) -> np.ndarray:
    """2.3e9 numbers, 9.2 GB."""
    return drawn(sized(ROWS), DIM)


@pytest.fixture(scope="module")
def queries(corpus: np.ndarray) -> np.ndarray:
    """Near the first row, the last, and those about the 2^31st number."""
    edge = min((1 << 31) // DIM, len(corpus) - 2)
    return near(corpus, np.asarray([0, edge - 1, edge, edge + 1, len(corpus) - 1]))


@pytest.fixture(scope="module")
def expected(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return best("cosine", queries, corpus, K)


@pytest.mark.parametrize("scan", [None, "float16"], ids=["float32", "float16"])
def test_rows_behind_the_2_31st_number_are_found(
    spec: str, room: Room, request: pytest.FixtureRequest, scan: Coarse | None
) -> None:
    room(25e9)
    if scan is not None and scan not in vj.get_backend(spec).capabilities.scans:
        pytest.skip(f"{spec} has no scan {scan!r} on this device")
    rows, wanted, ids = (request.getfixturevalue(name) for name in ("corpus", "queries", "expected"))
    held = vj.Corpus(rows, backend=spec, scan=scan, resident=True)
    np.testing.assert_array_equal(held.topk(wanted, K).indices, ids)
    found = held.within(wanted, 0.9)
    assert set(ids[:, 0]) <= set(found.indices)


def test_rows_that_are_added_behind_the_2_31st_number_are_found(
    spec: str, room: Room, request: pytest.FixtureRequest
) -> None:
    room(50e9)  # the old rows, and room for twice as many
    rows, wanted, ids = (request.getfixturevalue(name) for name in ("corpus", "queries", "expected"))
    cut = len(rows) * 11 // 12
    held = vj.Corpus(rows[:cut], backend=spec, resident=True)
    held.add(rows[cut:])
    np.testing.assert_array_equal(held.topk(wanted, K).indices, ids)


def test_rows_behind_the_2_31st_number_are_normalized(spec: str, room: Room, request: pytest.FixtureRequest) -> None:
    room(30e9)
    rows = request.getfixturevalue("corpus")
    backend = vj.get_backend(spec)
    with backend.on_device():
        found = vj.normalize(backend.asarray(rows))
        some = np.concatenate([backend.to_numpy(x) for x in (found[:100], found[len(rows) - 100 :])])
    given = np.concatenate([rows[:100], rows[-100:]]).astype(np.float64)
    np.testing.assert_allclose(some, given / np.linalg.norm(given, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_matrix_of_more_than_2_31_pairs_is_whole(spec: str, sized: Sized, room: Room, metric: str) -> None:
    room(30e9)
    rows = drawn(sized(48_000), 64, seed=5)
    backend = vj.get_backend(spec)
    with backend.on_device():
        given = backend.asarray(rows)
        found = vj.distance(given, given, metric=metric)
        last = backend.to_numpy(found[len(rows) - 10 :, :])
    exact = pairs(metric, rows[-10:], rows)
    np.testing.assert_allclose(last, 1 - exact if metric == "cosine" else exact, atol=1e-4)
