"""Sharded collections beside one collection of the same rows: what a search, a small search, an insert and more shards cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rounds import contest

import vjaccel as vj

ROWS, DIM, BATCH = 200_000, 384, 5_000
INSERTED = 50_000
SHARDS = (1, 4)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)


def filled(folder: Path, rows: np.ndarray, shards: int | None) -> vj.Collection:
    """With all `rows`; None for one collection."""
    made: vj.Collection = (
        vj.Collection.open(folder, DIM, create=True)
        if shards is None
        else vj.ShardedCollection.open(folder, DIM, shards=shards, create=True)
    )
    for start in range(0, len(rows), BATCH):
        ids = [f"id-{i}" for i in range(start, min(start + BATCH, len(rows)))]
        made.insert(ids, rows[start : start + BATCH])
    return made


def named(shards: int | None) -> str:
    return "limit: one collection" if shards is None else f"vjaccel, {shards} shard{'s'[: shards - 1]}"


@pytest.fixture(scope="module")
def collections(rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, vj.Collection]]:
    folder = tmp_path_factory.mktemp("sharded")
    made = {named(shards): filled(folder / str(shards), rows, shards) for shards in (None, *SHARDS)}
    for col in made.values():
        col.search(rows[0])  # what is held is read
    yield made
    for col in made.values():
        col.close()


@pytest.mark.parametrize("queries", [1, 100])
def test_search(benchmark, collections: dict[str, vj.Collection], rows: np.ndarray, queries: int) -> None:
    asked = rows[:queries] + 0.1

    def search(col: vj.Collection) -> Callable[[], object]:
        return lambda: col.search(asked, 10)

    found = [[[hit.id for hit in hits] for hits in col.search(asked, 10)] for col in collections.values()]
    assert all(one == found[0] for one in found)
    contest(benchmark, "sharded", {name: search(col) for name, col in collections.items()}, work=queries)


def test_insert(benchmark, rows: np.ndarray, tmp_path: Path) -> None:
    numbers = itertools.count()

    def insert(shards: int | None) -> Callable[[], None]:
        return lambda: filled(tmp_path / f"{next(numbers)}", rows[:INSERTED], shards).close()

    contest(
        benchmark, "sharded", {named(shards): insert(shards) for shards in (None, *SHARDS)}, rounds=3, warmup=0,
        work=INSERTED,
    )  # fmt: skip


def test_reshard(benchmark, rows: np.ndarray, tmp_path: Path) -> None:
    """From 3 to 4 shards: a quarter of the rows moves, which is the work."""
    numbers, moved = itertools.count(), []

    def setup() -> tuple[tuple[vj.ShardedCollection], dict[str, object]]:
        made = filled(tmp_path / f"{next(numbers)}", rows[:INSERTED], 3)
        assert isinstance(made, vj.ShardedCollection)
        return (made,), {}

    def reshard(col: vj.ShardedCollection) -> None:
        moved.append(col.reshard(4))
        col.close()

    benchmark.pedantic(reshard, setup=setup, rounds=3)
    benchmark.extra_info["bar"] = "sharded"
    benchmark.extra_info["moved"] = moved[-1]
