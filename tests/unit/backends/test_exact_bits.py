"""`rescore` gives the same float64 bits in every library: with one bit more or less ties would fall elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import array_api_compat.numpy
import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.generic import GenericBackend
from vjaccel.arrays.protocol import Metric


class Reference(GenericBackend):
    name, array_modules, requires, install = "reference", (), ("numpy",), ""

    def __init__(self) -> None:
        super().__init__("cpu", array_api_compat.numpy)


@contextmanager
def wide(name: str) -> Iterator[None]:
    """JAX takes float64 only where it is asked for."""
    if name != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def exact(backend: Any, metric: Metric, queries: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    prepared = backend.prepare(backend.asarray(rows), metric)
    return backend.to_numpy(backend.rescore(backend.asarray(queries), prepared, backend.asarray(ids)))


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("metric", list(Metric))
def test_exact_scores_are_bit_for_bit_the_references(name: str, dtype: str, metric: Metric) -> None:
    if name != "numpy":
        pytest.importorskip(name)
    generator = np.random.default_rng(0)
    queries = generator.standard_normal((7, 37)).astype(dtype)
    rows = generator.standard_normal((400, 37)).astype(dtype)
    rows[3], rows[5] = 0, rows[5] * 1e-4
    ids = generator.integers(0, len(rows), (7, 50))
    ids[0, 3] = -1
    with wide(name):
        found = exact(vj.get_backend(f"{name}:cpu"), metric, queries, rows, ids)
    np.testing.assert_array_equal(found, exact(Reference(), metric, queries, rows, ids))


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_equal_rows_have_equal_cosines_wherever_they_lie(name: str) -> None:
    if name != "numpy":
        pytest.importorskip(name)
    generator = np.random.default_rng(1)
    row = generator.standard_normal(29).astype(np.float32)
    rows = generator.standard_normal((3000, 29)).astype(np.float32)
    places = generator.permutation(3000)[:700]
    rows[places] = row
    found = exact(vj.get_backend(f"{name}:cpu"), Metric.COSINE, rows[:3], rows, np.tile(np.sort(places), (3, 1)))
    assert [len(np.unique(scores)) for scores in found] == [1, 1, 1]
