"""What is measured: operations x shapes x dtypes, by size, with the work and the traffic that each needs at the least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import numpy as np

from vjaccel.benchmark.results import Case
from vjaccel.errors import InvalidInput

__all__ = ["OPERATIONS", "SIZES", "Size", "cases", "floating", "recall_case", "threshold"]

Size: TypeAlias = Literal["small", "default", "large"]

OPERATIONS = ("topk", "topk-once", "within", "pairs", "normalize", "similarity", "distance", "quantized")
"""`topk` searches a prepared corpus; `topk-once` prepares it in the call; `quantized` is recall against speed."""

SIZES: tuple[Size, ...] = ("small", "default", "large")

WIDTHS: dict[Size, int] = {"small": 128, "default": 384, "large": 768}
SEARCHED: dict[Size, tuple[tuple[int, int], ...]] = {
    "small": ((1, 5_000), (100, 5_000), (100, 20_000)),
    "default": ((1, 20_000), (1, 100_000), (100, 2_000), (100, 20_000), (100, 100_000), (1_000, 20_000)),
    "large": ((1, 1_000_000), (100, 10_000), (100, 100_000), (100, 1_000_000), (1_000, 1_000_000), (10_000, 100_000)),
}
"""Queries and rows of `topk`: a series in each, so that the size shows from which a device pays."""

MIDDLE: dict[Size, int] = {"small": 20_000, "default": 20_000, "large": 100_000}
"""Rows where one shape is enough."""

NORMALIZED: dict[Size, tuple[int, ...]] = {
    "small": (500, 20_000),
    "default": (2_000, 20_000, 100_000),
    "large": (10_000, 100_000, 1_000_000),
}
ALL_PAIRS: dict[Size, tuple[tuple[int, int], ...]] = {
    "small": ((1, 5_000), (200, 5_000)),
    "default": ((1, 5_000), (200, 5_000), (1_000, 20_000)),
    "large": ((200, 20_000), (1_000, 100_000)),
}
PAIRED: dict[Size, int] = {"small": 2_000, "default": 5_000, "large": 20_000}
MANHATTAN: dict[Size, tuple[int, int]] = {"small": (50, 2_000), "default": (200, 5_000), "large": (1_000, 20_000)}
RECALLED: dict[Size, tuple[int, int]] = {"small": (50, 10_000), "default": (100, 20_000), "large": (1_000, 500_000)}
K = 10


def cases(sizes: Size, operations: Iterable[str] | None = None) -> list[Case]:
    """The cases of a size, in the order of their first round.

    Raises
    ------
    InvalidInput
        An operation that is none of `OPERATIONS`.
    """
    wanted = OPERATIONS if operations is None else tuple(operations)
    unknown = [name for name in wanted if name not in OPERATIONS]
    if unknown:
        raise InvalidInput(f"no operation {unknown[0]!r} is measured; it is one of {', '.join(OPERATIONS)}")
    return [case for case in _all(sizes) if case.operation in wanted]


def _all(sizes: Size) -> Iterator[Case]:
    dim, middle = WIDTHS[sizes], MIDDLE[sizes]
    for queries, rows in SEARCHED[sizes]:
        yield _case("topk", "cosine", "float32", queries=queries, rows=rows, dim=dim, k=K)
    for dtype in ("float16", "float64"):
        yield _case("topk", "cosine", dtype, queries=100, rows=middle, dim=dim, k=K)
    yield _case("topk", "euclidean", "float32", queries=100, rows=middle, dim=dim, k=K)
    yield _case("topk-once", "cosine", "float32", queries=10, rows=middle, dim=dim, k=K)
    yield _case("within", "cosine", "float32", queries=10, rows=middle, dim=dim)
    yield _case("pairs", "cosine", "float32", rows=PAIRED[sizes], dim=dim, k=100)
    for rows in NORMALIZED[sizes]:
        yield _case("normalize", None, "float32", rows=rows, dim=dim)
    for dtype in ("float16", "float64"):
        yield _case("normalize", None, dtype, rows=middle, dim=dim)
    for queries, rows in ALL_PAIRS[sizes]:
        yield _case("similarity", "cosine", "float32", queries=queries, rows=rows, dim=dim)
    for queries, rows in ALL_PAIRS[sizes][1:]:
        yield _case("distance", "euclidean", "float32", queries=queries, rows=rows, dim=dim)
    yield _case("distance", "manhattan", "float32", queries=MANHATTAN[sizes][0], rows=MANHATTAN[sizes][1], dim=dim)


def recall_case(sizes: Size) -> Case:
    """The search that codes are measured by, against its exact answer."""
    queries, rows = RECALLED[sizes]
    return _case("quantized", "cosine", "float32", queries=queries, rows=rows, dim=WIDTHS[sizes], k=K)


def threshold(case: Case) -> float:
    """What `within` asks for: about one row in a thousand, of vectors in all directions."""
    return 3.0 / math.sqrt(case.shape["dim"])


def floating(dtype: str) -> np.dtype[np.floating]:
    """NumPy's dtype of a case's."""
    return {name: np.dtype(name) for name in ("float16", "float32", "float64")}[dtype]


def _case(operation: str, metric: str | None, dtype: str, **shape: int) -> Case:
    sizes = "x".join(str(shape[name]) for name in ("queries", "rows", "dim") if name in shape)
    name = "-".join(filter(None, (operation, metric, dtype, sizes)))
    flops, numbers = _work(operation, metric, shape)
    return Case(name, operation, metric, dtype, shape, flops, numbers * floating(dtype).itemsize)


def _work(operation: str, metric: str | None, shape: dict[str, int]) -> tuple[float, float]:
    """Operations, and numbers read and written, that no way of computing it goes without."""
    rows, dim = float(shape["rows"]), float(shape["dim"])
    if operation == "normalize":
        return 3.0 * rows * dim, 2.0 * rows * dim
    if operation == "pairs":
        return rows * rows * dim, rows * dim
    pairs = shape["queries"] * rows
    each = 3.0 if metric == "manhattan" else 2.0
    results = pairs if operation in ("similarity", "distance") else 2.0 * shape["queries"] * shape.get("k", K)
    return each * pairs * dim, (shape["queries"] + rows) * dim + results
