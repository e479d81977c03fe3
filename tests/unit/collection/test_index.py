"""The approximate search of a collection on disk, and what it finds of the exact one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

lance = pytest.importorskip("lance", reason="the extra store is not installed")

DIM = 16


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)


def filled(folder: Path, **options: Any) -> vj.Collection:
    col = vj.Collection.open(folder / "col", DIM, create=True, durability="process", **options)
    col.insert([f"r{i}" for i in range(2000)], rows(2000), [{"half": i % 2} for i in range(2000)])
    return col


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("kind", ["ivf_hnsw_sq", "ivf_pq"])
def test_an_index_finds_most_of_what_an_exact_search_does_with_the_same_scores(
    tmp_path: Path, metric: str, kind: Any
) -> None:
    col = filled(tmp_path, metric=metric)
    col.create_index(kind, partitions=4)
    found = col.evaluate(rows(20, 1), 10, probes=4)
    assert found.recall > 0.6
    assert (found.queries, found.k) == (20, 10)
    assert min(found.exact_seconds, found.approximate_seconds) > 0
    exact = {hit.id: hit.score for hit in col.search(rows(1, 1)[0], 100)}
    likely = col.search(rows(1, 1)[0], 10, probes=4)
    assert [hit.score for hit in likely] == [exact[hit.id] for hit in likely]
    only = col.search(rows(1, 1)[0], 10, probes=4, where="half = 1")
    assert {hit.metadata["half"] for hit in only} == {1}
    assert len(only) == 10


def test_rows_that_come_after_an_index_are_found_by_it_and_those_that_went_are_not(tmp_path: Path) -> None:
    col = filled(tmp_path)
    col.create_index(partitions=4)
    far = np.full((1, DIM), 9.0, np.float32)
    col.insert(["new"], far)
    assert [hit.id for hit in col.search(far, 1, probes=4)[0]] == ["new"]
    col.upsert(["r5"], 2 * far)
    col.compact()
    assert {hit.id for hit in col.search(far, 2, probes=4)[0]} == {"new", "r5"}
    col.delete(["new"])
    assert "new" not in {hit.id for hit in col.search(far, 5, probes=4)[0]}


def test_a_search_by_an_index_says_nothing_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    col = filled(tmp_path)
    col.create_index(partitions=4)
    capfd.readouterr()
    assert len(col.search(rows(1, 1)[0], 10, probes=4, where="half = 1")) == 10
    assert capfd.readouterr().err == ""


def test_an_index_of_few_rows_is_brought_up_to_date_as_rows_come(tmp_path: Path) -> None:
    def left_out() -> int:
        stats = lance.dataset(str(tmp_path / "col")).stats.index_stats("vector_idx")
        return int(stats["num_unindexed_rows"])

    col = filled(tmp_path)
    col.create_index(partitions=4)
    for turn in range(400):
        col.insert([f"new{turn}"], rows(1, turn))
    assert left_out() < 300
    col.compact()
    assert left_out() == 0


def test_an_index_that_cannot_be_is_refused(tmp_path: Path) -> None:
    col = vj.Collection.open(tmp_path / "small", DIM, create=True)
    col.insert(["a"], rows(1))
    with pytest.raises(vj.InvalidInput, match=r"an index needs 256 rows, .* there are 1"):
        col.create_index()
    with pytest.raises(vj.InvalidInput, match="there is no index; create_index makes one"):
        col.search(rows(1)[0], probes=3)
    with pytest.raises(vj.InvalidInput, match="kind 'flat' is neither"):
        col.create_index("flat")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(vj.NotSupported, match="no index for manhattan"):
        filled(tmp_path, metric="manhattan").create_index()
    memory = vj.Collection("memory", DIM)
    for call in (memory.create_index, lambda: memory.evaluate(rows(1)), lambda: memory.search(rows(1), probes=1)):
        with pytest.raises(vj.NotSupported, match="a collection in memory has no index"):
            call()
