"""A column's type holds all of its values, whatever comes later, and loses none."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from vjaccel.io.columns import Columns


def columns(*batches: list[Any]) -> tuple[pa.DataType, list[Any]]:
    """The type of a column that has come in batches, and its values as they are stored."""
    seen = Columns()
    rows = [[{"x": value} for value in batch] for batch in batches]
    for batch in rows:
        seen.see(batch)
    return seen.schema().field("x").type, [value for batch in rows for value in seen.batch(batch)["x"].to_pylist()]


@pytest.mark.parametrize(
    ("batches", "kind"),
    [
        (([1], [2]), pa.int64()),
        (([None], [2]), pa.int64()),
        (([1], [2.5]), pa.float64()),
        (([True], [None]), pa.bool_()),
        (([["a"]], [[]]), pa.list_(pa.string())),
        (([{"a": 1}], [{"b": "x"}]), pa.struct({"a": pa.int64(), "b": pa.string()})),
        (([None], [None]), pa.null()),
    ],
)
def test_types_that_have_a_common_one_are_kept(batches: tuple[list[Any], ...], kind: pa.DataType) -> None:
    found, values = columns(*batches)
    assert found == kind
    for value, given in zip(values, [x for batch in batches for x in batch], strict=True):
        assert value == given or {k: v for k, v in value.items() if v is not None} == given


@pytest.mark.parametrize(
    "batches",
    [
        ([1], ["one"]),
        ([1, "one"], [2]),
        ([True], [1]),
        ([{}], [{}]),
        ([[{}]], [[{"a": 1}]]),
        ([2**70], [1]),
        ([2**53 + 1], [0.5]),
        ([0.5], [2**53 + 1]),
        ([{"a": 1}], [{"a": "x"}]),
    ],
)
def test_others_become_text_that_says_the_same(batches: tuple[list[Any], ...]) -> None:
    found, values = columns(*batches)
    assert found == pa.string()
    given = [x for batch in batches for x in batch]
    assert [value if isinstance(x, str) else json.loads(value) for value, x in zip(values, given, strict=True)] == given


def test_a_field_that_comes_late_is_a_column_too() -> None:
    seen = Columns()
    seen.see([{"a": 1}])
    seen.see([{"a": 2, "b": "x"}])
    assert seen.batch([{"a": 1}]).to_pylist() == [{"a": 1, "b": None}]
