"""`auto`: which backend computes on host arrays when nobody says. NumPy's, or a GPU from a size of work on.

The decision is a function of numbers (`against_a_gpu`); finding a GPU is apart from it, and done only if one would be taken.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from vjaccel.arrays import hardware, registry
from vjaccel.arrays.protocol import Backend

__all__ = ["OPERATIONS", "Work", "against_a_gpu", "first_gpu", "for_host", "work_of"]

logger = logging.getLogger("vjaccel.arrays")

GPU_FROM_FLOP = 1e13
"""Work below this stays on the CPU. Not a measurement: none has been made on a GPU yet. Two cores take a minute for it
(168 GFLOP/s), a big server ten seconds, so that what a GPU costs before it computes (importing its library and making a
context: some seconds) is small beside what it may save."""

GPU_FLOP_PER_BYTE = 200
"""Operations for each byte that goes there and back, below which the CPU is as soon done. A bus moves 5 GB/s from ordinary
memory, a big CPU multiplies at 1 TFLOP/s: 200. So few queries never go, however large the corpus."""

GPU_MOST_BYTES = 4 << 30
"""More stays on the CPU: a device's memory is not known without asking it, and few have less than twice this."""

ALL_PAIRS = ("distance", "similarity")
BEST_PAIRS = ("pairs", "topk", "within")
ROWS = ("normalize", "paired_distance", "paired_similarity")
OPERATIONS = tuple(sorted((*ALL_PAIRS, *BEST_PAIRS, *ROWS)))


@dataclass(frozen=True, slots=True)
class Work:
    """What an operation on host arrays takes.

    Attributes
    ----------
    flop : float
        Additions and multiplications.
    moved : float
        Bytes that would go to a device and come back.
    wide : bool
        Whether an input is float64.
    """

    flop: float
    moved: float
    wide: bool = False


def work_of(operation: str, *operands: object) -> Work | None:
    """What `operation` takes on NumPy arrays; None where they are something else, whose size nobody asks for."""
    if not operands or not all(isinstance(x, np.ndarray) and x.ndim in (1, 2) for x in operands):
        return None
    arrays: list[np.ndarray] = operands  # type: ignore[assignment]  # as has just been seen
    given = float(sum(x.nbytes for x in arrays))
    wide = any(x.dtype in (np.float64, np.int64) for x in arrays)
    if operation == "pairs":
        rows, dim = arrays[0].shape if arrays[0].ndim == 2 else (1, arrays[0].size)
        return Work(float(rows) * rows * dim, given, wide)
    if operation in ROWS or len(arrays) == 1:
        return Work(3.0 * arrays[0].size, given + arrays[0].nbytes, wide)
    pairs = float(arrays[0].size) * float(arrays[1].size) / max(arrays[1].shape[-1], 1) / max(arrays[0].shape[-1], 1)
    results = 4.0 * pairs if operation in ALL_PAIRS else 0.0
    return Work(2.0 * pairs * arrays[1].shape[-1], given + results, wide)


def against_a_gpu(work: Work | None) -> str | None:
    """Why that work stays on the CPU; None where a GPU is to be taken, if there is one."""
    if work is None:
        return "the size of the work is not known"
    if work.flop < GPU_FROM_FLOP:
        return f"{work.flop:.1g} operations are too few: a GPU is taken from {GPU_FROM_FLOP:.0g} on"
    if work.flop < GPU_FLOP_PER_BYTE * work.moved:
        each = work.flop / work.moved
        return f"{each:.0f} operations for each byte moved are too few: a GPU is taken from {GPU_FLOP_PER_BYTE} on"
    if work.moved > GPU_MOST_BYTES:
        return f"{work.moved / 1e9:.0f} GB may not fit: a GPU is taken up to {GPU_MOST_BYTES / 1e9:.0f} GB"
    if work.wide:
        return "float64 is slow on most GPUs, and not every library keeps it there"
    return None


def for_host(operation: str | None, operands: dict[str, object]) -> Backend:
    """The backend for host arrays: what `set_backend` or the environment names, else what `auto` decides."""
    configured = registry.configured()
    return configured[0] if configured else decided(operation, operands)


def decided(operation: str | None, operands: dict[str, object]) -> Backend:
    """The backend that `auto` is for an operation on host arrays."""
    if (
        operation is not None
        and _may_be_large(operands)
        and against_a_gpu(work_of(operation, *operands.values())) is None
    ):
        spec = first_gpu()
        logger.debug("auto: %s is enough work for a GPU: %s", operation, spec or "there is none")
        if spec is not None:
            return registry.get_backend(spec)
    return registry.get_backend(registry.DEFAULT)


def _may_be_large(operands: dict[str, object]) -> bool:
    """Whether the work could be enough for a GPU: a first look, for small calls, that is never wrong about large ones."""
    most = 4.0
    for x in operands.values():
        most *= max(x.size, 1) if isinstance(x, np.ndarray) else 1
    return most >= GPU_FROM_FLOP or len(operands) < 2


def first_gpu() -> str | None:
    """The first backend with a GPU, as a spec. Imports the libraries only where there is a sign of one."""
    if hardware.sign_of_nvidia() is None or hardware.hidden() is not None:
        return None
    gpus = (f"{row.name}:{device}" for row in registry.backends() for device in row.devices or () if "gpu" in device)
    return next(gpus, None)
