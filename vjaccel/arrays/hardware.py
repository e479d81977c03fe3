"""What shows that a GPU is in the machine, found without any array library."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["described", "hidden", "sign_of_nvidia"]


def sign_of_nvidia() -> str | None:
    """What shows that NVIDIA's driver is here: a file's or a program's name. Takes microseconds, and may be wrong."""
    return next(_signs(), None)


def hidden() -> str | None:
    """The setting that hides all NVIDIA GPUs from this process."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"CUDA_VISIBLE_DEVICES={value}" if value is not None and value.strip() in ("", "-1") else None


def described(timeout: float = 20.0) -> tuple[bool | None, str]:
    """Whether there is an NVIDIA GPU (None: its driver is here and fails), and which, or what was seen.

    Parameters
    ----------
    timeout : float
        Seconds that ``nvidia-smi`` may take; it is known to hang with a broken driver.
    """
    sign = sign_of_nvidia()
    program = shutil.which("nvidia-smi")
    if program is None:
        return (False, "no sign of an NVIDIA GPU") if sign is None else (True, f"an NVIDIA GPU, as {sign} shows")
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        # The program of the user's own PATH, with fixed arguments.
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        said = str(getattr(exc, "stdout", None) or exc).strip().partition("\n")[0]
        return None, f"nvidia-smi is here, and fails: {said}"
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return (True, "; ".join(names)) if names else (False, "nvidia-smi is here, and lists no GPU")


def _signs() -> Iterator[str]:
    for folder, pattern in (("/proc/driver/nvidia/gpus", "*"), ("/dev", "nvidia[0-9]*")):
        yield from (str(path) for path in Path(folder).glob(pattern))
    if found := shutil.which("nvidia-smi"):
        yield found
