"""A Ray cluster of several nodes on this machine, for tests: `python -m tests.ray_nodes` is the process that has it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

__all__ = ["Nodes", "pool_sizes"]

ROOT = Path(__file__).parents[1]
STORE = 100 << 20
WORKER = "ray::MapWorker"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
# That a node is gone is found out in a second, not in ten.
QUICK = {
    "RAY_health_check_initial_delay_ms": "500", "RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3",
}  # fmt: skip


def pool_sizes(process: subprocess.Popen[str], environment: dict[str, str], patience: float) -> Iterator[int]:
    """How many workers a run has on nodes of `environment`, again and again until its `process` ends, which it does well."""
    until = time.monotonic() + patience
    while process.poll() is None:
        assert time.monotonic() < until
        found = 0
        for one in psutil.process_iter(["cmdline", "environ"]):
            command, around = one.info["cmdline"] or [""], one.info["environ"] or {}
            found += command[0].startswith(WORKER) and around.get("PYTHONPATH") == environment["PYTHONPATH"]
        yield found
        time.sleep(0.1)
    out, err = process.communicate(timeout=patience)
    assert process.returncode == 0, out + err


class Nodes:
    """A head and other nodes, each with one CPU.

    Parameters
    ----------
    count : int
    environment : dict
        Of the nodes' processes, beside this one's.

    Attributes
    ----------
    address : str
    """

    def __init__(self, count: int, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_nodes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=ROOT, start_new_session=True,
            env=os.environ | QUIET | QUICK | environment,
        )  # fmt: skip
        self.address = self._asked("head")
        for _ in range(count - 1):
            self.add()

    def add(self) -> None:
        """Add a node."""
        self._asked("add")

    def remove(self) -> None:
        """Remove the last node that was added, at once."""
        self._asked("remove")

    def kill(self) -> None:
        """End all of it where it stands."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()

    def close(self) -> None:
        """End all of it."""
        self._process.communicate(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _asked(self, what: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, f"the process of the nodes has ended when it was asked to {what}"
        return answer


def _serve() -> None:
    from ray.cluster_utils import Cluster

    # What Ray prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cluster, added = Cluster(), list[Any]()
    for line in sys.stdin:
        what = line.strip()
        if what == "remove":
            cluster.remove_node(added.pop(), allow_graceful=False)
        else:
            made = cluster.add_node(num_cpus=1, object_store_memory=STORE, include_dashboard=False)
            added += [made] if what == "add" else []
        print(cluster.address, file=answers, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _serve()
