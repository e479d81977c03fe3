"""The approximate index of a sharded collection, which each shard has that has rows enough; and upkeep where one is down."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.collection.sharded.placing import places

lance = pytest.importorskip("lance", reason="the extra store is not installed")


def test_an_index_and_a_search_by_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).standard_normal((1200, 8)).astype(np.float32)
    with vj.ShardedCollection.open(tmp_path / "col", 8, shards=2, create=True) as col:
        col.insert([f"r{i}" for i in range(1200)], rows)
        with pytest.raises(vj.InvalidInput, match="there is no index"):
            col.search(rows[0], probes=3)
        col.create_index("ivf_hnsw_sq", partitions=4)
        assert col.search(rows[:3], 5, probes=4)[1][0].id == "r1"
        assert col.evaluate(rows[:20], probes=4).recall > 0.9
        far = np.full((1, 8), 9.0, np.float32)
        col.insert(["new"], far)
        assert [hit.id for hit in col.search(far[0], 1, probes=4)] == ["new"]


def spread(folder: Path, of_each: list[int], **options: Any) -> tuple[vj.ShardedCollection, np.ndarray]:
    """One with so many rows in each shard, all of them; and their vectors."""
    where = places([f"r{i}" for i in range(40 * sum(of_each))], len(of_each))
    ids = [f"r{i}" for n, count in enumerate(of_each) for i in np.flatnonzero(where == n)[:count].tolist()]
    rows = np.random.default_rng(2).standard_normal((len(ids), 8)).astype(np.float32)
    col = vj.ShardedCollection.open(folder / "col", 8, shards=len(of_each), create=True, **options)
    col.insert(ids, rows)
    assert [state.rows for state in col.shards()] == of_each
    return col, rows


def test_a_shard_of_few_rows_is_searched_exactly_beside_those_with_an_index(tmp_path: Path) -> None:
    col, rows = spread(tmp_path, [700, 20, 0])
    with col:
        col.create_index(partitions=4)
        exact, likely = col.search(rows[700], 720), col.search(rows[700], 720, probes=4)
        small = {name for name, place in zip(*placed(likely), strict=True) if place == 1}
        assert small == {name for name, place in zip(*placed(exact), strict=True) if place == 1}
        assert len(small) == 20
        assert col.evaluate(rows[700:], 1, probes=1).recall == 1.0
        assert col.search(rows[0], 5, probes=4, partial=True).answered == (0, 1, 2)
        col.close()
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        assert again.search(rows[700], 1, probes=1)[0].score == pytest.approx(1.0)


def placed(hits: list[Any]) -> tuple[list[str], list[int]]:
    ids = [hit.id for hit in hits]
    return ids, places(ids, 3).tolist()


def test_the_recall_of_shards_without_an_index_is_that_of_an_exact_search(tmp_path: Path) -> None:
    """All that a shard with an index may miss is missed there, and no more."""
    col, rows = spread(tmp_path, [2000, 255])
    with col:
        col.create_index("ivf_pq", partitions=8)
        found = col.evaluate(rows[:50], 10, probes=1)
        exact, likely = (col.search(rows[:50], 10, **how) for how in ({}, {"probes": 1}))
        shares = [len({hit.id for hit in a} & {hit.id for hit in b}) / 10 for a, b in zip(exact, likely, strict=True)]
        assert found.recall == pytest.approx(np.mean(shares))
        missed = {hit.id for a, b in zip(exact, likely, strict=True) for hit in a if hit.id not in {x.id for x in b}}
        assert missed
        assert places(sorted(missed), 2).tolist() == [0] * len(missed)


def test_an_index_is_refused_where_no_shard_has_rows_enough(tmp_path: Path) -> None:
    col, rows = spread(tmp_path, [255, 255])
    with col:
        with pytest.raises(vj.InvalidInput, match=r"an index needs 256 rows, .*; no shard has as many"):
            col.create_index()
        with pytest.raises(vj.InvalidInput, match="there is no index; create_index makes one"):
            col.search(rows[0], probes=3, partial=True)


def test_new_shards_have_the_index_that_the_others_have(tmp_path: Path) -> None:
    ids, rows = [f"r{i}" for i in range(2400)], np.random.default_rng(3).standard_normal((2400, 8)).astype(np.float32)
    with vj.ShardedCollection.open(tmp_path / "col", 8, shards=2, create=True, durability="process") as col:
        col.insert(ids, rows)
        col.create_index("ivf_pq", partitions=2)
        col.reshard(4)
        assert col.search(rows[:3], 1, probes=2)[2][0].id == "r2"
        assert col.evaluate(rows[:20], probes=2).recall > 0.5
    for number in range(4):
        found = lance.dataset(str(tmp_path / "col" / f"shard-{number:04d}")).stats.index_stats("vector_idx")
        assert (found["index_type"], found["indices"][0]["num_partitions"]) == ("IVF_PQ", 2)


@pytest.mark.parametrize(
    "call", [lambda col: col.compact(), lambda col: col.create_index(), lambda col: col.reshard(6)],
    ids=["compact", "create_index", "reshard"],
)  # fmt: skip
@pytest.mark.parametrize("what", ["", "data", "_versions"])
def test_upkeep_says_which_shard_is_down(tmp_path: Path, call: Any, what: str) -> None:
    col, rows = spread(tmp_path, [300, 300])
    with col:
        col.upsert([f"r{i}" for i in range(300)], rows[:300])  # a second file of each, so that compact reads both
        shutil.rmtree(tmp_path / "col" / "shard-0001" / what)
        with pytest.raises(vj.ShardUnavailable, match="shard 1 is not available"):
            call(col)
