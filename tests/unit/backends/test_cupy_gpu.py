"""What of the contract CuPy does in its own way that only a GPU shows: streams, and the pool shared with torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.testing.oracle import answers

pytestmark = pytest.mark.gpu

ROWS, DIM, K = 20_000, 128, 10


@pytest.fixture
def cupy() -> Any:
    module = pytest.importorskip("cupy")
    if not any(row.usable for row in vj.backends() if row.name == "cupy"):
        pytest.skip("CuPy sees no GPU")
    return module


@pytest.fixture
def torch(cupy: Any) -> Any:
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return module


def vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIM)).astype(np.float32)


def test_what_another_librarys_stream_has_yet_to_write_is_waited_for(cupy: Any, torch: Any) -> None:
    rows, queries = vectors(ROWS), vectors(5)
    late = torch.empty(ROWS, DIM, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        late.copy_(torch.from_numpy(rows))
        found = vj.topk(queries, late, K, backend="cupy:gpu:0")
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, rows, K)[1])


def test_a_corpus_made_on_one_stream_is_searched_on_another(cupy: Any) -> None:
    rows, queries = vectors(ROWS), vectors(5)
    with cupy.cuda.Stream(non_blocking=True):
        corpus = vj.Corpus(cupy.asarray(rows), scan="float16")
    with cupy.cuda.Stream(non_blocking=True):
        found = corpus.topk(queries, K)
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, rows, K)[1])


@pytest.mark.parametrize(("n", "dim", "m"), [(1, 1, 1), (3, 7, 5), (64, 384, 1000)])
def test_products_of_halves_are_summed_and_kept_in_float32(cupy: Any, n: int, dim: int, m: int) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.uniform(1e3, 3e4, (rows, dim)).astype(np.float16) for rows in (n, m))
    backend: Any = vj.get_backend("cupy")
    with backend.on_device():
        found = backend.half_product(cupy.asarray(a), cupy.asarray(b).T)
    assert found.dtype == np.float32
    np.testing.assert_allclose(cupy.asnumpy(found), a.astype(np.float64) @ b.astype(np.float64).T, rtol=dim * 2.0**-22)


def test_cupys_memory_comes_from_torchs_pool_and_goes_back(torch: Any) -> None:
    # In a process of its own: the choice of a pool is for the rest of it.
    code = """
import torch
torch.ones(1, device="cuda")
import cupy, numpy as np, vjaccel as vj
vj.topk(np.ones((1, 8)), np.ones((9, 8)), 3, backend="cupy:gpu:0")
before = torch.cuda.memory_allocated()
held = cupy.zeros(1 << 24, cupy.uint8)
assert torch.cuda.memory_allocated() - before >= 1 << 24
del held
assert torch.cuda.memory_allocated() == before
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
