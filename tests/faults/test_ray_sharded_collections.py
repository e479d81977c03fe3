"""A sharded collection on a Ray cluster of two nodes: its answers, and its actors and nodes that end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.ray_nodes import ROOT, Nodes

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None or find_spec("lance") is None, reason="Ray or Lance is not installed"
)

PATIENCE = 200

# Says what it finds, and waits where the nodes are to be changed.
DRIVER = """
import json, os, sys
from pathlib import Path
import numpy as np
import psutil
import vjaccel as vj
from vjaccel.collection.sharded import on_ray

on_ray.ANSWER_SECONDS = 60.0  # a busy machine takes long to start a process
folder, address = Path(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
rows, ids = rng.integers(-1, 2, (400, 4)).astype(np.float32), [f"r{i}" for i in range(400)]
queries = rng.standard_normal((3, 4)).astype(np.float32)
one = vj.Collection("one", 4)
col = vj.ShardedCollection.open(folder / "col", 4, shards=3, create=True, on="ray", address=address)

def say(**what):
    print(json.dumps(what), flush=True)

def same():
    found, expected = (str(each.search(queries, 50, include=("metadata", "vectors"))) for each in (col, one))
    return found == expected

def actors():
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, around = process.info["cmdline"] or [""], process.info["environ"] or {}
        if command[0].startswith("ray::_Actor") and around.get("FOLDER") == str(folder):
            found.append(process)
    return found

for each in (one, col):
    each.insert(ids, rows, [{"year": i} for i in range(400)])
    each.update(ids[:50], metadata=[{"lang": "en"}] * 50)
    each.delete(where="year > 350")
bad = col.insert(["r1", "new", ""], rows[:3])
one.insert(["new"], rows[1:2])
say(same=same(), bad=[(e.index, e.code) for e in bad.errors], count=col.count("lang = 'en'"), likes=len(
    col.similarity(queries[0]).ids))
say(nodes=len({process.ppid() for process in actors()}))
actors()[0].kill()
say(killed_same=same())
stopped = actors()[0]
stopped.suspend()
on_ray.ANSWER_SECONDS = 2.0
try:
    col.search(queries[0])
except vj.ShardUnavailable as exc:
    say(down=exc.shard, reason=exc.reason)
found = col.search(queries[0], 5, partial=True)
say(answered=found.answered, missing=list(found.missing))
stopped.resume()
on_ray.ANSWER_SECONDS = 60.0
say(again=same())
sys.stdin.readline()
say(without_a_node=same(), written=len(col.upsert(ids[:10], rows[:10]).ok))
one.upsert(ids[:10], rows[:10])
moved = col.reshard(4)
say(moved=moved, moved_same=same(), rows=len(col))
(folder / "col" / "shard-0000").rename(folder / "away")
say(missing_folder=list(col.search(queries[0], 5, partial=True).missing))
col.close()
"""


def test_the_answers_are_those_of_one_collection_whatever_ends(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}", "FOLDER": str(tmp_path)}
    with (
        Nodes(2, environment) as nodes,
        (tmp_path / "err").open("w") as err,
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path), nodes.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=err, text=True, cwd=ROOT, env=os.environ | environment,
        ) as driver,
    ):  # fmt: skip
        try:
            follow(driver, nodes, tmp_path / "err")
        finally:
            driver.kill()


def follow(driver: subprocess.Popen[str], nodes: Nodes, err: Path) -> None:
    def said() -> dict[str, Any]:
        assert driver.stdout is not None
        # Ray says there that a worker has died.
        line = next((line for line in driver.stdout if line.startswith("{")), None)
        assert line is not None, err.read_text()
        return dict(json.loads(line))

    assert said() == {
        "same": True, "bad": [[0, "ALREADY_EXISTS"], [2, "INVALID_VECTOR_ID"]], "count": 50, "likes": 352,
    }  # fmt: skip
    assert said() == {"nodes": 2}
    assert said() == {"killed_same": True}
    down = said()
    assert down["reason"] == "its actor has not answered for 4 s"
    assert said() == {"answered": [n for n in range(3) if n != down["down"]], "missing": [down["down"]]}
    assert said() == {"again": True}
    nodes.remove()
    assert driver.stdin is not None
    driver.stdin.write("gone\n")
    driver.stdin.flush()
    assert said() == {"without_a_node": True, "written": 10}
    after = said()
    assert (after["moved_same"], after["rows"]) == (True, 352)
    assert after["moved"] > 0
    assert said() == {"missing_folder": [0]}
    assert driver.wait(timeout=PATIENCE) == 0, err.read_text()
