"""How our kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["kernel", "summing_kernel"]


def _compiled(function: Callable[..., Any], fastmath: set[str] | bool) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        compiled = numba.njit(**options)(function)
    return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled with IEEE arithmetic, each sum in the order it is written; free of the GIL, cached on disk."""
    return _compiled(function, False)


def summing_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but sums may be reordered and contracted, so that they vectorise. NaN and infinity keep their meaning."""
    return _compiled(function, {"reassoc", "contract", "nsz"})
