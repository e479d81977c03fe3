"""A collection that is closed, and queries that no collection takes: in memory and on disk alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj


@pytest.fixture(params=["memory", "disk"])
def col(request: pytest.FixtureRequest, tmp_path: Path) -> vj.Collection:
    if request.param == "memory":
        made = vj.Collection("notes", 3)
    else:
        pytest.importorskip("lance", reason="the extra store is not installed")
        made = vj.Collection.open(tmp_path / "col", 3, create=True)
    made.insert(["a", "b"], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return made


CALLS: dict[str, Callable[[vj.Collection], object]] = {
    "insert": lambda col: col.insert(["c"], [[1.0, 0.0, 0.0]]),
    "upsert": lambda col: col.upsert(["a"], [[1.0, 0.0, 0.0]]),
    "update": lambda col: col.update(["a"], metadata=[{"year": 1}]),
    "delete": lambda col: col.delete(["a"]),
    "add_texts": lambda col: col.add_texts(["c"], ["a text"]),
    "get": lambda col: col.get(["a"]),
    "count": lambda col: col.count(),
    "len": len,
    "search": lambda col: col.search([1.0, 0.0, 0.0]),
    "search for a text": lambda col: col.search("a text"),
    "similarity": lambda col: col.similarity([1.0, 0.0, 0.0]),
    "iter_batches": lambda col: col.iter_batches(),
    "versions": lambda col: col.versions(),
    "version": lambda col: col.version,
    "columns": lambda col: col.columns,
    "checkout": lambda col: col.checkout(1),
    "compact": lambda col: col.compact(),
    "create_index": lambda col: col.create_index(),
    "evaluate": lambda col: col.evaluate([1.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_collection_refuses_everything(col: vj.Collection, call: str) -> None:
    col.close()
    col.close()
    with pytest.raises(vj.InvalidInput, match=r"^this collection is closed$"):
        CALLS[call](col)
    assert (col.dim, str(col.metric), repr(col)[:11]) == (3, "cosine", "<Collection")


def test_rows_that_are_gone_through_already_come_to_their_end(col: vj.Collection) -> None:
    batches = col.iter_batches(1)
    first = next(batches)
    col.close()
    assert [name for batch in (first, *batches) for name in batch.ids] == ["a", "b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", ["search", "similarity", "evaluate"])
def test_a_query_that_is_not_finite_is_refused(col: vj.Collection, how: str, value: float) -> None:
    for query in ([value, 0.0, 0.0], [[1.0, 0.0, 0.0], [0.0, value, 0.0]]):
        ask: Any = getattr(col, how)
        with pytest.raises(vj.InvalidInput, match="the query has a NaN or an infinity"):
            ask(query)
