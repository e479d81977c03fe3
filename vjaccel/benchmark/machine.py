"""The machine that a run is on: what it is, what is installed, and whether its clock keeps its speed."""

from __future__ import annotations

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import psutil

from vjaccel.arrays import hardware
from vjaccel.benchmark.results import Machine

__all__ = ["Clock", "described", "gpu_names", "versions"]

LIBRARIES = (
    "numpy", "numba", "torch", "jax", "jaxlib", "cupy-cuda12x", "cupy-cuda13x", "faiss-cpu", "faiss-gpu", "scikit-learn",
    "usearch", "sentence-transformers", "transformers", "threadpoolctl", "array-api-compat",
)  # fmt: skip

PIECE = 60_000
"""Additions of the clock's fixed piece of work: some milliseconds."""


class Clock:
    """How long one fixed piece of work takes, again and again through a run: on a steady machine, always as long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def tick(self) -> None:
        """Take the time once more."""
        start = time.perf_counter()
        total = 0
        for i in range(PIECE):
            total += i
        self.seconds.append(time.perf_counter() - start)

    @property
    def spread(self) -> float:
        """(p90 - p10) / median."""
        if not self.seconds:
            return 0.0
        low, middle, high = np.percentile(self.seconds, (10, 50, 90))
        return float((high - low) / middle)


def described(clock: Clock) -> Machine:
    """This machine, with what the clock has shown."""
    return Machine(
        cpu=_cpu(),
        cores=psutil.cpu_count() or 1,
        physical_cores=psutil.cpu_count(logical=False),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
        python=platform.python_version(),
        clock=tuple(clock.seconds),
        clock_spread=clock.spread,
    )


def versions() -> dict[str, str]:
    """Of the libraries that are measured, or that those lean on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def gpu_names() -> list[str]:
    """What the driver calls its GPUs, by number; none where there is no driver."""
    there, names = hardware.described()
    return names.split("; ") if there and hardware.hidden() is None else []


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
