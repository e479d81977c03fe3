"""How our kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["inlined", "kernel", "summing_kernel"]

# Without the entry for C, which nobody calls: a tenth of the time that compiling takes.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def _compiled(function: Callable[..., Any], fastmath: set[str] | bool) -> Callable[..., Any]:
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, fastmath=fastmath, **OPTIONS)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        compiled = numba.njit(fastmath=fastmath, **OPTIONS)(function)
    return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled with IEEE arithmetic, each sum in the order it is written; free of the GIL, cached on disk."""
    return _compiled(function, False)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A part of kernels, written into each: a kernel for itself would be compiled once more before it is.

    The first search of a process without a cache took 6.0 s when all parts were kernels, and takes 3.4.
    """
    compiled: Callable[..., Any] = numba.njit(inline="always", **OPTIONS)(function)
    return compiled


def summing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, but sums may be reordered and contracted, so that they vectorise. NaN and infinity keep their meaning."""
    return _compiled(function, {"reassoc", "contract", "nsz"})
