"""The name under which a machine's results are kept: `python benchmarks/machine.py`."""

from __future__ import annotations

import re

import psutil
from cpuinfo import get_cpu_info

__all__ = ["name"]


def name() -> str:
    """Its processor and cores, as a file may be called."""
    brand = re.sub(r"\((r|tm)\)|processor|cpu|@.*", " ", get_cpu_info().get("brand_raw", "unknown").lower())
    return f"{re.sub('[^a-z0-9]+', '-', brand).strip('-')}-{psutil.cpu_count(logical=False)}-cores"


if __name__ == "__main__":
    print(name())
