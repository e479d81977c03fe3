"""How much memory there is for this process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

__all__ = ["memory_limit"]

CONTAINERS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says what a container may have, by the second and the first version of its control groups."""


@cache
def memory_limit() -> int:
    """Bytes: the machine's, or the container's where that is less."""
    limit = int(psutil.virtual_memory().total)
    for path in CONTAINERS:
        try:
            said = path.read_text().strip()
        except OSError:
            continue
        if said.isdigit():
            limit = min(limit, int(said))
    return limit
