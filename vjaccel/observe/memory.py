"""How much memory there is for this process, and how much of it is left."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["memory_available", "memory_limit"]

CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Where Linux says what a container may have, has, and gives back of that, by both versions of its control groups."""


def memory_limit() -> int:
    """Bytes: the machine's, or the container's where that is less."""
    total = int(psutil.virtual_memory().total)
    own = _container()
    return total if own is None else min(total, own[0])


def memory_available() -> int:
    """Bytes that are left of the machine's, or of the container's where that is less."""
    free = int(psutil.virtual_memory().available)
    own = _container()
    return free if own is None else max(0, min(free, own[0] - own[1]))


def _container() -> tuple[int, int] | None:
    """The limit of this process' container, and what is in use of it; None where there is no limit."""
    for folder, limit, usage, reclaimed in CONTAINERS:
        try:
            most, used = ((Path(folder) / name).read_text().strip() for name in (limit, usage))
            stated = (Path(folder) / "memory.stat").read_text().split()
        except OSError:
            continue
        if not most.isdigit():
            continue  # "max"
        cached = dict(zip(stated[::2], stated[1::2], strict=False)).get(reclaimed, "0")
        return int(most), max(0, int(used) - int(cached))
    return None
