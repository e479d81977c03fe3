"""Sums over time: nothing is lost when spans become one, and there are never more of them than so many."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjaccel.telemetry import SUMMED, Timeline
from vjaccel.telemetry.timeline import SPANS

MOMENTS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), max_size=60)


def filled(moments: list[tuple[float, int]]) -> Timeline:
    made = Timeline()
    for at, count in moments:
        made.add(at, embedded=count, tokens=3 * count)
        made.look(at, memory_bytes=count, queued=None)
    return made


@given(MOMENTS)
def test_spans_that_are_merged_keep_their_sums_and_the_highest(moments: list[tuple[float, int]]) -> None:
    found = filled(moments).values
    assert found["embedded"].sum() == sum(count for _, count in moments)
    assert found["tokens"].sum() == 3 * found["embedded"].sum()
    assert len(found["embedded"]) <= SPANS
    if moments:
        assert np.nanmax(found["memory_bytes"]) == max(count for _, count in moments)
    assert np.isnan(found["queued"]).all()


@given(MOMENTS)
def test_every_moment_is_in_the_span_that_it_belongs_to(moments: list[tuple[float, int]]) -> None:
    made = filled(moments)
    expected = np.zeros(len(made.values["embedded"]))
    for at, count in moments:
        expected[int(at / made.width)] += count
    np.testing.assert_array_equal(made.values["embedded"], expected)


@given(MOMENTS, MOMENTS)
def test_one_behind_another_has_the_sums_of_both_in_their_order(
    first: list[tuple[float, int]], second: list[tuple[float, int]]
) -> None:
    one, two = filled(first), filled(second)
    both = one.followed_by(two)
    assert len(both.values["embedded"]) <= SPANS
    for name in SUMMED:
        assert both.values[name].sum() == one.values[name].sum() + two.values[name].sum()
    assert both.seconds >= one.seconds + two.seconds - 1e-9
    whole = int(one.seconds / both.width)
    assert both.values["embedded"][:whole].sum() <= one.values["embedded"].sum()


@given(MOMENTS)
def test_a_timeline_comes_back_from_json_as_it_was(moments: list[tuple[float, int]]) -> None:
    made = filled(moments)
    again = Timeline.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert again.width == made.width
    for name, values in made.values.items():
        np.testing.assert_allclose(again.values[name], values, atol=1e-4)


def test_what_is_asked_once_in_a_span_is_asked_once() -> None:
    made = Timeline()
    assert made.is_new(0.05)
    assert made.look(0.05, memory_bytes=5)
    assert not made.look(0.06, memory_bytes=3)
    assert not made.is_new(0.1)
    assert made.is_new(0.2)
    assert made.values["memory_bytes"][0] == 5


@pytest.mark.parametrize("days", [1, 1000])
def test_a_long_run_takes_no_more_room_than_a_short_one(days: int) -> None:
    made = Timeline()
    for hour in range(24 * days):
        made.add(hour * 3600.0, embedded=1)
    assert len(made.values["embedded"]) <= SPANS
    assert made.values["embedded"].sum() == 24 * days
    assert len(json.dumps(made.to_dict())) < 30_000
