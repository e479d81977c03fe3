"""Batches that change and search collections: those that are given, and those that an insert makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj

ROWS = np.random.default_rng(3).standard_normal((20, 4), dtype=np.float32)


def vectors(start: int = 0, end: int = 20) -> list[vj.Vector]:
    return [vj.Vector(f"v{i}", ROWS[i], {"number": i}) for i in range(start, end)]


def asked(processor: vj.BatchProcessor, operation: Any, **request: Any) -> Any:
    return processor.process_batch_vectors(
        vj.BatchVectorRequest(operation=operation, collection=request.pop("collection", "notes"), **request)
    )


def codes(response: Any) -> list[tuple[int, str]]:
    return [(error.index, error.code) for error in response.errors]


@pytest.mark.parametrize("batch_size", [None, 3, 20])
def test_an_insert_makes_the_collection_that_is_not_there(batch_size: int | None) -> None:
    with vj.BatchProcessor() as processor:
        found = asked(processor, "insert", vectors=vectors(), batch_size=batch_size)
        made = processor.collections["notes"]
    assert found.results == [f"v{i}" for i in range(20)]
    assert (len(made), made.dim, made.metric) == (20, 4, "cosine")
    assert made.get(["v7"]).metadata == ({"number": 7},)


def test_a_collection_that_was_given_is_changed_and_stays_its_owners() -> None:
    mine = vj.Collection("mine", 4, metric="dot")
    with vj.BatchProcessor(collections={"notes": mine}) as processor:
        asked(processor, "insert", vectors=vectors())
        asked(processor, "update", vectors=[vj.Vector("v1", [0.0, 0.0, 0.0, 1.0], {"seen": True})])
        gone = asked(processor, "delete", vectors=[vj.Vector("v2"), "v3"])
    assert gone.results == ["v2", "v3"]
    assert len(mine) == 18
    assert mine.get(["v1"]).vectors.tolist() == [[0.0, 0.0, 0.0, 1.0]]
    assert mine.get(["v1"]).metadata == ({"number": 1, "seen": True},)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_each_bad_row_of_an_insert_is_an_error_of_its_own(batch_size: int) -> None:
    rows = [
        vj.Vector("good", ROWS[0]),
        None,
        vj.Vector("a", None),
        vj.Vector("b", []),
        vj.Vector(None, ROWS[1]),
        vj.Vector("", ROWS[1]),
        vj.Vector(7, ROWS[1]),
        vj.Vector("c", [np.nan] * 4),
        vj.Vector("d", ["x"] * 4),
        vj.Vector("e", [1.0]),
        vj.Vector("good", ROWS[1]),
        vj.Vector("there", ROWS[1]),
        ROWS[2],
    ]
    mine = vj.Collection("mine", 4)
    mine.insert(["there"], ROWS[:1])
    with vj.BatchProcessor(collections={"notes": mine}) as processor:
        found = asked(processor, "insert", vectors=rows, batch_size=batch_size)
    assert codes(found) == [
        (1, "NIL_VECTOR"),
        (2, "EMPTY_EMBEDDING"),
        (3, "EMPTY_EMBEDDING"),
        (4, "INVALID_VECTOR_ID"),
        (5, "INVALID_VECTOR_ID"),
        (6, "INVALID_VECTOR_ID"),
        (7, "INVALID_EMBEDDING"),
        (8, "INVALID_EMBEDDING"),
        (9, "DIMENSION_MISMATCH"),
        (10, "DUPLICATE_ID"),
        (11, "ALREADY_EXISTS"),
        (12, "INVALID_VECTOR_ID"),
    ]
    assert (found.results, found.statistics.processed, found.statistics.failed) == (["good"], 1, 12)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_row_that_comes_again_after_a_bad_one_is_no_duplicate(batch_size: int) -> None:
    rows = [vj.Vector("a", [np.nan] * 4), vj.Vector("a", ROWS[0]), vj.Vector("a", ROWS[1])]
    with vj.BatchProcessor() as processor:
        found = asked(processor, "insert", vectors=rows, batch_size=batch_size)
    assert codes(found) == [(0, "INVALID_EMBEDDING"), (2, "DUPLICATE_ID")]


@pytest.mark.parametrize("operation", ["update", "delete"])
@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_not_there_cannot_be_changed(operation: str, is_there: bool) -> None:
    with vj.BatchProcessor() as processor:
        if is_there:
            asked(processor, "insert", vectors=vectors(0, 2))
        found = asked(processor, operation, vectors=[None, *vectors(1, 3)])
        assert set(processor.collections) == ({"notes"} if is_there else set())
    assert codes(found) == [(0, "NIL_VECTOR"), *([] if is_there else [(1, "NOT_FOUND")]), (2, "NOT_FOUND")]


def test_an_insert_of_nothing_good_makes_no_collection() -> None:
    with vj.BatchProcessor() as processor:
        found = asked(processor, "insert", vectors=[vj.Vector("a", []), None])
        assert processor.collections == {}
    assert codes(found) == [(0, "EMPTY_EMBEDDING"), (1, "NIL_VECTOR")]


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("way", ["vectors", "query_vector"])
def test_a_search_answers_each_query(batch_size: int | None, way: str) -> None:
    with vj.BatchProcessor() as processor:
        asked(processor, "insert", vectors=vectors())
        found = asked(processor, "search", **{way: ROWS[3:8]}, batch_size=batch_size, options={"k": 2})
        wanted = processor.collections["notes"].search(ROWS[3:8], k=2)
    assert [[hit.id for hit in hits] for hits in found.results] == [[hit.id for hit in hits] for hits in wanted]
    assert found.results[0][0].metadata == {"number": 3}
    assert found.statistics.total == 5


def test_a_search_chooses_by_metadata() -> None:
    pytest.importorskip("lance")
    with vj.BatchProcessor() as processor:
        asked(processor, "insert", vectors=vectors())
        found = asked(processor, "search", query_vector=ROWS[3], options={"k": 20, "where": "number > 15"})
        with pytest.raises(vj.InvalidInput):
            asked(processor, "search", query_vector=ROWS[3], options={"where": "nonsense >"})
    assert {hit.id for hit in found.results[0]} == {"v16", "v17", "v18", "v19"}


def test_a_bad_query_is_an_error_of_its_own() -> None:
    with vj.BatchProcessor() as processor:
        asked(processor, "insert", vectors=vectors())
        found = asked(processor, "search", vectors=[ROWS[0], None, [1.0]], options={"k": 1})
    assert codes(found) == [(1, "NIL_VECTOR"), (2, "DIMENSION_MISMATCH")]
    assert [len(hits) for hits in found.results] == [1, 0, 0]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"operation": "insert", "collection": None, "vectors": []}, "insert needs a collection"),
        (
            {"operation": "search", "collection": "nots", "vectors": []},
            "no collection is called 'nots'; there are notes",
        ),
        ({"operation": "similarity", "vectors": ROWS, "query_vector": ROWS[0]}, "a collection can be searched"),
        ({"operation": "insert", "vectors": [], "query_vector": ROWS[0]}, "insert takes no query_vector"),
        ({"operation": "search", "vectors": ROWS, "query_vector": ROWS[0]}, "give one of them"),
        ({"operation": "search"}, "search needs a query_vector, or vectors as the queries"),
        (
            {"operation": "search", "vectors": np.empty((0, 4))},
            "search needs a query_vector, or vectors as the queries",
        ),
        ({"operation": "search", "query_vector": [1.0, np.inf, 0.0, 0.0]}, "query_vector has a NaN or an infinity"),
        ({"operation": "search", "query_vector": [1.0]}, "query_vector has width 1, and the collection 4"),
        ({"operation": "search", "query_vector": ROWS[0], "options": {"metric": "dot"}}, "searched by cosine, not dot"),
        ({"operation": "search", "query_vector": ROWS[0], "options": {"backend": "numpy"}}, "is searched where it is"),
        (
            {"operation": "search", "collection": None, "query_vector": ROWS[0], "options": {"where": "a = 1"}},
            "where chooses among the rows of a collection",
        ),
    ],
)
def test_what_does_not_go_together_is_said(request_: dict[str, Any], said: str) -> None:
    given = {"notes": vj.Collection("notes", 4)}
    with vj.BatchProcessor(collections=given) as processor, pytest.raises(vj.InvalidInput, match=said):
        asked(processor, **request_)


@pytest.mark.parametrize("given", [[vj.Collection("a", 2)], {"a": 3}])
def test_what_is_no_mapping_of_collections_is_refused(given: Any) -> None:
    with pytest.raises(vj.InvalidType, match="collections"):
        vj.BatchProcessor(collections=given)


def test_changes_are_made_one_after_the_other_and_that_is_said() -> None:
    with vj.BatchProcessor() as processor:
        found = asked(processor, "insert", vectors=vectors(), batch_size=2, max_concurrent=4)
    assert found.statistics.concurrency == 1
    assert found.statistics.not_applicable["max_concurrent"] == "a collection is changed by one at a time"
