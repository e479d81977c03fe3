"""Going through a collection in memory while it changes."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

import vjaccel as vj

DIM = 4


def filled(count: int) -> vj.Collection:
    col = vj.Collection("notes", DIM)
    col.insert(names(count), rows(count), [{"half": i % 2, "tags": [str(i)]} for i in range(count)])
    return col


def names(count: int) -> list[str]:
    return [f"r{i}" for i in range(count)]


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32)


@pytest.mark.parametrize("where", [None, "half = 1"])
def test_rows_are_as_they_were_when_it_began_whatever_changes_meanwhile(where: str | None) -> None:
    if where:
        pytest.importorskip("lance", reason="the extra store is not installed")
    col = filled(100)
    wanted = [i for i in range(100) if where is None or i % 2]
    batches, late = col.iter_batches(7, where=where), col.iter_batches(7, where=where)
    found = [next(batches)]
    col.delete(names(100)[:20])
    found.append(next(batches))
    col.upsert(names(60)[10:], rows(50, 1), [{"half": 0}] * 50)  # some of them anew
    col.update(names(60)[50:], rows(10, 2), [{"tags": ["new"]}] * 10)
    found.append(next(batches))
    col.delete(names(100)[30:])
    col.insert(["other"], rows(1))
    for batch in (*found, *batches):
        for values in batch.metadata:
            values["tags"].append("mine")  # what is given out is nobody else's
    for part in ([*found, *batches][:3], list(late)):
        ids = [name for batch in part for name in batch.ids]
        assert ids == [f"r{i}" for i in wanted][: len(ids)]
        np.testing.assert_array_equal(np.concatenate([b.vectors for b in part]), rows(100)[wanted][: len(ids)])
    assert len(ids) == len(wanted)
    late_again = [values for batch in filled(100).iter_batches(7, where=where) for values in batch.metadata]
    assert late_again == [{"half": i % 2, "tags": [str(i)]} for i in wanted]


def test_a_batch_costs_no_copy_of_all_rows() -> None:
    col = vj.Collection("notes", 256)
    col.insert(names(20_000), np.ones((20_000, 256), np.float32))
    assert len(col.search([1.0] * 256, k=1)) == 1
    tracemalloc.start()
    try:
        batches = col.iter_batches(100)
        assert sum(len(batch) for batch in batches) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 20_000 * 256
    finally:
        tracemalloc.stop()


def test_threads_that_go_through_it_see_one_state_each_while_another_writes() -> None:
    col = vj.Collection("notes", DIM)
    col.insert(names(50), np.zeros((50, DIM)))
    done, seen = threading.Event(), []

    def reading() -> None:
        while not done.is_set():
            seen.append({float(x) for batch in col.iter_batches(7) for x in batch.vectors[:, 0]})

    threads = [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(1, 200):
        col.upsert(names(50), np.full((50, DIM), float(turn)))
    done.set()
    for thread in threads:
        thread.join()
    assert {len(values) for values in seen} == {1}
