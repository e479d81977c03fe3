"""One page for several processes, by prometheus-client's folder: sums over all, gauges of those that live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vjaccel as vj
from tests.unit.observe.scraping import page, until, value
from vjaccel.observe import Monitor

ROOT = Path(__file__).parents[3]
EMBEDS = """
import sys, threading, vjaccel as vj
from vjaccel.observe import Monitor

begun, go = threading.Event(), threading.Event()

def embed(texts):
    if sys.argv[2] == "waits":
        begun.set()
        go.wait()
    return [[1.0, 2.0]] * len(texts)

with Monitor(0 if sys.argv[1] == "serves" else None, interval=0.05) as monitor:
    print(monitor.url, flush=True)
    with vj.Embedder(embed, name="shared", workers=2) as embedder:
        running = threading.Thread(target=embedder.embed, args=(["a", "b", "c"],))
        running.start()
        if sys.argv[2] == "waits":
            begun.wait()
        print("at work", flush=True)
        sys.stdin.readline()
        go.set()
        running.join()
    print("done", flush=True)
    sys.stdin.readline()
"""
MODEL = {"model": "function:shared"}


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", EMBEDS, *arguments], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("ends", ["by itself", "killed"])
def test_a_page_sums_over_processes_and_forgets_the_gauges_of_one_that_ended(tmp_path: Path, ends: str) -> None:
    with started(tmp_path, "serves", "waits") as one, started(tmp_path, "serves not", "waits") as other:
        url = said(one)
        assert said(other) == "None"
        assert [said(one), said(other)] == ["at work", "at work"]
        until(lambda: value(page(url), "vjaccel_runs_active", **MODEL) == 2)
        until(lambda: value(page(url), "vjaccel_stage_texts", **MODEL, stage="embed") == 6)
        text = page(url)
        assert value(text, "vjaccel_workers", **MODEL) == 4
        assert value(text, "vjaccel_build_info", version=vj.__version__) == 1
        both = value(text, "vjaccel_memory_bytes")
        assert both > 1e6
        assert value(text, "vjaccel_memory_limit_bytes") > both
        if ends == "killed":
            other.send_signal(signal.SIGKILL)
            texts = 3
        else:
            go_on(other)
            assert said(other) == "done"
            go_on(other)
            texts = 6
        other.wait(30)
        until(lambda: value(page(url), "vjaccel_runs_active", **MODEL) == 1)
        assert value(page(url), "vjaccel_memory_bytes") < both
        go_on(one)
        assert said(one) == "done"
        # What both have counted stays.
        until(lambda: value(page(url), "vjaccel_texts_total", **MODEL, outcome="embedded") == texts)
        until(lambda: value(page(url), "vjaccel_runs_active", **MODEL) == 0)
        assert value(page(url), "vjaccel_runs_total", **MODEL, outcome="done") == texts / 3
        go_on(one)
        one.wait(30)
    assert list(tmp_path.glob("gauge_live*.db")) == []


MONITORS = """
import time, vjaccel as vj
from urllib.request import urlopen
from vjaccel.observe import Monitor

def counted(monitor, name):
    page = urlopen(monitor.url + "/metrics").read().decode()
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

burn(1)
with Monitor(interval=0.01) as one, Monitor(interval=0.01) as other:
    burn(1)
    before = counted(one, "vjaccel_cpu_seconds_total")
    for _ in range(2):
        vj.Embedder(lambda texts: [[1.0]] * len(texts), name="m").embed(["a"])
        one.close()
        after = counted(other, "vjaccel_cpu_seconds_total")
        assert 1.5 <= before <= after, (before, after)
        before = after
    assert counted(other, "vjaccel_texts_total{") == 2
with Monitor() as again:
    seconds = counted(again, "vjaccel_cpu_seconds_total")
assert before <= seconds < 1.5 * time.process_time(), (seconds, time.process_time())
"""


def test_several_monitors_of_one_process_count_once(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", MONITORS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    with pytest.raises(vj.InvalidInput, match="where there is no folder: make it, empty, before the first process"):
        Monitor()
