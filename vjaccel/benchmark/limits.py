"""What a device can do at most: copying, multiplying float32, and taking data from the host. The roof over its kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import psutil

from vjaccel.arrays.protocol import Backend

__all__ = ["measured"]

COPIED_BYTES = 1 << 27
UPLOADED_BYTES = 1 << 27
LARGEST_PRODUCT = 8192
LONG_ENOUGH = 0.03
"""Seconds that a product takes before it shows the peak and not the way there."""

REPEATS = 4


def measured(backend: Backend) -> dict[str, float | None]:
    """The best of a few: bytes copied a second (both ways counted), float32 operations, bytes sent to the device."""
    on_cpu = backend.device.startswith("cpu")
    with backend.on_device():
        return {
            "copy_bytes_per_s": _copied_by_the_cores() if on_cpu else _copied(backend),
            "matmul_flops_per_s": _multiplied(backend),
            "upload_bytes_per_s": None if on_cpu else _uploaded(backend),
        }


def _best(call: Callable[[], object], backend: Backend | None = None) -> float:
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = call()  # held, since what nobody holds is not waited for
        if backend is not None:
            backend.synchronize()
        taken.append(time.perf_counter() - start)
        del result
    return min(taken[1:])


def _copied_by_the_cores() -> float:
    """All cores at once, into memory that is there already: one core alone does not show what the memory gives."""
    source, target = np.ones(COPIED_BYTES, np.uint8), np.zeros(COPIED_BYTES, np.uint8)
    cores = psutil.cpu_count(logical=False) or 1
    cuts = np.linspace(0, COPIED_BYTES, cores + 1).astype(int)
    parts = [(target[a:b], source[a:b]) for a, b in pairwise(cuts)]
    with ThreadPoolExecutor(cores) as threads:
        return 2 * COPIED_BYTES / _best(lambda: list(threads.map(lambda part: np.copyto(*part), parts)))


def _copied(backend: Backend) -> float:
    from array_api_compat import array_namespace

    x = backend.asarray(np.ones(COPIED_BYTES // 4, np.float32))
    xp = array_namespace(x)
    return 2 * COPIED_BYTES / _best(lambda: xp.asarray(x, copy=True), backend)


def _multiplied(backend: Backend) -> float:
    # The contract has no product of its own; `matmul` is the float32 one, without TF32, of those built on `generic`.
    matmul: Callable[[Any, Any], Any] = getattr(backend, "matmul", lambda a, b: a @ b)
    size = 512
    while True:
        x = backend.asarray(np.random.default_rng(0).standard_normal((size, size), dtype=np.float32))
        seconds = _best(lambda x=x: matmul(x, x), backend)  # type: ignore[misc]  # the x of this turn
        if seconds > LONG_ENOUGH or size >= LARGEST_PRODUCT:
            return 2.0 * size**3 / seconds
        size *= 2


def _uploaded(backend: Backend) -> float:
    x = np.ones(UPLOADED_BYTES // 4, np.float32)
    return UPLOADED_BYTES / _best(lambda: backend.asarray(x), backend)
