"""torch, JAX and CuPy in one process: what is handed over is finished first, and switches of a library are as they were.

The way from torch to CuPy, and the pool that they share, are in tests/unit/backends/test_cupy_gpu.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.gpu.truth import best, drawn

pytestmark = pytest.mark.gpu

ROWS, DIM, K = 50_000, 256, 10


def library(name: str) -> Any:
    """The module, if a backend of it has a GPU here."""
    module = pytest.importorskip(name)
    try:
        vj.get_backend(f"{name}:gpu")
    except vj.BackendUnavailable as exc:
        pytest.skip(str(exc))
    return module


@pytest.mark.parametrize("to", ["torch:gpu:0", "jax:gpu:0"])
def test_what_a_stream_of_cupy_has_yet_to_write_is_waited_for(to: str) -> None:
    cupy = library("cupy")
    library(to.partition(":")[0])
    rows, queries = drawn(ROWS, DIM), drawn(5, DIM, seed=1)
    expected = best("cosine", queries, rows, K)
    there, late = cupy.asarray(rows), cupy.zeros((ROWS, DIM), np.float32)
    slow = cupy.ones((4096, 4096), np.float32)
    with cupy.cuda.Stream(non_blocking=True):
        for _ in range(40):  # some tenths of a second
            slow = slow @ slow / np.float32(4096)
        late[...] = there + 0 * slow[0, 0]
        found = vj.topk(queries, late, K, backend=to)
    np.testing.assert_array_equal(found.indices, expected)


@pytest.mark.parametrize("of", ["torch", "jax", "cupy"])
@pytest.mark.parametrize("on", ["torch:gpu:0", "jax:gpu:0", "cupy:gpu:0"])
def test_a_librarys_vectors_are_searched_on_anothers_backend_and_come_back(of: str, on: str) -> None:
    home = library(of)
    library(on.partition(":")[0])
    rows, queries = drawn(ROWS, DIM), drawn(5, DIM, seed=1)
    backend = vj.get_backend(f"{of}:gpu:0")
    with backend.on_device():
        found = vj.topk(backend.asarray(queries), backend.asarray(rows), K, backend=on)
    assert type(found.indices).__module__.partition(".")[0] in (home.__name__, "jaxlib")
    np.testing.assert_array_equal(backend.to_numpy(found.indices), best("cosine", queries, rows, K))


def worst(spec: str) -> float:
    """How far products are from float64, as a part of the norms: 3e-4 and more by TF32."""
    a, b = drawn(500, DIM), drawn(400, DIM, seed=1)
    found = vj.similarity(a, b, backend=spec)
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (a, b))
    return float(np.abs(found - a @ b.T).max())


def test_a_user_of_torchs_tf32_gets_float32_from_us_and_keeps_tf32() -> None:
    torch = library("torch")
    before = torch.get_float32_matmul_precision()
    a = torch.rand(512, 512, device="cuda")
    try:
        torch.set_float32_matmul_precision("high")
        assert worst("torch:gpu:0") < 1e-6
        vj.topk(a, vj.Corpus(a, scan="tf32"), K)
        assert torch.get_float32_matmul_precision() == "high"
        theirs = (a @ a).double() - a.double() @ a.double()
        assert theirs.abs().max() > 1e-3, "TF32 is no longer on"
    finally:
        torch.set_float32_matmul_precision(before)
    vj.topk(a, vj.Corpus(a, scan="tf32"), K)
    assert torch.get_float32_matmul_precision() == before
    assert ((a @ a).double() - a.double() @ a.double()).abs().max() < 1e-3, "TF32 was left on"


def test_a_user_of_cupys_tf32_gets_float32_from_us_and_keeps_tf32() -> None:
    cupy = library("cupy")
    from cupy import _core
    from cupy._core import _routines_linalg as linalg

    before = _core.get_compute_type(np.float32)
    a = cupy.random.random((512, 512), dtype=np.float32)
    try:
        _core.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
        assert worst("cupy:gpu:0") < 1e-6
        vj.topk(a, vj.Corpus(a, scan="tf32"), K)
        assert _core.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32
    finally:
        _core.set_compute_type(np.float32, before)
    vj.topk(a, vj.Corpus(a, scan="tf32"), K)
    assert _core.get_compute_type(np.float32) == before


def test_a_user_of_jaxs_tf32_gets_float32_from_us_and_keeps_tf32() -> None:
    jax = library("jax")
    with jax.default_matmul_precision("tensorfloat32"):
        assert worst("jax:gpu:0") < 1e-6
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"
    a = jax.numpy.asarray(drawn(512, 512))
    x64 = jax.config.jax_enable_x64
    vj.topk(a, vj.Corpus(a, scan="tf32"), K)
    assert jax.config.jax_enable_x64 == x64


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_the_current_device_and_stream_are_as_they_were_after_a_call_that_failed(name: str) -> None:
    module = library(name)
    cuda = module.cuda
    now = {
        "torch": lambda: (cuda.current_device(), cuda.current_stream()),
        "cupy": lambda: (cuda.Device().id, cuda.get_current_stream()),
    }[name]
    rows = vj.get_backend(f"{name}:gpu:0").asarray(drawn(100, 8))
    with module.cuda.stream(cuda.Stream()) if name == "torch" else cuda.Stream(non_blocking=True):
        before = now()
        with pytest.raises(vj.InvalidInput):
            vj.topk(rows[:, :4], rows, K)
        vj.topk(rows, rows, K)
        assert now() == before
