"""torch's path on a GPU without one: fake tensors on "cuda" refuse another device's operands, and to be looked at.

What cannot run here, because what it does next depends on values: `distance` by the euclidean metrics (it looks for
pairs to compute directly), `similarity` by dot (it looks for numbers beyond float32), `above`, and `topk` itself
(whether the certificate holds). What they are made of runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vjaccel.arrays.protocol import Coarse, Metric

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode  # noqa: E402  # after importorskip
from torch.overrides import TorchFunctionMode  # noqa: E402  # after importorskip

from vjaccel_torch import TorchBackend  # noqa: E402  # after importorskip

CUDA = "cuda:0"
N, DIM, QUERIES, COUNT = 5000, 48, 6, 32
DTYPES = ["float16", "bfloat16", "float32", "float64"]


class Unguarded(TorchFunctionMode):
    """Indexing and inverting by operators: torch's own first ask the device's driver, which a CPU build has not."""

    def __torch_function__(
        self, function: Callable[..., Any], kinds: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.__getitem__:
            return _view(*args)
        if function is torch.Tensor.__setitem__:
            out, key, value = args
            torch.ops.aten.copy_.default(_view(out, key), value)
            return None
        if function is torch.Tensor.__invert__:
            return torch.logical_not(*args)
        return function(*args, **(kwargs or {}))


def _view(x: Any, key: Any) -> Any:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (x.ndim - sum(k is not None and k is not Ellipsis for k in keys))
    axis = 0
    for one in keys:
        if one is None:
            x = torch.ops.aten.unsqueeze(x, axis)
        elif isinstance(one, int):
            x = torch.ops.aten.select.int(x, axis, one)
            continue
        else:
            x = torch.ops.aten.slice.Tensor(x, axis, one.start, one.stop)
        axis += 1
    return x


@pytest.fixture
def backend() -> Iterator[TorchBackend]:
    made = TorchBackend("gpu:0")
    made.tile_bytes = 1 << 20  # so that there are several tiles
    with FakeTensorMode(), Unguarded():
        yield made


def fake(*shape: int, dtype: str = "float32") -> Any:
    return torch.empty(*shape, dtype=getattr(torch, dtype), device=CUDA)


def on_device(x: Any, dtype: str, *shape: int) -> bool:
    return (str(x.device), x.dtype, tuple(x.shape)) == (CUDA, getattr(torch, dtype), shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalizing_stays_on_the_device(backend: TorchBackend, dtype: str) -> None:
    assert on_device(backend.normalize(fake(N, DIM, dtype=dtype)), dtype, N, DIM)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.MANHATTAN])
def test_all_pairs_stay_on_the_device(backend: TorchBackend, metric: Metric) -> None:
    assert on_device(backend.scores(metric, fake(QUERIES, DIM), fake(N, DIM)), "float32", QUERIES, N)


@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.SQEUCLIDEAN])
def test_the_euclidean_expansion_stays_on_the_device(backend: TorchBackend, metric: Metric) -> None:
    a, b = fake(QUERIES, DIM), fake(N, DIM)
    block, untrusted = backend._expanded(metric, a, b, backend.mean(b))
    assert on_device(block, "float32", QUERIES, N)
    assert on_device(untrusted, "bool", QUERIES, N)


@pytest.mark.parametrize("metric", list(Metric))
def test_pairs_stay_on_the_device(backend: TorchBackend, metric: Metric) -> None:
    assert on_device(backend.paired(metric, fake(N, DIM), fake(N, DIM)), "float32", N)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mask", [None, (N,), (QUERIES, N)], ids=["no mask", "one mask", "a mask a query"])
def test_scanning_and_rescoring_stay_on_the_device(
    backend: TorchBackend, metric: Metric, dtype: str, mask: tuple[int, ...] | None
) -> None:
    queries, prepared = fake(QUERIES, DIM, dtype=dtype), backend.prepare(fake(N, DIM, dtype=dtype), metric)
    allowed = None if mask is None else fake(*mask, dtype="bool")
    scores, ids = backend.scan(queries, prepared, COUNT, allowed)
    assert on_device(scores, "float64" if dtype == "float64" else "float32", QUERIES, COUNT)
    assert on_device(ids, "int64", QUERIES, COUNT)
    assert on_device(backend.rescore(queries, prepared, ids), "float64", QUERIES, COUNT)
    absolute, relative = backend.error_bound(queries, prepared)
    assert on_device(absolute, "float64", QUERIES)
    assert isinstance(relative, float)


@pytest.mark.parametrize("scan", ["tf32", "float16"])
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT, Metric.EUCLIDEAN])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_coarser_scans_stay_on_the_device(backend: TorchBackend, metric: Metric, dtype: str, scan: Coarse) -> None:
    queries, prepared = (
        fake(QUERIES, DIM, dtype=dtype),
        backend.prepare_scanned(fake(N, DIM, dtype=dtype), metric, scan),
    )
    wide = "float64" if dtype == "float64" else "float32"
    for rows in (N, N + 3):
        scores, ids = backend.scan(queries, prepared, COUNT, None)
        assert on_device(scores, wide, QUERIES, COUNT)
        assert on_device(ids, "int64", QUERIES, COUNT)
        assert on_device(backend.error_bound(queries, prepared)[0], "float64", QUERIES)
        if scan == "float16":
            assert on_device(prepared.half, "float16", rows, DIM)
            assert on_device(prepared.scales, wide, rows)
        prepared = backend.extended(prepared, fake(3, DIM, dtype=dtype))


def test_products_of_halves_are_kept_in_float32_on_the_device(backend: TorchBackend) -> None:
    a, b = fake(QUERIES, DIM, dtype="float16"), fake(DIM, N, dtype="float16")
    assert on_device(backend.half_product(a, b), "float32", QUERIES, N)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_added_on_the_device(backend: TorchBackend, metric: Metric, dtype: str) -> None:
    prepared = backend.prepare(fake(N, DIM, dtype=dtype), metric)
    for rows in (N + 3, N + 6):  # to new room, then into it
        prepared = backend.extended(prepared, fake(3, DIM, dtype=dtype))
        assert on_device(prepared.vectors, dtype, rows, DIM)
        assert on_device(prepared.weight, "float64" if dtype == "float64" else "float32", rows)
        assert on_device(prepared.ordinary, "bool", rows)
        assert on_device(prepared.largest, "float64")


def test_the_mode_raises_where_a_value_is_looked_at(backend: TorchBackend) -> None:
    with pytest.raises(DataDependentOutputException):
        bool((fake(3) > 0).any())


def test_the_mode_refuses_an_operand_of_the_host(backend: TorchBackend) -> None:
    with pytest.raises(Exception, match="same device"):
        fake(3) + torch.ones(3)
