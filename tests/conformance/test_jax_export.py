"""The JAX backend's kernels lowered for CUDA, on a machine that has none: what XLA cannot lower there is found here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from vjaccel.arrays.coarse import HalfRows
from vjaccel.arrays.protocol import Metric
from vjaccel.arrays.search import PreparedRows

jax = pytest.importorskip("jax")

from jax import export  # noqa: E402

from vjaccel_jax import JaxBackend, kernels  # noqa: E402

TILE, QUERIES, DIM, COUNT = 512, 8, 48, 32
METRICS = list(Metric)
WIDE = ["float32", "float64"]


@pytest.fixture(scope="module")
def backend() -> JaxBackend:
    return JaxBackend("cpu")


def of(*shape: int, dtype: str = "float32") -> Any:
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype) if dtype != "bfloat16" else jax.numpy.bfloat16)


def corpus(metric: Metric, rows: int = TILE, dtype: str = "float32") -> PreparedRows:
    scan = "float64" if dtype == "float64" else "float32"
    centered = metric in (Metric.EUCLIDEAN, Metric.SQEUCLIDEAN)
    return PreparedRows(
        of(rows, DIM, dtype=dtype),
        metric,
        rows,
        DIM,
        of(DIM, dtype=scan) if centered else None,
        of(rows, dtype=scan),
        of(rows, dtype="bool"),
        of(rows, dtype=scan),
        of(dtype="float64"),
    )


def lowered(kernel: Callable[..., Any], *arguments: Any, **static: Any) -> str:
    """The kernel's program for CUDA."""
    exported = export.export(jax.jit(lambda *xs: kernel(*xs, **static)), platforms=["cuda"])(*arguments)
    assert exported.platforms == ("cuda",)
    return exported.mlir_module()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", *WIDE])
@pytest.mark.parametrize("metric", METRICS)
def test_scoring_a_tile(backend: JaxBackend, metric: Metric, dtype: str) -> None:
    with backend.float64():
        wide = "float64" if dtype == "float64" else "float32"
        program = lowered(backend._scored, of(QUERIES, DIM, dtype=wide), corpus(metric, dtype=dtype))
    if metric is not Metric.MANHATTAN:
        assert "HIGHEST" in program


@pytest.mark.parametrize("dtype", ["bfloat16", *WIDE])
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT, Metric.EUCLIDEAN])
def test_scoring_a_tile_in_tf32(backend: JaxBackend, metric: Metric, dtype: str) -> None:
    # Of a shape of its own: what was traced for others would be taken as it is.
    with backend.float64():
        tile = backend.for_scan(corpus(metric, TILE + 128, dtype), "tf32")
        program = lowered(backend._scored, of(QUERIES, DIM, dtype=WIDE[dtype == "float64"]), tile)
    assert "lhs_precision_type = tf32" in program
    assert "accumulation_type = f32" in program


@pytest.mark.parametrize("dtype", ["bfloat16", *WIDE])
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT, Metric.EUCLIDEAN])
def test_scoring_a_tile_of_halves(backend: JaxBackend, metric: Metric, dtype: str) -> None:
    usual = corpus(metric, dtype=dtype)
    facts = {field.name: getattr(usual, field.name) for field in fields(usual)}
    tile = HalfRows(**facts, half=of(TILE, DIM, dtype="float16"), scales=usual.weight)
    with backend.float64():
        program = lowered(backend._scored, of(QUERIES, DIM, dtype=WIDE[dtype == "float64"]), tile)
        lowered(backend.half_block, usual.vectors, usual.center, usual.ordinary)
    assert re.search(r"dot_general.*xf16>, tensor<.*xf16>\) -> tensor<.*xf32>", program)


@pytest.mark.parametrize("mask", [None, (TILE,), (QUERIES, TILE)], ids=["no mask", "one mask", "a mask a query"])
def test_keeping_the_best_of_a_tile(mask: tuple[int, ...] | None) -> None:
    best = of(QUERIES, COUNT), of(QUERIES, COUNT, dtype="int32")
    allowed = None if mask is None else of(*mask, dtype="bool")
    scores = of(QUERIES, TILE)
    for before in (None, best):
        lowered(lambda b, s, m: kernels.kept(b, s, 0, 0, m, count=COUNT), before, scores, allowed)


@pytest.mark.parametrize("metric", METRICS)
def test_preparing_queries_and_their_bounds(backend: JaxBackend, metric: Metric) -> None:
    with backend.float64():
        lowered(backend._scan_queries, of(QUERIES, DIM), corpus(metric, 1))
        lowered(backend.bounds, of(QUERIES, DIM), corpus(metric, 1))


@pytest.mark.parametrize("metric", METRICS)
def test_preparing_a_tile(backend: JaxBackend, metric: Metric) -> None:
    center = corpus(metric).center
    with backend.float64():
        lowered(lambda x, c: backend._prepare_block(x, metric, c), of(TILE, DIM), center)
        lowered(backend._summed, of(TILE, DIM))
        lowered(lambda prepared: kernels.tile_of(prepared, 3, size=64), corpus(metric))


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("metric", METRICS)
def test_rescoring_in_parts_that_are_not_merged(backend: JaxBackend, metric: Metric, dtype: str) -> None:
    with backend.float64():
        queries, rows, ids = (
            of(QUERIES, DIM, dtype=dtype),
            of(TILE, DIM, dtype=dtype),
            of(QUERIES, COUNT, dtype="int32"),
        )
        made = lambda *xs: backend.terms_of(metric, *xs)  # noqa: E731
        products = lowered(made, queries, rows, ids)
        terms = jax.eval_shape(made, queries, rows, ids)
        summing = lowered(lambda *xs: backend.summed_terms(metric, *xs), terms, ids)
    # Where an addition takes a product of the same program, they may be made one step, rounded once.
    assert not re.search(r"stablehlo.add.*xf64>", products)
    assert ("stablehlo.multiply" in summing) == (metric is Metric.COSINE)  # the two norms, from sums that are done
    assert "stablehlo.add" in summing
    assert "stablehlo.add" not in summing[summing.find("stablehlo.multiply") :] or metric is not Metric.COSINE


@pytest.mark.parametrize("metric", METRICS)
def test_pairs_and_all_pairs(backend: JaxBackend, metric: Metric) -> None:
    with backend.float64():
        lowered(lambda a, b: backend._paired(metric, a, b), of(TILE, DIM), of(TILE, DIM))
    if metric is Metric.COSINE:
        assert "HIGHEST" in lowered(backend._cosine, of(QUERIES, DIM), of(TILE, DIM))
    if metric is Metric.DOT:
        assert "HIGHEST" in lowered(backend.matmul, of(QUERIES, DIM), of(DIM, TILE))
        with backend.float64():
            lowered(backend._wide_dot, of(QUERIES, DIM), of(TILE, DIM))
    if metric in (Metric.EUCLIDEAN, Metric.SQEUCLIDEAN):
        block = lambda a, b, c: backend._expanded(metric, a, b, c)  # noqa: E731
        assert "HIGHEST" in lowered(block, of(QUERIES, DIM), of(TILE, DIM), of(DIM))


def test_normalizing(backend: JaxBackend) -> None:
    lowered(backend._scaled_rows, of(TILE, DIM, dtype="bfloat16"))
