"""The name under which a machine's results are kept: `python benchmarks/machine.py`."""

from __future__ import annotations

import re

from vjaccel.benchmark.machine import Clock, described

__all__ = ["name"]


def name() -> str:
    """Its processor and cores, as a file may be called."""
    machine = described(Clock())
    brand = re.sub(r"\((r|tm)\)|processor|cpu|@.*", " ", machine.cpu.lower())
    return f"{re.sub('[^a-z0-9]+', '-', brand).strip('-')}-{machine.physical_cores}-cores"


if __name__ == "__main__":
    print(name())
