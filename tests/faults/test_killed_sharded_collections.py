"""A process that is killed while it changes a sharded collection leaves all that it said was done, in all shards or in none."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.faults.test_killed_collections import AT_LEAST, DIM, PATIENCE, ROOT, change, done_to_model, environment
from vjaccel.collection.sharded.placing import places

pytest.importorskip("lance", reason="the extra store is not installed")

# Says each change, as soon as the call has returned.
CHANGING = """
import sys
import vjaccel as vj
from tests.faults.test_killed_collections import DIM, change, done_to
col = vj.ShardedCollection.open(sys.argv[1], dim=DIM, shards=3, create=True)
for turn in range(int(sys.argv[2]), 10**6):
    done_to(col, change(turn))
    print(turn, flush=True)
"""


def killed(folder: Path, first: int, after: float) -> int:
    """The change that comes after the last that was said to be done before the kill."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHANGING, str(folder), str(first)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
    )  # fmt: skip
    assert child.stdout is not None
    for done in range(first, first + AT_LEAST):
        assert child.stdout.readline() == f"{done}\n"
    time.sleep(after)
    child.kill()
    said = child.communicate(timeout=PATIENCE)[0].splitlines()
    return int(said[-1]) + 1 if said else first + AT_LEAST


def held_by(folder: Path) -> dict[str, tuple[list[float], dict[str, Any]]]:
    with vj.ShardedCollection.open(folder) as col:
        rows = {
            name: (vector, values)
            for batch in col.iter_batches()
            for name, vector, values in zip(batch.ids, batch.vectors.tolist(), batch.metadata, strict=True)
        }
        assert sorted(hit.id for hit in col.search([1.0] * DIM, 1000)) == sorted(rows)
        assert len(rows) == len(col)
        return rows


@pytest.mark.parametrize(
    "kills", [2, pytest.param(3, marks=pytest.mark.soak), pytest.param(20, marks=pytest.mark.soak)]
)
def test_what_was_done_is_there_after_a_kill_and_what_was_not_is_in_all_shards_or_in_none(
    tmp_path: Path, kills: int
) -> None:
    moments = random.Random(kills)
    model: dict[str, Any] = {}
    turn = 0
    for _ in range(kills):
        after = killed(tmp_path / "col", turn, moments.uniform(0.1, 0.9))
        for done in range(turn, after):
            done_to_model(model, change(done), done)
        there = held_by(tmp_path / "col")
        turn = after
        if there != model:
            done_to_model(model, change(turn), turn)
            turn += 1
        assert there == model
    assert turn >= AT_LEAST * kills


# Says each change of the move before the next.
RESHARDING = """
import sys
import vjaccel as vj
from vjaccel.collection.sharded import resharding
resharding.BATCH, move = 10, resharding._move
def told(writer, waiting):
    moved = move(writer, waiting)
    print(moved, flush=True)
    return moved
resharding._move = told
with vj.ShardedCollection.open(sys.argv[1]) as col:
    print(col.reshard(5), flush=True)
"""

MOVED, KILLS = 4, 3


def test_a_move_to_more_shards_that_is_killed_goes_on_and_no_row_is_lost_or_there_twice(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(-1, 2, (300, DIM)).astype(np.float32)
    ids = [f"r{i}" for i in range(len(rows))]
    with vj.ShardedCollection.open(tmp_path / "col", DIM, shards=2, create=True) as col:
        col.insert(ids, rows, [{"place": i} for i in range(len(rows))])
        there, found = held_by(tmp_path / "col"), col.search(rows[0], len(rows))
    for _ in range(KILLS):
        child = resharding(tmp_path / "col")
        assert child.stdout is not None
        for _ in range(MOVED):
            assert child.stdout.readline() == "10\n"
        child.kill()
        child.communicate(timeout=PATIENCE)
        assert held_by(tmp_path / "col") == there
        with vj.ShardedCollection.open(tmp_path / "col") as col:
            assert col.is_resharding
            assert col.search(rows[0], len(rows)) == found
    last = resharding(tmp_path / "col")
    said = [int(line) for line in last.communicate(timeout=PATIENCE)[0].split()]
    assert last.returncode == 0
    assert said[-1] == sum(said[:-1]) <= int((places(ids, 2) != places(ids, 5)).sum()) - 10 * MOVED * KILLS
    with vj.ShardedCollection.open(tmp_path / "col") as col:
        assert not col.is_resharding
        assert col.search(rows[0], len(rows)) == found
        assert [state.rows for state in col.shards()] == np.bincount(places(ids, 5), minlength=5).tolist()


def resharding(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RESHARDING, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
    )
