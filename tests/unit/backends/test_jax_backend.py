"""What of the contract JAX does in its own way."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.testing.contract import Reference
from vjaccel.arrays.testing.oracle import answers, awkward, pairs

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402  # after importorskip

from vjaccel_jax import JaxBackend, kernels, search  # noqa: E402  # after importorskip


@pytest.fixture
def backend() -> JaxBackend:
    # The registry's own, so that what other tests had compiled is compiled.
    return vj.get_backend("jax:cpu")


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What is compiled inside."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (message := record.getMessage()).startswith("Compiling"):
                found.append(message)

    logger, handler = logging.getLogger("jax._src.interpreters.pxla"), Handler()
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        with jax.log_compiles(True):
            yield found
    finally:
        logger.propagate = propagated
        logger.removeHandler(handler)


def test_memory_that_the_user_changes_afterwards_changes_nothing(backend: JaxBackend) -> None:
    x = np.ones((64, 64), np.float32)
    array = backend.asarray(x)
    x[:] = 2
    assert float(array.sum()) == 64 * 64


def test_what_comes_back_can_be_written_to(backend: JaxBackend) -> None:
    found = vj.normalize(np.ones((3, 4), np.float32), backend=backend)
    found[:] = 0
    assert found.sum() == 0


# float64


def test_without_x64_float64_gives_float32_and_says_so_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "vjaccel.arrays"):
        made = JaxBackend("cpu")
    assert [record.levelname for record in caplog.records if "x64" in record.message] == ["DEBUG"]
    assert not made.capabilities.float64
    assert vj.similarity(np.eye(3), np.eye(3), backend=made).dtype == np.float32
    assert vj.topk(np.eye(3), np.eye(3), backend=made).values.dtype == np.float32


def test_with_x64_float64_stays(backend: JaxBackend) -> None:
    with jax.enable_x64(True):
        assert backend.capabilities.float64
        queries, corpus = (x.astype(np.float64) for x in awkward())
        found = vj.topk(jnp.asarray(queries), jnp.asarray(corpus), 12, metric="euclidean")
        assert (found.values.dtype, found.indices.dtype) == (np.float64, np.int64)
        np.testing.assert_array_equal(found.indices, answers("euclidean", queries, corpus, 12)[1])


@pytest.mark.parametrize("metric", list(Metric))
def test_with_x64_exact_scores_of_float64_are_bit_for_bit_the_generic_ones(backend: JaxBackend, metric: Metric) -> None:
    generator = np.random.default_rng(0)
    queries, rows, ids = generator.random((9, 24)), generator.random((600, 24)), generator.integers(0, 600, (9, 50))
    reference = Reference()
    with jax.enable_x64(True):
        prepared = backend.prepare(backend.asarray(rows), metric)
        found = backend.to_numpy(backend.rescore(backend.asarray(queries), prepared, backend.asarray(ids)))
    np.testing.assert_array_equal(found, reference.rescore(queries, reference.prepare(rows, metric), ids))


def test_what_the_user_set_is_what_counts_inside_the_backends_own_float64(backend: JaxBackend) -> None:
    with backend.float64():
        assert backend.capabilities.index_dtype == "int32"
        assert jnp.zeros(1).dtype == np.float64
    assert jnp.zeros(1).dtype == np.float32


# Shapes


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_no_shape_within_a_bucket_compiles_a_kernel_of_the_search_again(backend: JaxBackend, metric: str) -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((500, 24)).astype(np.float32)
    vj.topk(rows[:16], rows, 10, metric=metric, backend=backend)
    with compilations() as found:
        vj.topk(rows[:11], rows[:300], 10, metric=metric, backend=backend)
    kernels = (
        "_scored",
        "kept",
        "terms_of",
        "summed_terms",
        "judged",
        "_prepare_block",
        "real_rows",
        "_scan_queries",
        "bounds",
    )
    assert not [line for line in found if any(f"jit({kernel})" in line for kernel in kernels)]


def test_the_same_shapes_compile_nothing(backend: JaxBackend) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)
    vj.topk(rows[:16], rows, 10, backend=backend)
    with compilations() as found:
        vj.topk(rows[:16] + 1, rows, 10, backend=backend)
    assert found == []


def test_what_is_compiled_for_a_distance_serves_its_square(backend: JaxBackend) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)
    vj.topk(rows[:16], rows, 10, metric="euclidean", backend=backend)
    with compilations() as found:
        vj.topk(rows[:16], rows, 10, metric="sqeuclidean", backend=backend)
    assert not [line for line in found if "jit(negative)" not in line]  # of the values


@pytest.mark.parametrize("equals", [150, 200])
def test_how_many_rows_are_equal_is_nothing_to_compile_for(backend: JaxBackend, equals: int) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)
    rows[:250] = rows[0]
    vj.topk(rows[:1], rows, 10, backend=backend)
    rows[equals:250] = -rows[0]
    with compilations() as found:
        vj.topk(rows[:1], rows, 10, backend=backend)
    assert found == []


def test_how_many_rows_reach_a_threshold_is_nothing_to_compile_for(backend: JaxBackend) -> None:
    rows = np.zeros((500, 24), np.float32)
    rows[:, 0] = np.arange(500)
    vj.within(rows[:1], rows, 250.0, metric="euclidean", backend=backend)
    with compilations() as found:
        for threshold in (80.0, 110.0, 249.0):
            vj.within(rows[:1], rows, threshold, metric="euclidean", backend=backend)
    assert found == []


@pytest.mark.parametrize("metric", ["dot", "euclidean", "manhattan"])
def test_tiles_that_overlap_give_every_row_once(
    backend: JaxBackend, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "tile_bytes", 1 << 16)
    monkeypatch.setattr(search, "QUERIES", 8)
    queries, corpus = awkward(rows=1000, queries=20)
    mask = np.random.default_rng(1).random((20, 1000)) < 0.3
    found = vj.topk(queries, corpus, 9, metric=metric, mask=mask, backend=backend)
    np.testing.assert_array_equal(found.indices, answers(metric, queries, corpus, 9, mask)[1])
    many = vj.similarity if metric == "dot" else vj.distance
    a, b = (np.random.default_rng(2).standard_normal((n, 24)).astype(np.float32) for n in (130, 301))
    np.testing.assert_allclose(many(a, b, metric=metric, backend=backend), pairs(metric, a, b), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("columns", [8192, 9001])
@pytest.mark.parametrize("equals", [1, 40, 8000])
def test_the_best_by_groups_are_the_best(columns: int, equals: int) -> None:
    scores = np.random.default_rng(0).standard_normal((5, columns)).astype(np.float32)
    scores[:, -equals:] = 2.5
    scores[1] = -np.inf
    values, places = (np.asarray(x) for x in kernels.largest(jnp.asarray(scores), 33))
    np.testing.assert_array_equal(values, -np.sort(-scores, axis=1)[:, :33])
    np.testing.assert_array_equal(np.take_along_axis(scores, places, axis=1), values)
    assert all(len(set(row)) == 33 for row in places)


@pytest.mark.parametrize("whole_bytes", [0, 1 << 25])
@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
def test_a_corpus_in_one_piece_gives_what_its_tiles_give(
    backend: JaxBackend, metric: str, whole_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "TILE_BYTES", 1 << 13)
    monkeypatch.setattr(search, "WHOLE_BYTES", whole_bytes)
    queries, corpus = awkward(rows=1000, queries=20)
    found = vj.topk(queries, corpus, 9, metric=metric, backend=backend)
    np.testing.assert_array_equal(found.indices, answers(metric, queries, corpus, 9)[1])


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"),
        jax.errors.JaxRuntimeError("INTERNAL: Error dispatching computation: Out of memory allocating 1 bytes."),
        ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."),
    ],
    ids=["compiled", "waiting", "not compiled"],
)
def test_memory_that_runs_out_halves_the_tile(
    backend: JaxBackend, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, corpus = awkward()
    size, real = backend.tile_bytes, backend._scored
    failures = iter([True, True])

    def failing(*args: Any) -> Any:
        if next(failures, False):
            raise error
        return real(*args)

    monkeypatch.setattr(backend, "_scored", failing)
    monkeypatch.setattr(backend, "tile_bytes", size)
    found = vj.topk(queries, corpus, 5, backend=backend)
    np.testing.assert_array_equal(found.indices, answers("cosine", queries, corpus, 5)[1])
    assert backend.tile_bytes == size // 4


# Tracing


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_similarities_are_compiled_and_differentiated_finite_at_zero(metric: str) -> None:
    b = jnp.asarray(np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32))
    a = jnp.concatenate([b, jnp.zeros((1, b.shape[1]))])
    gradient = jax.jit(jax.grad(lambda x: vj.similarity(x, b, metric=metric).sum()))(a)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean", "manhattan"])
@pytest.mark.parametrize("operation", [vj.distance, vj.paired_distance])
def test_distances_are_compiled_and_differentiated_finite_at_the_same_point(operation: Any, metric: str) -> None:
    b = jnp.asarray(np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)).at[2].set(0)
    gradient = jax.jit(jax.grad(lambda x: operation(x, b, metric=metric).sum()))(b)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_a_compiled_distance_is_the_uncompiled_one(metric: str) -> None:
    a, b = (np.random.default_rng(i).standard_normal((9, 8)).astype(np.float32) for i in range(2))
    compiled = jax.jit(lambda x, y: vj.distance(x, y, metric=metric))(a, b)
    np.testing.assert_allclose(compiled, vj.distance(a, b, metric=metric), rtol=1e-5)


def test_operations_are_mapped_over_a_batch() -> None:
    a, b = (np.random.default_rng(i).standard_normal((9, 8)).astype(np.float32) for i in range(2))
    mapped = jax.vmap(lambda row: vj.similarity(row, jnp.asarray(b)))(jnp.asarray(a))
    np.testing.assert_allclose(mapped, vj.similarity(a, b), atol=1e-6)


@pytest.mark.parametrize("which", ["queries", "corpus"])
def test_a_search_that_is_traced_is_refused_in_a_sentence(which: str) -> None:
    x = jnp.ones((5, 4))
    search = {"queries": lambda y: vj.topk(y, x, 2).values, "corpus": lambda y: vj.topk(x, y, 2).values}[which]
    with pytest.raises(NotImplementedError, match="cannot be traced"):
        jax.jit(search)(x)


# The process


def in_a_process(code: str, **environment: str) -> str:
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    ).stdout.strip()


SAYS = "import os, vjaccel as vj; vj.get_backend('jax'); print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'])"


@pytest.mark.parametrize(("environment", "seen"), [({}, "false"), ({"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}, "true")])
def test_a_gpus_memory_is_not_taken_whole_unless_the_user_says_so(environment: dict[str, str], seen: str) -> None:
    assert in_a_process(SAYS, **environment) == seen


KEPT = """
import os, pathlib, vjaccel as vj
x = [[float(i), 1.0] for i in range(3)]
vj.topk(x, x, 2, backend="jax:cpu")
folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
print(folder, len(list(pathlib.Path(folder).iterdir())) if folder else 0)
"""


def test_what_is_compiled_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    folder, entries = in_a_process(KEPT, XDG_CACHE_HOME=str(tmp_path)).split()
    assert Path(folder).is_relative_to(tmp_path / "vjaccel")
    assert int(entries) > 0


@pytest.mark.parametrize("chosen", ["users", "none"])
def test_another_cache_that_the_user_chose_stays(tmp_path: Path, chosen: str) -> None:
    own = str(tmp_path / "own") if chosen == "users" else ""
    (tmp_path / "own").mkdir()
    said = in_a_process(KEPT, XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=own)
    assert said.rpartition(" ")[0] == own
    assert not (tmp_path / "vjaccel").exists() or not list((tmp_path / "vjaccel").glob("*/*"))


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert in_a_process(KEPT, XDG_CACHE_HOME=str(tmp_path / "file")) == "None 0"


def test_a_user_who_imported_jax_first_has_it_as_it_was() -> None:
    assert in_a_process("import jax\n" + KEPT) == "None 0"


def test_the_users_choice_of_platform_that_is_not_there_is_the_reason() -> None:
    code = "import vjaccel as vj; print([row.reason for row in vj.backends() if row.name == 'jax'][0])"
    assert "nowhere" in in_a_process(code, JAX_PLATFORMS="nowhere")


def test_arrays_on_several_host_devices_come_together_on_one() -> None:
    code = """
import jax, numpy as np, vjaccel as vj
x = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows")))
assert len(spread.devices()) == 4
print((np.asarray(vj.topk(spread, spread, 3).indices) == vj.topk(x, x, 3).indices).all())
"""
    assert in_a_process(code, XLA_FLAGS="--xla_force_host_platform_device_count=4") == "True"


def test_synchronize_returns_when_what_was_asked_is_done() -> None:
    import jax
    import jax.numpy as jnp

    backend = vj.get_backend("jax:cpu")
    x = backend.asarray(np.ones((1500, 1500), np.float32))
    done = jax.jit(lambda x: x @ x @ x)
    done(x).block_until_ready()  # compiled
    several = [done(x + jnp.float32(i)) for i in range(3)]
    backend.synchronize()
    assert all(y.is_ready() for y in several)
