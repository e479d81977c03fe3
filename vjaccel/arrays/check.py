"""Checking what a user gave, once, before any backend sees it."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from vjaccel.arrays.dispatch import at_work, home_of, host_array, move
from vjaccel.arrays.protocol import Array, Backend, Metric
from vjaccel.arrays.registry import get_backend
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["count", "floating", "mask", "metric", "positions", "same_dim", "shaped", "threshold", "vectors"]

LARGEST_COUNT = 2**31 - 1
FLOAT32 = np.dtype("float32")
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
EXACT_IN_FLOAT32 = frozenset({"bool", "int8", "uint8", "int16", "uint16"})
WIDE_INTEGERS = frozenset({"int32", "uint32", "int64", "uint64"})


def metric(value: str | Metric, allowed: Iterable[Metric], instead: dict[Metric, str]) -> Metric:
    """`value` as a Metric that the operation has.

    Raises
    ------
    InvalidInput
        It is unknown (the near one is named), or another operation's (the right call is named).
    """
    allowed = list(allowed)
    shown = ", ".join(repr(m.value) for m in allowed)
    try:
        found = Metric(value)
    except ValueError:
        near = difflib.get_close_matches(str(value), [m.value for m in Metric], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidInput(f"metric {value!r} is unknown{hint}; known here: {shown}") from None
    if found not in allowed:
        raise InvalidInput(f"metric {found.value!r} is not one of {shown}; call {instead[found]}")
    return found


def count(k: object, name: str = "k") -> int:
    """`k` as an int of at least 1, that an int32 holds.

    Raises
    ------
    InvalidInput, InvalidType
    """
    try:
        number = operator.index(k)  # type: ignore[arg-type]  # that is what is being found out
    except TypeError:
        raise InvalidType(f"{name} must be a whole number, not {type(k).__name__}") from None
    if isinstance(k, bool) or number < 1:
        raise InvalidInput(f"{name} must be at least 1, not {k!r}")
    if number > LARGEST_COUNT:
        raise InvalidInput(f"{name} must be at most {LARGEST_COUNT}, the largest int32, not {k!r}")
    return number


def threshold(value: object, metric: Metric) -> float:
    """`value` as the least similarity, or the largest distance, that is asked for.

    Raises
    ------
    InvalidInput
        It is NaN, or a distance below zero, which nothing can reach.
    InvalidType
        It is no number.
    """
    try:
        number = float(value) if not isinstance(value, str | bytes) else None  # type: ignore[arg-type]  # found out here
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise InvalidType(f"threshold must be a number, not {type(value).__name__}")
    if math.isnan(number):
        raise InvalidInput("threshold is NaN, which nothing reaches; it needs a number")
    if number < 0 and not metric.is_similarity:
        raise InvalidInput(f"threshold is {number:g}, and no {metric.value} distance is below 0; it must be at least 0")
    return number


def vectors(name: str, x: object, backend: Backend, *, single: bool = True) -> tuple[Array, bool]:
    """`x` as a two-dimensional floating array on `backend`, and whether it was one vector.

    Raises
    ------
    InvalidInput
        It has not one or two dimensions, or no width.
    InvalidType
        Its dtype is complex, text, an object.
    """
    array = shaped(name, x, single=single)
    if type(array) is np.ndarray and array.dtype is FLOAT32:
        # The usual case: asking a dtype for its name takes longer than all else here.
        with backend.on_device():
            array = backend.asarray(array)
    else:
        with at_work(backend):
            if isinstance(array, np.ndarray):
                array = floating(name, array, backend)
            array = floating(name, move(array, backend), backend)
    return (array[None, :], True) if array.ndim == 1 else (array, False)


def shaped(name: str, x: object, *, single: bool) -> Array:
    """`x` as an array where it is, of one or two dimensions; without `single`, of two.

    Raises
    ------
    InvalidInput, InvalidType
    """
    array: Any = x if type(x) is np.ndarray or home_of(x) is not None else host_array(name, x)
    if array.ndim not in ((1, 2) if single else (2,)):
        needed = "(n, dim) or (dim,)" if single else "(n, dim)"
        raise InvalidInput(f"{name} has shape {tuple(array.shape)}; it needs {needed}")
    if array.shape[-1] == 0:
        raise InvalidInput(f"{name} has shape {tuple(array.shape)}: vectors of no width; an empty batch is (0, dim)")
    return array


def positions(x: object, rows: int) -> np.ndarray:
    """`x` as numbers of rows on the host, int64, shape (n,), each once.

    Raises
    ------
    InvalidInput, InvalidType
    """
    home = home_of(x)
    array: Any = host_array("positions", x) if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(x)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InvalidType(f"positions must be whole numbers, the rows' own; their dtype is {_dtype_name(array)}")
    if array.ndim > 1:
        raise InvalidInput(f"positions has shape {tuple(array.shape)}; it needs (n,)")
    found = np.atleast_1d(array)
    wrong = found[(found < 0) | (found >= rows)]
    if len(wrong):
        raise InvalidInput(f"positions has {wrong[0]}; the corpus has {rows} rows, from 0 on")
    found = found.astype(np.int64)
    if len(np.unique(found)) < len(found):
        raise InvalidInput("positions names a row twice; each may be named once")
    return found


def same_dim(left: str, a: Array, right: str, b: Array) -> None:
    """Refuse vectors of two widths.

    Raises
    ------
    InvalidInput
    """
    if a.shape[1] != b.shape[1]:
        raise InvalidInput(
            f"{left} has vectors of width {a.shape[1]} and {right} of width {b.shape[1]}; they must be the same"
        )


def mask(x: object, n_queries: int, rows: int, backend: Backend) -> Array:
    """`x` as a boolean array on `backend`, shape (rows,) or (n_queries, rows).

    Raises
    ------
    InvalidInput, InvalidType
    """
    array: Any = x if home_of(x) is not None else host_array("mask", x)
    if _dtype_name(array) != "bool":
        raise InvalidType(f"mask must be boolean, True where a row may be returned; its dtype is {_dtype_name(array)}")
    if tuple(array.shape) not in ((rows,), (n_queries, rows)):
        raise InvalidInput(f"mask has shape {tuple(array.shape)}; it needs ({rows},) or ({n_queries}, {rows})")
    return move(array, backend)


def floating(name: str, array: Array, backend: Backend) -> Array:
    """`array`, on the host or on `backend`, in a floating dtype that the backend takes.

    Raises
    ------
    InvalidType
    """
    dtype = _dtype_name(array)
    if isinstance(array, np.ndarray):
        # NumPy knows bfloat16 only as another package's extension.
        lacking = dtype == "bfloat16" or not getattr(backend.capabilities, dtype, True)
        if lacking or not array.dtype.isnative:  # no other library takes foreign byte order
            array = array.astype("float32" if lacking else dtype)
            dtype = array.dtype.name
    if dtype in FLOATS:
        return array
    if dtype in EXACT_IN_FLOAT32:
        wanted = "float32"
    elif dtype in WIDE_INTEGERS:
        wanted = "float64" if backend.capabilities.float64 else "float32"
    else:
        raise InvalidType(f"{name} has dtype {dtype}; it needs real numbers: {', '.join(sorted(FLOATS))}, int or bool")
    xp = array_namespace(array)
    return xp.astype(array, getattr(xp, wanted))


def _dtype_name(array: Any) -> str:
    # torch says "torch.float32"; every other library says "float32".
    return getattr(array.dtype, "name", None) or str(array.dtype).rpartition(".")[2]
