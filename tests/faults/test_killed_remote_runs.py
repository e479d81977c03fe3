"""A run over a paid service that is killed: what the service answered, and the journal has, is not asked for again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.faults.server import FaultServer, vector

ROOT = Path(__file__).parents[2]
PATIENCE = 60
ROWS = 1200


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(latency=0.03) as server:
        yield server


@pytest.fixture
def work(tmp_path: Path) -> Path:
    rows = ({"id": f"n{i}", "text": f"text {i}"} for i in range(ROWS))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def started(work: Path, server: FaultServer, *more: str) -> subprocess.Popen[str]:
    command = ["embed", "in.jsonl", "-o", "out.npy", "--model", "openai:m", "--base-url", server.url]
    return subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *command, "--batch-tokens", "150", *more], cwd=work, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def acknowledged(work: Path, output: str = "out.npy") -> set[int]:
    """The rows of all batches that the journal has whole."""
    path = work / f"{output.removeprefix('lance:')}.journal" / "journal.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.exists() else []
    return {row for line in lines for row in json.loads(line).get("rows", [])}


def check_nothing_is_paid_for_twice(
    work: Path, server: FaultServer, kills: int, seed: int, output: str = "out.npy"
) -> None:
    moments = random.Random(seed)  # moments, no secrets
    settled: set[int] = set()
    paid = {}
    for _ in range(kills):
        process = started(work, server, "-o", output)
        deadline = time.monotonic() + PATIENCE
        while len(acknowledged(work, output)) <= len(settled) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=PATIENCE)
        for row in settled:
            assert server.counts.embedded[f"text {row}"] == paid[row]
        if settled and not acknowledged(work, output):
            break  # it had ended before
        settled = acknowledged(work, output)
        # A request that the kill has cut off may still be counted.
        time.sleep(0.1)
        paid = {row: server.counts.embedded[f"text {row}"] for row in settled}
    process = started(work, server, "-o", output)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    for row in settled:
        assert server.counts.embedded[f"text {row}"] == paid[row]
    np.testing.assert_allclose(vectors(work, output), [vector(f"text {i}") for i in range(ROWS)], atol=1e-6)


def vectors(work: Path, output: str) -> np.ndarray:
    if output.startswith("lance:"):
        with vj.Collection.open(work / output.removeprefix("lance:")) as found:
            return found.get([f"n{i}" for i in range(ROWS)]).vectors
    loaded: np.ndarray = np.load(work / output)
    return loaded


@pytest.mark.parametrize("output", ["out.npy", pytest.param("lance:notes", marks=pytest.mark.soak)])
def test_what_was_answered_and_kept_is_not_asked_for_again(work: Path, server: FaultServer, output: str) -> None:
    check_nothing_is_paid_for_twice(work, server, kills=2, seed=3, output=output)
    assert server.counts.requests < 2 * ROWS / 8


@pytest.mark.soak
@pytest.mark.parametrize("output", ["out.npy", "lance:notes"])
def test_nor_is_it_when_a_run_is_killed_twenty_times(work: Path, server: FaultServer, output: str) -> None:
    check_nothing_is_paid_for_twice(work, server, kills=20, seed=4, output=output)


def test_faults_of_the_service_are_in_the_manifest_and_no_row_is_lost(work: Path, server: FaultServer) -> None:
    server.script("ok", "429=0.01", "500", "reset", "truncated", "order")
    process = started(work, server)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    found = json.loads((work / "out.npy.run.json").read_text())
    assert found["counts"]["with_vector"] == ROWS
    assert found["statistics"]["retries"] >= 4
    np.testing.assert_allclose(np.load(work / "out.npy"), [vector(f"text {i}") for i in range(ROWS)], atol=1e-6)


@pytest.mark.parametrize("output", [pytest.param("out.npy", marks=pytest.mark.soak), "lance:notes"])
def test_a_first_reply_of_another_width_than_before_is_asked_for_again(
    work: Path, server: FaultServer, output: str
) -> None:
    server.script("ok*3", "401")
    process = started(work, server, "-o", output)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    server.faults.clear()
    server.script("width")
    process = started(work, server, "-o", output, "--json")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    report = json.loads(out)
    assert (report["failures"], report["statistics"]["retries"]) == ({}, 1)


def test_a_model_whose_width_is_another_than_before_ends_the_run(work: Path, server: FaultServer) -> None:
    server.script("ok*3", "401")
    started(work, server).communicate(timeout=PATIENCE)
    server.faults.clear()
    server.manner.width = 9
    process = started(work, server)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "the first vectors have width 8, and those of two batches since then 9" in err
