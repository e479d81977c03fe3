"""Which rows of a change are refused, why, and that the others go through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

GOOD = [1.0, 0.0]


def errors_of(result: vj.BatchResult) -> list[tuple[int, str | None, str]]:
    return [(error.index, error.id, error.code) for error in result.errors]


@pytest.fixture
def col() -> vj.Collection:
    made = vj.Collection("notes", dim=2)
    made.insert(["there"], [GOOD], metadata=[{"year": 1999, "share": 0.5, "tags": ["a"]}])
    return made


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (None, "NIL_VECTOR"),
        ([], "EMPTY_EMBEDDING"),
        (np.empty(0), "EMPTY_EMBEDDING"),
        ([1.0, float("nan")], "INVALID_EMBEDDING"),
        ([float("inf"), 1.0], "INVALID_EMBEDDING"),
        ([1e39, 1.0], "INVALID_EMBEDDING"),
        (["1", "2"], "INVALID_EMBEDDING"),
        ([1 + 2j, 1.0], "INVALID_EMBEDDING"),
        (1.0, "INVALID_EMBEDDING"),
        ("text", "INVALID_EMBEDDING"),
        ([[1.0, 0.0]], "INVALID_EMBEDDING"),
        ([[1.0], [0.0, 1.0]], "INVALID_EMBEDDING"),
        ([1.0, None], "INVALID_EMBEDDING"),
        ([1.0], "DIMENSION_MISMATCH"),
        (np.ones(3, np.float16), "DIMENSION_MISMATCH"),
    ],
)
@pytest.mark.parametrize("change", ["insert", "upsert", "update"])
def test_a_bad_vector_is_its_rows_error_and_the_others_go_through(
    col: vj.Collection, change: str, vector: Any, code: str
) -> None:
    col.insert(["a", "b", "c"], [GOOD] * 3)
    ids = ["x", "y", "z"] if change == "insert" else ["a", "b", "c"]
    result = getattr(col, change)(ids, [[0.0, 2.0], vector, [0.0, 3.0]])
    assert errors_of(result) == [(1, ids[1], code)]
    assert result.ok == (ids[0], ids[2])
    np.testing.assert_array_equal(col.get([ids[0], ids[2]]).vectors, [[0.0, 2.0], [0.0, 3.0]])


@pytest.mark.parametrize("name", [None, "", 3, b"x", ["x"], "\ud800"])
@pytest.mark.parametrize("change", ["insert", "upsert", "update"])
def test_an_id_that_is_missing_or_no_text_is_its_rows_error(col: vj.Collection, change: str, name: Any) -> None:
    assert [error.code for error in getattr(col, change)([name], [GOOD]).errors] == ["INVALID_VECTOR_ID"]
    assert len(col) == 1


def test_what_an_array_has_wrong_is_found_by_row(col: vj.Collection) -> None:
    rows = np.arange(10, dtype=np.float64).reshape(5, 2)
    rows[1, 0], rows[3, 1] = np.nan, 1e300
    result = col.insert(list("abcde"), rows)
    assert errors_of(result) == [(1, "b", "INVALID_EMBEDDING"), (3, "d", "INVALID_EMBEDDING")]
    assert result.ok == ("a", "c", "e")


def test_a_wide_array_is_a_mismatch_in_each_row(col: vj.Collection) -> None:
    assert errors_of(col.insert(["a", "b"], np.ones((2, 3)))) == [
        (0, "a", "DIMENSION_MISMATCH"),
        (1, "b", "DIMENSION_MISMATCH"),
    ]


def test_numbers_so_large_that_their_squares_overflow_are_good(col: vj.Collection) -> None:
    assert col.insert(["a"], np.full((1, 2), 3e38, np.float32)).ok == ("a",)


def test_the_first_good_row_of_an_id_is_taken(col: vj.Collection) -> None:
    result = col.insert(["a", "a", "a"], [None, [0.0, 1.0], [0.0, 2.0]])
    assert errors_of(result) == [(0, "a", "NIL_VECTOR"), (2, "a", "DUPLICATE_ID")]
    np.testing.assert_array_equal(col.get(["a"]).vectors, [[0.0, 1.0]])


def test_what_is_there_cannot_be_inserted_and_what_is_not_cannot_be_updated_or_deleted(col: vj.Collection) -> None:
    assert errors_of(col.insert(["there", "new"], [GOOD, GOOD])) == [(0, "there", "ALREADY_EXISTS")]
    assert errors_of(col.update(["there", "gone"], [GOOD, GOOD])) == [(1, "gone", "NOT_FOUND")]
    assert errors_of(col.delete(["gone", "new", "new", ""])) == [
        (0, "gone", "NOT_FOUND"), (2, "new", "DUPLICATE_ID"), (3, None, "INVALID_VECTOR_ID")
    ]  # fmt: skip
    assert col.get(["there", "new"]).ids == ("there",)


@pytest.mark.parametrize(
    "metadata",
    [
        {"year": "1999"}, {"year": 1.5}, {"year": True}, {"year": [1]}, {"tags": "a"}, {"tags": [1]}, {"share": "x"},
        {"new": object()}, {"new": {"nested": 1}}, {"new": [1, "x"]}, {"new": [[1]]}, {"new": [None]}, {"new": 1 << 63},
        {"new": b"x"}, {"new": "\ud800"}, {"id": "x"}, {"vector": 1}, {"Vector": 1}, {"_x": 1}, {"": 1}, {3: 1}, {"a.b": 1},
        {"a`b": 1}, {"Year": 1}, "text", [("year", 1)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("change", ["insert", "upsert", "update"])
def test_bad_metadata_is_its_rows_error_and_leaves_no_column(col: vj.Collection, change: str, metadata: Any) -> None:
    col.insert(["a", "b"], [GOOD] * 2)
    ids = ["x", "y"] if change == "insert" else ["a", "b"]
    result = getattr(col, change)(ids, [GOOD] * 2, [metadata, {"year": 5}])
    assert errors_of(result) == [(0, ids[0], "INVALID_METADATA")]
    assert result.ok == (ids[1],)
    assert col.insert(["free"], [GOOD], [{"new": "any kind"}]).ok == ("free",)


NOON = datetime(2024, 2, 29, 12, 0, 0, 5)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": "x", "b": 1, "c": 1.5, "d": True, "e": NOON}, {"a": "x", "b": 1, "c": 1.5, "d": True, "e": NOON}),
        ({"a": ("x", "y"), "b": np.array([1, 2]), "c": [1, 2.5]}, {"a": ["x", "y"], "b": [1, 2], "c": [1.0, 2.5]}),
        ({"a": np.float32(0.5), "b": np.int8(3), "c": np.bool_(False)}, {"a": 0.5, "b": 3, "c": False}),
        ({"a": None, "b": []}, {"b": []}),
        ({"share": 2, "tags": []}, {"share": 2.0, "tags": []}),
        (
            {"t": NOON.replace(tzinfo=timezone(timedelta(hours=2)))},
            {"t": (NOON - timedelta(hours=2)).replace(tzinfo=UTC)},
        ),
        (None, {}),
    ],
)
def test_metadata_comes_back_as_plain_values(col: vj.Collection, given: Any, kept: dict[str, Any]) -> None:
    assert col.insert(["a"], [GOOD], [given]).ok == ("a",)
    (found,) = col.get(["a"]).metadata
    assert found == kept
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in kept.items()}


def test_a_row_that_is_refused_gives_a_column_no_kind(col: vj.Collection) -> None:
    result = col.insert(["there", "a"], [GOOD] * 2, [{"new": 1}, {"new": "text"}])
    assert result.ok == ("a",)


def test_all_or_nothing_changes_nothing_and_says_all_that_is_wrong(col: vj.Collection) -> None:
    version = col.version
    said = "2 of 3 rows are refused, and nothing was changed; the first, at index 1"
    with pytest.raises(vj.CollectionErrors, match=said) as caught:
        col.insert(["a", "there", "b"], [GOOD, GOOD, None], [{"new": 1}] * 3, on_error="raise")
    assert errors_of(caught.value.result) == [(1, "there", "ALREADY_EXISTS"), (2, "b", "NIL_VECTOR")]
    assert caught.value.result.ok == ()
    assert (len(col), col.version) == (1, version)
    assert col.insert(["a"], [GOOD], [{"new": "another kind"}]).ok == ("a",)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda col: col.insert(["a"], [GOOD, GOOD]), vj.InvalidInput, "1 ids and 2 vectors"),
        (lambda col: col.insert(["a"], [GOOD], [{}, {}]), vj.InvalidInput, "1 ids and 2 dicts of metadata"),
        (lambda col: col.insert("a", [GOOD]), vj.InvalidType, "ids is a list"),
        (lambda col: col.insert(["a"], 3), vj.InvalidType, "vectors is a list"),
        (lambda col: col.insert(["a"], None), vj.InvalidInput, "there are no vectors"),
        (lambda col: col.insert(["a"], [GOOD], {"a": 1}), vj.InvalidType, "metadata is a list"),
        (lambda col: col.insert(["a"], [GOOD], on_error="ignore"), vj.InvalidInput, "on_error 'ignore'"),
        (lambda col: col.update(["there"]), vj.InvalidInput, "update needs vectors, metadata or both"),
        (lambda col: col.delete(), vj.InvalidInput, "delete needs ids or where, and not both"),
        (lambda col: col.search([1.0]), vj.InvalidInput, "the query has width 1 and the collection 2"),
        (lambda col: col.search(GOOD, k=0), vj.InvalidInput, "k must be at least 1"),
        (lambda col: col.search(GOOD, include=["ids"]), vj.InvalidInput, "include has 'ids'"),
        (lambda col: col.search(GOOD, include="vectors"), vj.InvalidType, "include is a list"),
        (lambda col: col.count(3), vj.InvalidType, "where is SQL text"),
        (lambda col: col.count(" "), vj.InvalidInput, "where is empty"),
        (lambda col: col.checkout(1), vj.InvalidInput, "keeps none but the one it is"),
    ],
)  # fmt: skip
def test_a_call_that_is_no_list_of_rows_is_refused_as_a_whole(
    col: vj.Collection, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(col)
    assert len(col) == 1


def test_what_the_caller_does_with_an_array_afterwards_is_nothing_to_the_collection(col: vj.Collection) -> None:
    rows, metadata = np.ones((1, 2), np.float32), [{"list": [1]}]
    col.insert(["a"], rows, metadata)
    rows[:] = 7
    metadata[0]["list"].append(2)
    col.get(["a"]).metadata[0]["list"].append(3)
    found = col.get(["a"])
    np.testing.assert_array_equal(found.vectors, [[1.0, 1.0]])
    assert found.metadata == ({"list": [1]},)
