"""A change of a shard that is tried again and again, as where another shard fails, begins from where the first one began."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.collection.sharded.manifest import Manifest
from vjaccel.collection.sharded.shard import Change, Opened, Shard
from vjaccel.collection.store import Put

pytest.importorskip("lance", reason="the extra store is not installed")

DIM = 4


def test_the_version_that_counts_outlives_any_number_of_changes_that_were_not_finished(tmp_path: Path) -> None:
    with vj.ShardedCollection.open(tmp_path / "col", dim=DIM, shards=1, create=True, durability="process") as col:
        col.insert(["kept"], np.ones((1, DIM), np.float32))
    version = Manifest.read(tmp_path / "col").versions[0]
    shard = Shard(0, Opened(str(tmp_path / "col"), None, 1 << 20, False))
    for number in range(80):
        vectors = np.full((1, DIM), number + 1, np.float32)
        rows = Put([f"r{number}"], vectors, None, {}, frozenset(), np.array([1], np.int64))
        shard.change(version, Change({}, rows))
    assert shard.count(version, None) == 1
    shard.close()
    with vj.ShardedCollection.open(tmp_path / "col") as col:
        col.insert(["new"], np.ones((1, DIM), np.float32))
        assert sorted(col.get(["kept", "new", "r79"]).ids) == ["kept", "new"]


def test_what_was_checked_out_stays_when_its_collection_is_closed(tmp_path: Path) -> None:
    with vj.ShardedCollection.open(tmp_path / "col", dim=DIM, shards=3, create=True, durability="process") as col:
        col.insert([f"r{i}" for i in range(9)], np.eye(9, DIM, dtype=np.float32) + 1)
        then = col.checkout(col.version)
        col.delete(["r1"])
    with then:
        assert len(then) == 9
        assert {hit.id for hit in then.search(np.ones(DIM), k=9)} == {f"r{i}" for i in range(9)}


def test_what_lacks_a_shard_cannot_be_checked_out(tmp_path: Path) -> None:
    with vj.ShardedCollection.open(tmp_path / "col", dim=DIM, shards=3, create=True, durability="process") as col:
        shutil.rmtree(tmp_path / "col" / "shard-0001")
        with pytest.raises(vj.ShardUnavailable, match=r"there is no dataset at .*shard-0001"):
            col.checkout(col.version)
