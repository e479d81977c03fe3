"""A process that is killed while it changes a sharded collection leaves all that it said was done, in all shards or in none."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import vjaccel as vj
from tests.faults.test_killed_collections import AT_LEAST, DIM, PATIENCE, ROOT, change, done_to_model, environment

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


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
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
