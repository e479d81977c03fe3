"""Arrays as the kernels take them: C-contiguous, writable as far as numba is concerned, of the scan's dtype, by tile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["scan_dtype", "tiles", "unlocked"]


class _Unlocked:
    """The memory of a read-only array, offered as writable. numba compiles a kernel anew for a read-only argument."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self.__array_interface__ = {**x.__array_interface__, "data": (x.__array_interface__["data"][0], False)}


def unlocked(x: np.ndarray) -> np.ndarray:
    """`x`, or the same memory without the read-only flag. Kernels never write to what they only read."""
    return x if x.flags.writeable else np.asarray(_Unlocked(x))


def scan_dtype(vectors: np.ndarray) -> np.dtype:
    """What a scan of `vectors` computes in."""
    return np.dtype(np.float64 if vectors.dtype == np.float64 else np.float32)


def tiles(vectors: np.ndarray, low: int, high: int, step: int, dtype: np.dtype) -> Iterator[tuple[int, np.ndarray]]:
    """Rows low to high, at most `step` at a time, with the first row's number; converted only where they must be."""
    as_is = vectors.flags.c_contiguous and vectors.dtype == dtype
    vectors = unlocked(vectors)
    step = max(1, step)
    scratch = None if as_is else np.empty((min(step, high - low), vectors.shape[1]), dtype)
    for start in range(low, high, step):
        part = vectors[start : min(start + step, high)]
        if scratch is not None:
            np.copyto(scratch[: len(part)], part)
            part = scratch[: len(part)]
        yield start, part
