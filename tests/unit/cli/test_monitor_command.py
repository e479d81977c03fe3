"""`vjaccel monitor export`, and `vjaccel embed --metrics-port`."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.faults.server import FaultServer
from tests.unit.cli.conftest import Run
from tests.unit.observe.scraping import answered, page, until, value

ROOT = Path(__file__).parents[3]
LETTERS = ("--model", "letters:8")


def test_the_dashboard_and_the_alerts_are_written(run: Run) -> None:
    done = run("monitor", "export", "made/here")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["made/here/dashboard.json", "made/here/alerts.yml"]
    assert json.loads(Path("made/here/dashboard.json").read_text())["title"] == "vjaccel"
    assert yaml.safe_load(Path("made/here/alerts.yml").read_text())["groups"]


def test_files_that_are_there_are_replaced_only_if_that_is_asked(run: Run) -> None:
    Path("alerts.yml").write_text("mine")
    done = run("monitor", "export", ".")
    assert done.code == 1
    assert done.err == "vjaccel: there is already alerts.yml: --overwrite replaces what is there\n"
    assert Path("alerts.yml").read_text() == "mine"
    assert not Path("dashboard.json").exists()
    assert run("monitor", "export", ".", "--overwrite").code == 0
    assert Path("alerts.yml").read_text() != "mine"


def test_a_file_in_the_folders_place_is_said(run: Run) -> None:
    Path("taken").write_text("")
    done = run("monitor", "export", "taken")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("vjaccel: taken")


def test_a_port_in_use_is_said_before_the_model_is_loaded(run: Run) -> None:
    Path("in.txt").write_text("a\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("embed", "in.txt", "-o", "out.npy", "--model", "local:no-such-model", "--metrics-port", port)
    assert done.code == 1
    assert done.err == (
        f"vjaccel: metrics cannot be served at 127.0.0.1, port {port}: address already in use; name another\n"
    )


@pytest.mark.parametrize("option", ["--metrics-host=0.0.0.0", "--stalled-after=5"])
def test_how_metrics_are_served_is_not_to_be_said_where_they_are_not(run: Run, option: str) -> None:
    Path("in.txt").write_text("a\n")
    done = run("embed", "in.txt", "-o", "out.npy", *LETTERS, option)
    name = option.partition("=")[0]
    said = f"vjaccel: {name} is of what --metrics-port serves: give that too, or leave it out\n"
    assert (done.code, done.err) == (2, said)
    assert not Path("out.npy").exists()


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port_is_refused(run: Run, port: str) -> None:
    assert run("embed", "in.txt", "-o", "out.npy", *LETTERS, f"--metrics-port={port}").code == 2


def test_where_metrics_are_is_said_and_nothing_else_changes(run: Run) -> None:
    Path("in.txt").write_text("a\nb\n")
    done = run("embed", "in.txt", "-o", "out.npy", *LETTERS, "--metrics-port", "0", "--json")
    assert done.code == 0
    assert re.match(r"vjaccel: metrics are at http://127\.0\.0\.1:\d+/metrics\n", done.err)
    assert json.loads(done.out)["rows"] == 2


@pytest.mark.parametrize(
    ("script", "code", "outcome", "said"),
    [
        pytest.param([], 0, "done", "", id="done"),
        pytest.param(["ok*4", "401*99"], 1, "failed", r"\(401\)", id="failed"),
    ],
)
def test_who_scrapes_a_run_gets_its_last_values(
    tmp_path: Path, script: list[str], code: int, outcome: str, said: str
) -> None:
    (tmp_path / "in.txt").write_text("".join(f"text number {i}\n" for i in range(60)))
    with FaultServer(*script, latency=0.2) as server:
        command = ["embed", "in.txt", "-o", "out.npy", "--model", "openai:m", "--base-url", server.url]
        command += ["--workers", "1", "--batch-tokens", "200", "--metrics-port", "0"]
        with subprocess.Popen(
            [sys.executable, "-m", "vjaccel", *command], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": ""},
        ) as process:  # fmt: skip
            assert process.stderr is not None
            found = re.search(r"http://\S+(?=/metrics)", process.stderr.readline())
            assert found is not None
            pages = []
            with suppress(OSError):  # until nobody answers
                while True:
                    pages.append(page(found.group()))
                    time.sleep(0.5)
            _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    assert len(pages) > 2
    assert value(pages[-1], "vjaccel_runs_total", outcome=outcome) == 1
    assert value(pages[-1], "vjaccel_runs_active") == 0
    assert re.search(rf"(?s){said}.*the metrics' last values wait \d+ s at most to be scraped", rest)


def test_a_run_is_watched_while_it_goes_on(tmp_path: Path) -> None:
    texts = "".join(f"text number {i}\n" for i in range(200))
    (tmp_path / "in.txt").write_text(texts)
    command = [
        "embed",
        "in.txt",
        "-o",
        "out.npy",
        "--model",
        "openai:m",
        "--metrics-port",
        "0",
        "--batch-tokens",
        "120",
    ]
    with FaultServer("late=30") as server:
        command += ["--base-url", server.url, "--workers", "1", "--stalled-after", "0.3"]
        with subprocess.Popen(
            [sys.executable, "-m", "vjaccel", *command], cwd=tmp_path, text=True, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": ""},
        ) as process:  # fmt: skip
            assert process.stderr is not None
            found = re.search(r"http://\S+(?=/metrics)", process.stderr.readline())
            assert found is not None
            url = found.group()
            until(lambda: answered(url, "/readyz")[0] == 200)
            until(lambda: answered(url, "/healthz")[0] == 503)
            until(lambda: value(page(url), "vjaccel_runs_active", model="openai:m") == 1)
            process.terminate()
            process.communicate(timeout=60)
        assert process.returncode == 143
    with pytest.raises(OSError, match="refused"):
        page(url)
