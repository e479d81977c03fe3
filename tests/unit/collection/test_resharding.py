"""Shards that are added: what moves, that it goes on where it was stopped, and that everything is answered meanwhile."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.collection.sharded import resharding
from vjaccel.collection.sharded.placing import places

pytest.importorskip("lance", reason="the extra store is not installed")

DIM, ROWS = 4, 600
IDS = [f"r{i}" for i in range(ROWS)]
VECTORS = np.random.default_rng(0).integers(-1, 2, (ROWS, DIM)).astype(np.float32)
ABOUT = [{"year": 1900 + i} for i in range(ROWS)]
QUERIES = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)


@pytest.fixture
def col(tmp_path: Path) -> Iterator[vj.ShardedCollection]:
    with vj.ShardedCollection.open(tmp_path / "col", DIM, shards=2, create=True, durability="process") as made:
        made.insert(IDS, VECTORS, ABOUT)
        yield made


def test_what_must_move_moves_and_nothing_else(col: vj.ShardedCollection, tmp_path: Path) -> None:
    found = col.search(QUERIES, ROWS)
    before, after = places(IDS, 2), places(IDS, 5)
    assert col.reshard(5) == int((before != after).sum())
    assert [state.rows for state in col.shards()] == np.bincount(after, minlength=5).tolist()
    assert col.search(QUERIES, ROWS) == found
    assert col.get(IDS).metadata == tuple(ABOUT)
    assert col.reshard(5) == 0
    col.close()
    with vj.ShardedCollection.open(tmp_path / "col", shards=5) as again:
        assert again.search(QUERIES, ROWS) == found
        assert not again.is_resharding


def test_shards_cannot_become_fewer(col: vj.ShardedCollection) -> None:
    with pytest.raises(vj.InvalidInput, match="there are 2 shards, and they can only become more, not 1"):
        col.reshard(1)
    with pytest.raises(vj.InvalidInput, match="shards must be at least 1"):
        col.reshard(0)


def test_it_goes_on_where_it_was_stopped_and_to_no_other_number(
    col: vj.ShardedCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resharding, "BATCH", 50)
    found, moving = col.search(QUERIES, ROWS), int((places(IDS, 4) != places(IDS, 2)).sum())
    # A shard goes away in the midst of it, as a disk may.
    moved: list[int] = []
    move = resharding._move

    def moving_until_it_goes(writer: object, waiting: dict[str, int]) -> int:
        if len(moved) == 3:
            (tmp_path / "col" / "shard-0003").rename(tmp_path / "away")
        moved.append(move(writer, waiting))
        return moved[-1]

    with monkeypatch.context() as patched:
        patched.setattr(resharding, "_move", moving_until_it_goes)
        with pytest.raises(vj.ShardUnavailable, match="shard 3 is not available"):
            col.reshard(4)
    (tmp_path / "away").rename(tmp_path / "col" / "shard-0003")
    assert moved == [50, 50, 50]
    assert col.is_resharding
    assert col.search(QUERIES, ROWS) == found
    with pytest.raises(vj.InvalidInput, match="rows are still to be moved to 4 shards: reshard to 4"):
        col.reshard(6)
    col.close()
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        assert again.reshard(4) == moving - 150
        assert again.search(QUERIES, ROWS) == found


def test_it_is_searched_and_changed_meanwhile_with_the_answers_of_one_collection(
    col: vj.ShardedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resharding, "BATCH", 20)
    one = vj.Collection("one", DIM)
    one.insert(IDS, VECTORS, ABOUT)
    done = threading.Event()
    right: list[bool] = []
    failures: list[BaseException] = []

    def moving() -> None:
        try:
            col.reshard(5)
        except BaseException as exc:
            failures.append(exc)
        done.set()

    def searching() -> None:
        """Among rows that nobody changes."""
        expected = one.search(QUERIES, ROWS, where="year < 2400")
        while not done.is_set():
            right.append(col.search(QUERIES, ROWS, where="year < 2400") == expected)

    threads = [threading.Thread(target=moving), threading.Thread(target=searching)]
    for thread in threads:
        thread.start()
    rng, turn = np.random.default_rng(2), 0
    while not done.is_set():
        ids = [*rng.choice(IDS[500:], 10, replace=False).tolist(), f"new{turn}"]
        rows = rng.integers(-1, 2, (11, DIM)).astype(np.float32)
        for each in (col, one):
            each.delete(ids[:3])
            each.upsert(ids, rows, [{"year": 3000 + turn}] * 11)
        assert col.search(QUERIES, 30) == one.search(QUERIES, 30)
        assert col.get(ids[::-1]).ids == tuple(ids[::-1])
        turn += 1
    for thread in threads:
        thread.join()
    assert not failures
    assert right
    assert all(right)
    assert turn > 1
    assert not col.is_resharding
    assert col.search(QUERIES, ROWS + turn) == one.search(QUERIES, ROWS + turn)
    held = [name for rows in col.iter_batches() for name in rows.ids]
    assert sorted(held) == sorted(name for rows in one.iter_batches() for name in rows.ids)
    assert [state.rows for state in col.shards()] == np.bincount(places(held, 5), minlength=5).tolist()


def test_another_that_has_it_open_finds_the_shards_that_were_added(col: vj.ShardedCollection, tmp_path: Path) -> None:
    with vj.ShardedCollection.open(tmp_path / "col") as other:
        found = other.search(QUERIES, ROWS)
        col.reshard(4)
        assert other.search(QUERIES, ROWS) == found
        assert len(other.shards()) == 4
        assert other.insert(["new"], VECTORS[:1]).ok == ("new",)
    assert col.get(["new"]).ids == ("new",)


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_shards_that_were_added_share_the_memory_that_there_is(tmp_path: Path, traced: None) -> None:
    """It has room for the rows that there are, and not for twice as many, however many shards they are in."""
    rows = np.random.default_rng(4).standard_normal((12_000, 64)).astype(np.float32)
    ids = [f"r{i}" for i in range(len(rows))]
    with vj.ShardedCollection.open(
        tmp_path / "col", 64, shards=2, create=True, durability="process", memory_limit=2_200_000
    ) as col:  # fmt: skip
        col.insert(ids[:6000], rows[:6000])
        before = tracemalloc.get_traced_memory()[0]
        assert held_after(lambda: col.search(rows[:3])) > before + rows[:6000].nbytes
        col.reshard(4)
        col.insert(ids[6000:], rows[6000:])
        assert held_after(lambda: col.search(rows[:3])) < before + rows[:3000].nbytes


def held_after(search: Callable[[], object]) -> int:
    """Bytes of arrays and objects that are there after a search."""
    search()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
