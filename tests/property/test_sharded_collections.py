"""A sharded collection, changed and asked in ways that nobody thought of: it answers what one collection does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

import vjaccel as vj
from tests.property.test_collections import FILTERS, VECTOR, Calls
from vjaccel.arrays.testing.oracle import METRICS
from vjaccel.collection.sharded import resharding

pytest.importorskip("lance", reason="the extra store is not installed")


class CallsOnShards(Calls):
    """In three shards, which are opened anew now and then."""

    def opened(self, metric: str) -> vj.Collection:
        self.folder = Path(tempfile.mkdtemp(prefix="vjaccel-sharded-"))
        return vj.ShardedCollection.open(
            self.folder / "model", dim=DIM, metric=metric, shards=3, create=True, durability="process"
        )

    @rule()
    def open_anew(self) -> None:
        self.col.close()
        self.col = vj.ShardedCollection.open(self.folder / "model", durability="process")

    @rule(more=st.integers(0, 2))
    def reshard(self, more: int) -> None:
        there = len(self.col.shards())
        if there + more <= 6 or self.col.is_resharding:
            self.col.reshard(there if self.col.is_resharding else there + more)
        assert not self.col.is_resharding

    @precondition(lambda self: len(self.col.shards()) < 6)
    @rule(count=st.integers(0, 5))
    def reshard_in_part(self, count: int) -> None:
        """As one that is stopped when some rows are moved; the other rules go on meanwhile."""
        store, there = self.col._sharded, len(self.col.shards())
        resharding._begin(store, there if self.col.is_resharding else there + 1)
        with store.writing() as writer:
            resharding._move(writer, dict([*resharding._waiting(writer, -1).items()][:count]))

    @rule(query=VECTOR, where=st.sampled_from([None, *FILTERS]))
    def stream(self, query: list[int], where: str | None) -> None:
        """A search that may hold nothing, from disk, finds what one in memory does."""
        with vj.ShardedCollection.open(self.folder / "model", memory_limit=0) as streamed:
            assert streamed.search(query, 9, where=where) == self.col.search(query, 9, where=where)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.col.close()
            shutil.rmtree(self.folder)


DIM = 3


class TestOnShards(CallsOnShards.TestCase):
    settings = settings(max_examples=6, stateful_step_count=25, derandomize=True, deadline=None, database=None)


@pytest.mark.soak
class TestOnShardsForLonger(CallsOnShards.TestCase):
    settings = settings(max_examples=40, stateful_step_count=25, derandomize=True, deadline=None, database=None)


@settings(max_examples=12, derandomize=True, deadline=None, database=None)
@given(
    metric=st.sampled_from(METRICS), shards=st.integers(1, 5), seed=st.integers(0, 1000), rows=st.integers(0, 80),
    spread=st.sampled_from([1, 2, 1e-3]),
)  # fmt: skip
def test_a_search_of_shards_is_that_of_one_collection_with_equal_scores_in_the_order_of_coming(
    metric: str, shards: int, seed: int, rows: int, spread: float
) -> None:
    """Many rows are equal, and many scores differ by less than a float32 shows."""
    rng = np.random.default_rng(seed)
    vectors = (1.0 + spread * rng.integers(-1, 2, (rows, DIM))).astype(np.float32)
    ids = [f"r{i}" for i in rng.permutation(rows)]
    one = vj.Collection("one", dim=DIM, metric=metric)
    with tempfile.TemporaryDirectory() as folder, vj.ShardedCollection.open(
        folder, DIM, metric, shards=shards, create=True, durability="process"
    ) as sharded:  # fmt: skip
        for col in (one, sharded):
            col.insert(ids[: rows // 2], vectors[: rows // 2])
            col.insert(ids[rows // 2 :], vectors[rows // 2 :])
            col.delete(ids[:10])
            col.upsert(ids[5:20], vectors[: len(ids[5:20])])
        queries = (1.0 + spread * rng.standard_normal((3, DIM))).astype(np.float32)
        for k in (1, 7, rows + 1):
            found, expected = (col.search(queries, k, include=()) for col in (sharded, one))
            assert found == expected
        if metric in ("cosine", "dot"):
            assert sharded.similarity(queries[0]).ids == one.similarity(queries[0]).ids
