"""How much memory a call took."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["SPARE_BYTES", "peak_bytes"]

SPARE_BYTES = 256 << 20
"""What an operation may take beside its input and its output."""


def peak_bytes(call: Callable[[], object]) -> int | None:
    """By how much the process had grown at most while `call` ran; None where this system does not say."""
    if sys.platform != "linux":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now: proc(5)
    except OSError:
        return None
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
