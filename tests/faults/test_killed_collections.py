"""A process that is killed while it changes a collection leaves all that it had said was done, and one change more at most."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

pytest.importorskip("lance", reason="the extra store is not installed")

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
DIM, IDS = 6, 60

# Says each change, as soon as the call has returned; another thread searches meanwhile.
CHANGING = """
import sys, threading
import vjaccel as vj
from tests.faults.test_killed_collections import DIM, change, done_to
col = vj.Collection.open(sys.argv[1], dim=DIM, create=True, durability=sys.argv[3])
def searching():
    while True:
        col.search([1.0] * DIM, 5)
threading.Thread(target=searching, daemon=True).start()
for turn in range(int(sys.argv[2]), 10**6):
    done_to(col, change(turn))
    print(turn, flush=True)
"""

# Puts ids in that another wants to put in too, and says whether it was the first.
RACING = """
import sys
import vjaccel as vj
col = vj.Collection.open(sys.argv[1], dim=2, create=True)
sys.stdin.readline()
for turn in range(25):
    ids = [f"{turn}-{i}" for i in range(3)]
    done = col.insert(ids, [[1.0, turn]] * 3, [{"who": sys.argv[2]}] * 3)
    assert len(done.ok) in (0, 3), done
    print(len(done.ok), flush=True)
    col.upsert([f"last of {sys.argv[2]}"], [[1.0, turn]], [{"who": sys.argv[2]}])
"""


def change(turn: int) -> tuple[str, Any]:
    """What the `turn`-th change is: a method's name and what it is given."""
    rng = np.random.default_rng(turn)
    kind = rng.choice(
        ["insert", "upsert", "update", "delete", "where", "compact"], p=[0.25, 0.3, 0.2, 0.15, 0.06, 0.04]
    )
    ids = [f"r{i}" for i in rng.choice(IDS, int(rng.integers(1, 25)), replace=False)]
    rows = rng.integers(-3, 4, (len(ids), DIM)).astype(np.float32)
    metadata = [{"turn": turn, f"key{turn % 40 // 10}": name} for name in ids]
    return str(kind), (ids, rows, metadata, f"turn < {turn - 30}")


def done_to(col: vj.Collection, what: tuple[str, Any]) -> None:
    kind, (ids, rows, metadata, where) = what
    if kind == "compact":
        col.compact()
    elif kind == "where":
        if col.count():  # before the first row there is no column
            col.delete(where=where)
    elif kind == "delete":
        col.delete(ids)
    else:
        getattr(col, kind)(ids, rows, metadata)


def done_to_model(model: dict[str, tuple[list[float], dict[str, Any]]], what: tuple[str, Any], turn: int) -> None:
    kind, (ids, rows, metadata, _) = what
    if kind == "where":
        gone = [name for name, (_, values) in model.items() if values["turn"] < turn - 30]
    else:
        gone = ids if kind == "delete" else []
    for name in gone:
        model.pop(name, None)
    for name, row, values in zip(ids, rows.tolist(), metadata, strict=True):
        if (kind == "insert" and name not in model) or kind == "upsert":
            model[name] = (row, dict(values))
        elif kind == "update" and name in model:
            model[name] = (row, {**model[name][1], **values})


def held_by(folder: Path) -> dict[str, tuple[list[float], dict[str, Any]]]:
    with vj.Collection.open(folder, dim=DIM, create=True) as col:
        rows = [
            row
            for batch in col.iter_batches()
            for row in zip(batch.ids, batch.vectors.tolist(), batch.metadata, strict=True)
        ]
        assert len(rows) == len(col) == len({name for name, _, _ in rows})
        found = {hit.id for hit in col.search([1.0] * DIM, IDS)}
        assert found == {name for name, _, _ in rows}
    return {name: (vector, values) for name, vector, values in rows}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


AT_LEAST = 3
"""Changes that are done before each kill, however slow the machine is."""


def killed(folder: Path, first: int, after: float, durability: str) -> int:
    """The change that comes after the last that was said to be done before the kill."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHANGING, str(folder), str(first), durability],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    for done in range(first, first + AT_LEAST):
        assert child.stdout.readline() == f"{done}\n"
    time.sleep(after)
    child.kill()
    said = child.communicate(timeout=PATIENCE)[0].splitlines()
    return int(said[-1]) + 1 if said else first + AT_LEAST


@pytest.mark.parametrize(
    ("kills", "durability"),
    [
        (3, "fsync"),
        pytest.param(20, "fsync", marks=pytest.mark.soak),
        pytest.param(20, "process", marks=pytest.mark.soak),
    ],
)
def test_what_was_done_is_there_after_a_kill_and_what_was_not_is_whole_or_not_at_all(
    tmp_path: Path, kills: int, durability: str
) -> None:
    moments = random.Random(kills)
    model: dict[str, Any] = {}
    turn = 0
    for _ in range(kills):
        after = killed(tmp_path / "col", turn, moments.uniform(0.1, 0.9), durability)
        for done in range(turn, after):
            done_to_model(model, change(done), done)
        there = held_by(tmp_path / "col")
        turn = after
        if there != model:
            done_to_model(model, change(turn), turn)
            turn += 1
        assert there == model
    assert turn >= AT_LEAST * kills


@pytest.mark.parametrize("scheme", ["", "file-object-store://"])
def test_two_processes_that_write_at_once_lose_nothing_and_put_nothing_in_twice(tmp_path: Path, scheme: str) -> None:
    """Once with a lock, and once as in an object store, where Lance's commits decide."""
    place = f"{scheme}{tmp_path / 'col'}"
    vj.Collection.open(place, dim=2, create=True).close()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", RACING, place, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
        )
        for name in ("one", "two")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [[int(line) for line in writer.communicate(timeout=PATIENCE)[0].split()] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [sum(both) for both in zip(*said, strict=True)] == [3] * 25
    with vj.Collection.open(place) as col:
        assert len(col) == 3 * 25 + 2
        for turn in range(25):
            who = {values["who"] for values in col.get([f"{turn}-{i}" for i in range(3)]).metadata}
            assert who == {"one" if said[0][turn] else "two"}
        np.testing.assert_array_equal(col.get(["last of one", "last of two"]).vectors, [[1.0, 24.0]] * 2)


# What may be written to a file ends, as a disk does.
FILLING = """
import resource, signal, sys
import numpy as np
import vjaccel as vj
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
col = vj.Collection.open(sys.argv[1], dim=64, create=True)
rows = np.random.default_rng(0).standard_normal((5000, 64), dtype=np.float32)
ids = [f"r{i}" for i in range(5000)]
assert len(col.insert(ids[:100], rows[:100]).ok) == 100
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    col.insert(ids[100:], rows[100:])
except vj.OutputError as exc:
    print(exc)
assert len(col) == 100 and len(col.search(rows[0], 200)) == 100
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(col.insert(ids[100:], rows[100:]).ok) == 4900
assert [hit.id for hit in col.search(rows[4000], 1)] == ["r4000"]
"""


def test_a_disk_that_is_full_is_an_error_and_the_collection_is_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLING, str(tmp_path / "col")], capture_output=True, text=True, check=False, cwd=ROOT,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"cannot write the collection at {tmp_path / 'col'}: ")
    assert "File too large" in done.stdout
