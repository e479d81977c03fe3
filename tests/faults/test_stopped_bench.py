"""A benchmark that is interrupted or killed: what was measured is kept, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conformance.plugins import write_metadata
from tests.unit.benchmark.dishonest import ENTRIES, MARK
from vjaccel.benchmark.results import load

ROOT = Path(__file__).parents[2]
PATIENCE = 90


def started(work: Path) -> subprocess.Popen[str]:
    """A run whose second backend hangs in the first case, once the first has been measured."""
    write_metadata(work / "plugins", "dishonest", ENTRIES)
    path = f"{work / 'plugins'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    command = ["bench", "--backends", "honest,hanging", "--ops", "normalize", "--sizes", "small", "-o", "run.json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *command], cwd=work, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, MARK: str(work / "hangs")},
    )  # fmt: skip
    until((work / "hangs").exists, process)
    return process


def until(true: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_keeps_what_was_measured(tmp_path: Path) -> None:
    process = started(tmp_path)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "vjaccel: stopped; what was measured is kept\n")
    assert "when it was interrupted" in out
    run = load(tmp_path / "run.json")
    assert run.stopped_by == "interrupt"
    assert [m.subject for m in run.measurements] == ["honest:cpu"]
    assert not any(worker.is_running() for worker in workers)


def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    process = started(tmp_path)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=PATIENCE)
    until(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers))


def test_a_run_that_is_told_to_end_leaves_no_worker(tmp_path: Path) -> None:
    process = started(tmp_path)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (143, "")
    assert not any(worker.is_running() for worker in workers)
