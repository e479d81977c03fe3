"""An import into a collection that is killed: begun again, it takes what is missing and no row twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.cli.letters import install, letters

ROOT = Path(__file__).parents[2]
ROWS, WIDTH, PATIENCE = 120_000, 16, 120
IMPORT = ("collection", "import", "notes", "in.npy", "--json")


@pytest.fixture
def vectors(tmp_path: Path) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    np.save(tmp_path / "in.npy", made)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"id": "n{i}", "n": {i}}}\n' for i in range(ROWS)))
    return made


def started(work: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *IMPORT], cwd=work, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def until_some_are_in(work: Path, process: subprocess.Popen[str], more: int) -> int:
    """Wait until so many versions more than there were are there; how many versions there are."""
    versions, deadline = work / "notes" / "_versions", time.monotonic() + PATIENCE
    before = len(list(versions.glob("*"))) if versions.exists() else 0
    while not versions.exists() or len(list(versions.glob("*"))) < before + more:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return before + more


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_what_is_in_is_not_put_in_again(tmp_path: Path, vectors: np.ndarray, number: signal.Signals) -> None:
    process = started(tmp_path)
    until_some_are_in(tmp_path, process, more=4)
    time.sleep(random.Random(3).uniform(0, 0.1))
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == "vjaccel: stopped; what is done is kept, and the same command goes on\n"
    with vj.Collection.open(tmp_path / "notes") as found:
        before = len(found)
    assert 0 < before < ROWS
    again = started(tmp_path)
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    report = json.loads(out)
    assert (report["there"], report["added"], report["rows"]) == (before, ROWS - before, ROWS)
    with vj.Collection.open(tmp_path / "notes") as found:
        some = [0, 8191, 8192, ROWS // 2, ROWS - 1]
        there = found.get([f"n{i}" for i in some])
    np.testing.assert_array_equal(there.vectors, vectors[some])
    assert [about["n"] for about in there.metadata] == some


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_a_run_into_a_collection_that_is_stopped_embeds_nothing_twice_that_is_in(
    tmp_path: Path, number: signal.Signals
) -> None:
    install(tmp_path / "plugins")
    rows = 6000
    lines = (json.dumps({"id": f"n{i}", "text": f"SLOW {i}", "n": i}) + "\n" for i in range(rows))
    (tmp_path / "in.jsonl").write_text("".join(lines))
    asked = tmp_path / "asked"

    def embedding(**more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "vjaccel", "embed", "in.jsonl", "-o", "lance:notes", "--model", "letters:16", "--json"],
            cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}", "LETTERS_LOG": str(asked)} | more,
        )  # fmt: skip

    process = embedding()
    deadline = time.monotonic() + PATIENCE
    while not vj.Collection.exists(tmp_path / "notes") or not len(vj.Collection.open(tmp_path / "notes")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert process.returncode == 130, err
        assert err == "vjaccel: stopped; what is done is in notes, and the same command goes on\n"
    before = asked.read_text().splitlines()
    with vj.Collection.open(tmp_path / "notes") as found:
        there = {name for batch in found.iter_batches() for name in batch.ids}
    assert 0 < len(there) < rows
    if number == signal.SIGINT:
        assert {f"SLOW {name[1:]}" for name in there} == set(before), "what was embedded is in"
    asked.unlink()
    out, err = embedding(LETTERS_QUICK="1").communicate(timeout=PATIENCE)
    report = json.loads(out)
    new = report["stored"] + report["resumed"]  # the latter with the vectors that the stopped run had got
    assert (report["there"], new, report["failed"]) == (len(there), rows - len(there), 0), err
    assert not {f"SLOW {name[1:]}" for name in there} & set(asked.read_text().splitlines())
    with vj.Collection.open(tmp_path / "notes") as found:
        assert len(found) == rows
        np.testing.assert_array_equal(found.get(["n5999"]).vectors, letters(16, ["WOLS 5999"]))
