"""Measures what docs/scale.md says: `python -m benchmarks.scale.measure [PART ...]`, by default all parts, some ten minutes.

What is measured replaces that part in this machine's file in benchmarks/results/scale; `python docs/scale.py` draws the page.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.machine import name
from benchmarks.scale.driver import measured_driver, measured_seen, ray_shards
from benchmarks.scale.runs import measured_kill, measured_runs
from benchmarks.scale.shared import measured_limit, measured_merge
from benchmarks.scale.studies import simulated_studies
from vjaccel.benchmark.machine import Clock, described

FOLDER = Path(__file__).parents[1] / "results" / "scale"
LIBRARIES = ("numpy", "pyarrow", "ray", "redis", "sentence-transformers", "simpy", "torch")

MEASURED: dict[str, Callable[[], Any]] = {
    "runs": measured_runs,
    "driver": measured_driver,
    "seen": measured_seen,
    "ray": ray_shards,
    "limit": measured_limit,
    "merge": measured_merge,
}


def _killed(found: dict[str, Any]) -> dict[str, Any]:
    return measured_kill(found["runs"])


def _simulated(found: dict[str, Any]) -> dict[str, Any]:
    speed = next(case["speed"] for case in found["runs"] if case["model"].startswith("local:"))
    return simulated_studies(speed, found["driver"]["rows_per_second"]["take_in"], found["limit"][-1]["refused"])


THEN: dict[str, Callable[[dict[str, Any]], Any]] = {"kill": _killed, "simulated": _simulated}
"""By what was measured before."""


def main(parts: list[str]) -> None:
    path = FOLDER / f"{name()}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in parts or [*MEASURED, *THEN]:
        found[part] = MEASURED[part]() if part in MEASURED else THEN[part](found)
        found["machine"] = _machine()
        FOLDER.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    machine = described(Clock())
    return {
        "cpu": machine.cpu, "cores": machine.physical_cores, "memory_gb": round(machine.memory_bytes / 1e9),
        "python": platform.python_version(), "versions": {library: version(library) for library in LIBRARIES},
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
