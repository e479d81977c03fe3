"""Filters: SQL over ids and metadata, and what is said of one that cannot be used. In memory and on disk alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import vjaccel as vj

pytest.importorskip("lance", reason="the extra store is not installed")

NOON = datetime(2024, 2, 29, 12)
ROWS = [
    {"lexname": "noun.food", "year": 2002, "share": 0.5, "good": True, "at": NOON, "tags": ["a", "b"], "two words": 1},
    {"lexname": "noun.food", "year": 1999, "good": False, "at": datetime(1999, 1, 1), "zone": NOON.replace(tzinfo=UTC)},
    {"lexname": "verb's", "year": 2020, "share": -1.0, "tags": ["b"]},
    {},
]


@pytest.fixture(params=["memory", "disk", "streamed"])
def col(request: pytest.FixtureRequest, tmp_path: Path) -> vj.Collection:
    limit = {"memory_limit": 0} if request.param == "streamed" else {}
    open_one: Callable[[], vj.Collection] = (
        (lambda: vj.Collection("notes", 2))
        if request.param == "memory"
        else (lambda: vj.Collection.open(tmp_path / "notes", 2, create=True, **limit))
    )
    made = open_one()
    made.insert(list("abcd"), [[1.0, i] for i in range(4)], ROWS)
    return made


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("lexname = 'noun.food' AND year > 2001", "a"),
        ("lexname = 'verb''s'", "c"),
        ("lexname LIKE 'noun.%' OR id = 'd'", "abd"),
        ("year IS NULL", "d"),
        ("year BETWEEN 1999 AND 2002 AND NOT good", "b"),
        ("good", "a"),
        ("share < 0", "c"),
        ("at > timestamp '2000-01-01 00:00:00'", "a"),
        ("array_has(tags, 'b')", "ac"),
        ("`two words` = 1", "a"),
        ("id IN ('a', 'd') -- a remark", "ad"),
        ("(lexname = 'noun.food') AND (id = 'b')", "b"),
        ("lexname = ')' OR id = 'c'", "c"),
        ("year > 3000", ""),
        ("year > 2001 /* :) */", "ac"),
        ("year > 2001 /* (:\n */ AND id = 'a' -- )", "a"),
    ],
)
def test_a_filter_says_which_rows_are_found_counted_gone_through_and_deleted(
    col: vj.Collection, where: str, ids: str
) -> None:
    assert sorted(hit.id for hit in col.search([1.0, 0.0], where=where)) == list(ids)
    assert col.count(where) == len(ids)
    assert sorted(name for rows in col.iter_batches(where=where) for name in rows.ids) == list(ids)
    assert col.delete(where=where).ok == tuple(ids)
    assert len(col) == 4 - len(ids)


@pytest.mark.parametrize(
    ("where", "place", "said"),
    [
        ("yeer > 3", 0, "No field named yeer"),
        ("year > 3 AND yeer = 1", 13, "No field named yeer"),
        ("year = ", 7, "found its end"),
        ("year > > 3", 7, "found: >"),
        ("year = 3 AND AND good", 17, "found: good"),
        ("lexname = 'x", 10, "Unterminated"),
        ("year > 1 AND\nlexname = 'x", 23, "Unterminated"),
        ("(year = 3", 9, "found its end"),
        ("year = 3)", 8, "the bracket closes none"),
        ("year = 3 good", 9, "found: good"),
        ("year = 3; DROP", 8, "found: ;"),
        ("year = 'three'", 7, "could not convert"),
        ("lexname = 17", 10, "could not convert"),
        ("nothing(year) = 3", 0, "Invalid function"),
        ("year > 1 /* ( */) and more (", 16, "the bracket closes none"),
        ("lexname = 'x)", 10, "Unterminated"),
        ("lexname = 'yeer' AND yeer = 1", 21, "No field named yeer"),
        ("lexname = 'at1' OR lexname = 1", 29, "could not convert"),
        ("vector is not null", 0, "vector is no column"),
        ("lexname = 'vector' AND `Vector` IS NULL", 23, "vector is no column"),
    ],
)
def test_a_filter_that_cannot_be_used_is_an_error_with_the_place_and_the_columns(
    col: vj.Collection, where: str, place: int, said: str
) -> None:
    for call in (
        lambda: col.search([1.0, 0.0], where=where),
        lambda: col.count(where),
        lambda: col.delete(where=where),
    ):
        with pytest.raises(vj.InvalidInput) as caught:
            call()
        message = str(caught.value)
        assert f"{where!r} cannot be used at position {place}: " in message
        assert said in message
        assert "\n" not in message
        assert "_rowid" not in message
        assert ".rs" not in message
    assert len(col) == 4


def test_a_key_or_a_text_that_has_the_word_vector_in_it_is_no_vector(col: vj.Collection) -> None:
    col.insert(["new"], [[1.0, 0.0]], [{"vector_of": "vector", "the vector": 1}])
    assert col.count("vector_of = 'vector' AND `the vector` = 1 -- the vector") == 1


def test_what_is_no_condition_is_refused_with_the_columns(col: vj.Collection) -> None:
    with pytest.raises(vj.InvalidInput, match="does not return a boolean; the columns are id, lexname, year"):
        col.count("year")


@pytest.mark.parametrize("where", ["year = ?", "year = $1", "lexname = :name", "lexname = N'x'"])
def test_what_stands_for_a_value_is_refused(col: vj.Collection, where: str) -> None:
    for call in (
        lambda: col.search([1.0, 0.0], where=where),
        lambda: col.count(where),
        lambda: col.delete(where=where),
        lambda: col.iter_batches(where=where),
    ):
        with pytest.raises(vj.InvalidInput, match=r"it has what Lance does not know, .*; the columns are id, lexname"):
            call()
    assert col.count("year > 2001") == 2


def test_a_file_that_is_gone_is_no_fault_of_the_filter(tmp_path: Path) -> None:
    place = tmp_path / "filters"
    with vj.Collection.open(place, 2, create=True) as made:
        made.insert(["a"], [[1.0, 0.0]], ROWS[:1])
    for path in (place / "data").iterdir():
        path.unlink()
    with vj.Collection.open(place) as col:
        for call in (lambda: col.count("year > 1"), lambda: list(col.iter_batches())):
            with pytest.raises((OSError, ValueError), match="Not found") as caught:
                call()
            assert not isinstance(caught.value, vj.InvalidInput)


def test_a_filter_follows_what_changes(col: vj.Collection) -> None:
    assert col.count("year > 2001") == 2
    col.update(["b"], metadata=[{"year": 2005}])
    col.insert(["e"], [[1.0, 1.0]], [{"year": 2006, "new": "x"}])
    col.delete(["a"])
    assert [hit.id for hit in col.search([1.0, 0.0], where="year > 2001")] == ["b", "e", "c"]
    assert col.count("new = 'x'") == 1
