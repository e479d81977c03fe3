"""CuPy's whole path without a GPU: through a namespace that refuses what CuPy refuses."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.conformance import strict_cupy
from vjaccel.arrays import registry, streams
from vjaccel.arrays.testing import BackendConformance
from vjaccel.arrays.testing.changes import ChangeConformance
from vjaccel.arrays.testing.oracle import METRICS, answers, awkward, pairs
from vjaccel.arrays.testing.ranges import RangeConformance
from vjaccel.arrays.testing.search import SearchConformance

TOLERANCE = {"cosine": 1e-6, "dot": 1e-3, "euclidean": 1e-4, "sqeuclidean": 1e-3, "manhattan": 1e-4}


@contextmanager
def standing_in(folder: Path) -> Iterator[Any]:
    information = folder / "cupy_cuda13x-14.2.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cupy-cuda13x\nVersion: 14.2.0\n")
    with pytest.MonkeyPatch.context() as patched, strict_cupy.installed() as module:
        patched.syspath_prepend(str(folder))
        patched.setattr(registry, "_instances", {})
        yield module


@pytest.fixture
def cupy(tmp_path: Path) -> Iterator[Any]:
    with standing_in(tmp_path) as module:
        yield module


@pytest.fixture(scope="class")
def cupy_of_a_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with standing_in(tmp_path_factory.mktemp("cupy")) as module:
        yield module


class TestCupyStandIn(BackendConformance):
    @pytest.fixture
    def subject(self, cupy_of_a_class: Any) -> vj.Backend:
        return vj.get_backend("cupy:gpu:1")


class TestCupyStandInSharded(ChangeConformance, RangeConformance, SearchConformance):
    """A corpus is cut over both devices."""

    @pytest.fixture
    def subject(self, cupy_of_a_class: Any) -> vj.Backend:
        return vj.get_backend("cupy:gpu:0,1")


@pytest.mark.parametrize("asked", [True, False], ids=["asked to", "for want of room"])
def test_a_corpus_over_several_devices_stays_on_the_host_whole(
    cupy: Any, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, rows = awkward()
    monkeypatch.setattr(streams, "PART_BYTES", 10_000)
    backend = vj.get_backend("cupy:gpu:0,1")
    second = backend.members[1]
    if asked:
        corpus = vj.Corpus(rows, backend=backend, resident=False)
    else:
        real = second.prepare

        def limited(vectors: Any, metric: Any) -> Any:
            if len(vectors) > 200:
                raise strict_cupy.OutOfMemoryError
            return real(vectors, metric)

        monkeypatch.setattr(second, "prepare", limited)
        corpus = vj.Corpus(rows, backend=backend)
    assert not corpus.resident
    assert corpus.vectors is rows
    np.testing.assert_array_equal(corpus.topk(queries, 12).indices, answers("cosine", queries, rows, 12)[1])
    with pytest.raises(vj.NotSupported, match="stays on the host"):
        corpus.remove([0])


def host(x: Any) -> np.ndarray:
    assert type(x).__module__ == "cupy"
    return x.get()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("place", [0, 1])
def test_topk_finds_the_oracles_ids_on_the_arrays_own_device(cupy: Any, metric: str, place: int) -> None:
    queries, corpus = awkward()
    with cupy.cuda.Device(place):
        on_device = cupy.asarray(queries), cupy.asarray(corpus)
    found = vj.topk(*on_device, k=12, metric=metric)
    assert found.values.device.id == found.indices.device.id == place
    np.testing.assert_array_equal(host(found.indices), answers(metric, queries, corpus, 12)[1])
    assert host(found.values).dtype == np.float32


@pytest.mark.parametrize("metric", METRICS)
def test_a_mask_holds_on_the_device(cupy: Any, metric: str) -> None:
    queries, corpus = awkward()
    mask = np.random.default_rng(1).random((len(queries), len(corpus))) < 0.1
    mask[0] = False
    found = vj.topk(cupy.asarray(queries), cupy.asarray(corpus), 8, metric=metric, mask=cupy.asarray(mask))
    np.testing.assert_array_equal(host(found.indices), answers(metric, queries, corpus, 8, mask)[1])


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "bool"])
def test_every_dtype_is_searched_as_the_values_it_holds(cupy: Any, dtype: str) -> None:
    values = np.random.default_rng(2).integers(0, 2 if dtype == "bool" else 100, (300, 16)).astype(dtype)
    found = vj.topk(cupy.asarray(values[:5]), cupy.asarray(values), 9, metric="euclidean")
    np.testing.assert_array_equal(host(found.indices), answers("euclidean", values[:5], values, 9)[1])


def test_host_arrays_go_to_a_named_device_and_come_back(cupy: Any) -> None:
    queries, corpus = awkward()
    found = vj.topk(queries, corpus, 5, backend="cupy:gpu:1")
    assert isinstance(found.indices, np.ndarray)
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, 5)[1])


def test_arrays_come_from_another_library_over_the_host(cupy: Any) -> None:
    queries, corpus = awkward()
    found = vj.topk(cupy.asarray(queries), cupy.asarray(corpus), 5, backend="numpy")
    np.testing.assert_array_equal(host(found.indices), answers("cosine", queries, corpus, 5)[1])


@pytest.mark.parametrize("metric", METRICS)
def test_all_pairs_and_pairs_agree_with_the_oracle(cupy: Any, metric: str) -> None:
    generator = np.random.default_rng(3)
    a, b = (generator.standard_normal((30, 20)).astype(np.float32) for _ in range(2))
    b[4] = a[4]
    many, rowwise = (
        (vj.similarity, vj.paired_similarity) if metric in ("cosine", "dot") else (vj.distance, vj.paired_distance)
    )
    expected = pairs(metric, a, b)
    on_device = cupy.asarray(a), cupy.asarray(b)
    np.testing.assert_allclose(host(many(*on_device, metric=metric)), expected, atol=TOLERANCE[metric], rtol=1e-5)
    found = host(rowwise(*on_device, metric=metric))
    np.testing.assert_allclose(found, np.diag(expected), atol=TOLERANCE[metric], rtol=1e-5)


def test_normalizing_keeps_the_dtype_and_a_zero_row(cupy: Any) -> None:
    x = np.asarray([[3.0, 4.0], [0.0, 0.0], [3e30, 4e30]], np.float32)
    found = host(vj.normalize(cupy.asarray(x)))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)


def test_a_scan_waits_for_the_device_once_and_not_for_each_tile(cupy: Any) -> None:
    generator = np.random.default_rng(4)
    corpus = vj.Corpus(cupy.asarray(generator.standard_normal((5000, 32)).astype(np.float32)))
    corpus.backend.tile_bytes = 1 << 18
    queries = cupy.asarray(generator.standard_normal((4, 32)).astype(np.float32))
    before = cupy.ndarray.copied_to_host
    corpus.topk(queries, 10)
    assert cupy.ndarray.copied_to_host - before == 1


def test_memory_that_runs_out_halves_the_tile(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, corpus = awkward()
    backend = registry.get_backend("cupy")
    backend.tile_bytes = 1 << 24
    real, failures = backend.matmul, iter([True, True])

    def failing(a: Any, b: Any) -> Any:
        if next(failures, False):
            raise strict_cupy.OutOfMemoryError("out of memory allocating 1 bytes")
        return real(a, b)

    monkeypatch.setattr(backend, "matmul", failing)
    found = vj.topk(queries, corpus, 5, backend="cupy")
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, 5)[1])
    assert backend.tile_bytes == 1 << 22


def test_tf32_is_off_inside_and_back_after_the_last_call(cupy: Any) -> None:
    from vjaccel_cupy.precision import full_precision

    tf32 = cupy._core._routines_linalg.COMPUTE_TYPE_TF32
    cupy._core.set_compute_type(np.float32, tf32)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with full_precision():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with full_precision():
        thread.start()
        entered.wait()
        assert cupy._core.get_compute_type(np.float32) != tf32
    assert cupy._core.get_compute_type(np.float32) != tf32
    leave.set()
    thread.join()
    assert cupy._core.get_compute_type(np.float32) == tf32


def test_tf32_is_on_inside_alone_and_other_products_of_ours_wait(cupy: Any) -> None:
    from vjaccel_cupy.precision import full_precision, launching, tf32

    linalg = cupy._core._routines_linalg
    with full_precision():
        with tf32():
            assert cupy._core.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32
            assert not launching.acquire(timeout=0.01)
        assert cupy._core.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_DEFAULT
    assert launching.acquire(timeout=0.01)
    launching.release()


@pytest.mark.parametrize(("capability", "scans"), [("60", ()), ("75", ("float16",)), ("80", ("tf32", "float16"))])
def test_a_gpu_has_the_scans_that_its_units_have(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, capability: str, scans: tuple[str, ...]
) -> None:
    monkeypatch.setattr(strict_cupy.Device, "compute_capability", capability)
    assert vj.get_backend("cupy").capabilities.scans == scans


@pytest.mark.parametrize("change", ["made", "added", "updated", "removed"])
def test_a_corpus_is_there_before_another_stream_can_search_it(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    waited: list[int] = []
    rows = cupy.asarray(np.eye(9, dtype=np.float32))
    corpus = vj.Corpus(rows)
    monkeypatch.setattr(strict_cupy.Device, "synchronize", lambda self: waited.append(self.id))
    changes = {
        "made": lambda: vj.Corpus(rows),
        "added": lambda: corpus.add(rows[:1]),
        "updated": lambda: corpus.update([0], rows[1:2]),
        "removed": lambda: corpus.remove([0]),
    }
    changes[change]()
    assert waited


# The pool


class Torch:
    """As much of torch as its pool is, on the stand-in's devices."""

    def __init__(self, used: bool) -> None:
        self.cuda = self
        self.used = used
        self.asked: list[tuple[int, ...]] = []

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.used

    def caching_allocator_alloc(self, size: int, device: int, stream: int) -> int:
        self.asked.append((size, device, stream))
        return 64

    def caching_allocator_delete(self, pointer: int) -> None:
        self.asked.append((pointer,))


