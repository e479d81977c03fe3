"""What of the contract torch does in its own way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.testing.oracle import answers, awkward

torch = pytest.importorskip("torch")

from vjaccel_torch import TorchBackend  # noqa: E402  # after importorskip
from vjaccel_torch.precision import full_precision, launching, tf32  # noqa: E402  # after importorskip

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "reversed": lambda x: x[::-1, ::-2],
    "Fortran": np.asfortranarray,
    "every third": lambda x: x[::3],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "empty": lambda x: x[:0],
    "unaligned": lambda x: np.frombuffer(b"1" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "other byte order": lambda x: x.astype(">f4"),
    "field": lambda x: np.rec.fromarrays([x[:, 0], x[:, 1].astype("i2")], names="a,b")["a"],
    "one number": lambda x: x[0, 0],
}


@pytest.fixture
def backend() -> TorchBackend:
    return TorchBackend("cpu")


def test_read_only_memory_is_shared_without_a_warning(backend: TorchBackend) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x.flags.writeable = False
    assert backend.asarray(x).data_ptr() == x.ctypes.data


def test_memory_outlives_the_array_that_was_given(backend: TorchBackend) -> None:
    x = np.arange(1000, dtype=np.float32)
    x.flags.writeable = False
    tensor = backend.asarray(x)
    del x
    np.testing.assert_array_equal(tensor.numpy(), np.arange(1000, dtype=np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_keeps_its_values(backend: TorchBackend, layout: str) -> None:
    x = LAYOUTS[layout](np.arange(60, dtype=np.float32).reshape(6, 10))
    np.testing.assert_array_equal(backend.to_numpy(backend.asarray(x)), x)


def test_a_read_only_memory_map_is_searched_where_it_is(tmp_path: Path) -> None:
    queries, corpus = awkward()
    corpus.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=corpus.shape)
    found = vj.topk(queries, mapped, 5, backend="torch:cpu")
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, 5)[1])


def test_bfloat16_stays_itself_when_normalized_and_is_float32_to_numpy(backend: TorchBackend) -> None:
    found = vj.normalize(torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert backend.to_numpy(found).dtype == np.float32


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_similarities_have_finite_gradients_at_zero_and_at_the_same_point(metric: str) -> None:
    b = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    a = torch.cat([b, torch.zeros(1, 8)]).requires_grad_()
    vj.similarity(a, b, metric=metric).sum().backward()
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean", "manhattan"])
@pytest.mark.parametrize("operation", [vj.distance, vj.paired_distance])
def test_distances_have_finite_gradients_at_zero_and_at_the_same_point(operation: Any, metric: str) -> None:
    b = torch.cat([torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 8)])
    a = b.clone().requires_grad_()
    operation(a, b, metric=metric).sum().backward()
    assert a.grad.isfinite().all()


def test_gradients_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.randn(5, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: vj.distance(x, y), (a, b))
    assert torch.autograd.gradcheck(lambda x, y: vj.similarity(x, y), (a, b))
    assert torch.autograd.gradcheck(vj.normalize, (a,))


def test_a_search_keeps_no_graph() -> None:
    queries, corpus = torch.randn(3, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    assert not vj.topk(queries, corpus, 4).values.requires_grad


def test_autocast_does_not_lower_what_is_computed() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 64, generator=generator), torch.randn(30, 64, generator=generator)
    outside = vj.similarity(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = vj.similarity(a, b)
        assert (a @ b.T).dtype == torch.bfloat16
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-6)


def test_arrays_of_jax_come_in_by_dlpack_and_results_go_back() -> None:
    jax = pytest.importorskip("jax")
    queries, corpus = awkward()
    found = vj.topk(jax.numpy.asarray(queries), corpus, 5, backend="torch:cpu")
    assert isinstance(found.indices, jax.Array)
    np.testing.assert_array_equal(np.asarray(found.indices), answers("cosine", queries, corpus, 5)[1])


def test_memory_that_runs_out_halves_the_tile(backend: TorchBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, corpus = awkward()
    on_device = torch.OutOfMemoryError("CUDA out of memory")
    failures = iter([on_device, RuntimeError("DefaultCPUAllocator: can't allocate memory")])

    def failing(a: Any, b: Any) -> Any:
        if (error := next(failures, None)) is not None:
            raise error
        return a @ b

    monkeypatch.setattr(backend, "matmul", failing)
    size = backend.tile_bytes
    found = vj.topk(queries, corpus, 5, backend=backend)
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, 5)[1])
    assert backend.tile_bytes == size // 4


# The process-wide switches


@pytest.fixture
def switches() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


def seen() -> tuple[Any, ...]:
    backends = torch.backends
    return torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32, backends.mkldnn.matmul.fp32_precision


@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_the_users_precision_is_off_inside_and_back_outside(switches: None, chosen: str) -> None:
    torch.set_float32_matmul_precision(chosen)
    before = seen()
    with full_precision():
        assert seen()[:2] == ("highest", False)
        assert seen()[2] in ("ieee", "none")
    assert seen() == before


def test_the_precision_is_back_when_the_last_thread_has_left(switches: None) -> None:
    torch.set_float32_matmul_precision("medium")
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with full_precision():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with full_precision():
        thread.start()
        entered.wait()
    assert torch.get_float32_matmul_precision() == "highest"
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("chosen", ["highest", "high"])
def test_tf32_is_on_inside_alone_and_the_users_choice_is_back(switches: None, chosen: str) -> None:
    torch.set_float32_matmul_precision(chosen)
    before = seen()
    with full_precision():
        inside = seen()
        with tf32():
            assert torch.backends.cuda.matmul.allow_tf32
        assert seen() == inside
    assert seen() == before


def test_another_product_of_ours_waits_while_tf32_is_on(switches: None) -> None:
    with full_precision(), tf32():
        assert not launching.acquire(timeout=0.01)
    assert launching.acquire(timeout=0.01)
    launching.release()


def test_a_cpu_has_no_tf32(backend: TorchBackend) -> None:
    assert backend.capabilities.scans == ("float16",)


@pytest.mark.parametrize("where", ["", ".cuda.matmul", ".mkldnn.matmul"])
def test_the_newer_switches_are_off_inside_and_back_where_they_were_set(where: str) -> None:
    # In a process of its own: once set, these cannot be unset.
    code = f"""
import torch
from vjaccel_torch.precision import full_precision
b = torch.backends
if not hasattr(b.cuda.matmul, "fp32_precision"): raise SystemExit
def seen(): return b.fp32_precision, b.cuda.matmul.fp32_precision, b.mkldnn.matmul.fp32_precision
b{where}.fp32_precision = "tf32"
before = seen()
with full_precision():
    assert {{*seen()[1:]}} <= {{"ieee", "none"}}, seen()
assert seen() == before, (seen(), before)
b.fp32_precision = "ieee"
after = seen()
assert after[1 + ("mkldnn" in {where!r})] == ("tf32" if {where!r} else "ieee"), after
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