def test_cupy_takes_its_memory_from_torchs_pool_where_torch_uses_a_gpu(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = Torch(used=True)
    monkeypatch.setitem(sys.modules, "torch", torch)
    vj.get_backend("cupy:gpu:1")
    allocator = cupy.cuda.get_allocator()
    with cupy.cuda.Device(1):
        assert allocator(100) == 64
    allocator.__self__.free(64, 1)
    stream = cupy.cuda.get_current_stream().ptr
    assert torch.asked == [(100, 1, stream), (64,)]
    vj.get_backend("cupy:gpu:0")
    assert cupy.cuda.get_allocator() == allocator


@pytest.mark.parametrize("used", [None, False])
def test_without_torch_on_a_gpu_cupy_keeps_its_own_pool(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, used: bool | None
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None if used is None else Torch(used))
    vj.get_backend("cupy")
    assert cupy.cuda.get_allocator() == cupy.get_default_memory_pool().malloc


def test_an_allocator_that_the_user_chose_stays(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", Torch(used=True))
    chosen = object()
    cupy.cuda.set_allocator(chosen)
    vj.get_backend("cupy")
    assert cupy.cuda.get_allocator() is chosen


def test_torchs_word_for_no_memory_is_understood(cupy: Any) -> None:
    torch = pytest.importorskip("torch")
    assert vj.get_backend("cupy").is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))


def test_the_registry_shows_the_devices(cupy: Any) -> None:
    row = next(row for row in vj.backends() if row.name == "cupy")
    assert (row.version, row.devices, row.usable) == ("14.2.0", ("gpu:0", "gpu:1"), True)


def test_a_driver_that_fails_is_the_reason(cupy: Any) -> None:
    def failing() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")

    cupy.cuda.runtime.getDeviceCount = failing
    with pytest.raises(vj.BackendUnavailable, match="cudaErrorInsufficientDriver"):
        vj.topk([[1.0]], [[1.0]], backend="cupy")


def test_the_stand_in_refuses_what_cupy_refuses(cupy: Any) -> None:
    x = cupy.asarray(np.ones(3))
    with pytest.raises(TypeError):
        np.asarray(x)
    with pytest.raises(TypeError):
        x + np.ones(3)
    with pytest.raises(TypeError):
        np.ones(3) + x
    with pytest.raises(ValueError, match="more than one"):
        bool(x)
    with cupy.cuda.Device(1), pytest.raises(ValueError, match="current device"):
        x + 1
