"""How shards are cut, what is done with rows that workers died of, and how long a run waits for a node: arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjaccel.cluster import Workers
from vjaccel.engines.dealing import DEATHS, FEWEST, GONE_SECONDS, MOST, PARTS, Absence, dealt, groups_of


@pytest.mark.parametrize("workers", [Workers(1, 1), Workers(2, 2), Workers(1, 7), Workers(1), Workers(100)])
@pytest.mark.parametrize("rows", [0, 1, FEWEST, 12_345, 100_000, 3_000_000])
def test_shards_have_all_rows_and_become_smaller_between_bounds(rows: int, workers: Workers) -> None:
    starts = dealt(rows, workers)
    sizes = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, rows)
    assert (np.diff(sizes) <= 0).all()
    assert (sizes <= MOST).all()
    assert (sizes[:-1] >= FEWEST).all()
    # What each may still have to do when the others are at their end is little.
    assert sizes[-1:].sum() <= FEWEST


def test_a_size_that_one_says_is_that_of_each_shard_but_the_last() -> None:
    assert dealt(10, Workers(3, 3), size=4).tolist() == [0, 4, 8, 10]


def test_there_is_a_shard_for_each_worker_that_there_is_at_least() -> None:
    assert len(dealt(100_000, Workers(100))) > 100


@given(st.integers(0, 100_000), st.integers(0, 5_000), st.integers(1, 40))
def test_of_fewer_rows_there_are_never_more_shards(rows: int, fewer: int, workers: int) -> None:
    each = Workers(workers, workers)
    assert len(dealt(max(0, rows - fewer), each)) <= len(dealt(rows, each))


@pytest.mark.parametrize("deaths", [0, 1])
def test_rows_of_which_few_workers_died_are_embedded_with_the_others(deaths: int) -> None:
    left = np.arange(10)
    failed, counted, groups = groups_of(left, deaths, left[2:5])
    assert failed is None
    assert counted == deaths
    assert [group.tolist() for group in groups] == [left.tolist()]


def test_rows_of_which_workers_died_come_first_in_parts_and_each_once() -> None:
    failed, counted, groups = groups_of(np.arange(100), DEATHS, np.arange(20, 60))
    assert failed is None
    assert counted == DEATHS
    assert len(groups) == PARTS + 1
    assert np.concatenate(groups[:-1]).tolist() == list(range(20, 60))
    assert groups[-1].tolist() == [*range(20), *range(60, 100)]


@pytest.mark.parametrize("rows", [2, 9, 1000, 16384])
@pytest.mark.parametrize("killer", [0, 1])
def test_the_row_that_kills_is_found_and_all_others_are_embedded(rows: int, killer: int) -> None:
    """Workers die of one row until it is found; what was embedded before they died stays so."""
    settled, deaths, suspects = np.zeros(rows, bool), 0, np.empty(0, np.int64)
    for _ in range(100):
        failed, deaths, groups = groups_of(np.flatnonzero(~settled), deaths, suspects[~settled[suspects]])
        if failed is not None:
            assert failed == killer
            settled[failed] = True
        for group in groups:
            if killer in group and not settled[killer]:
                deaths, suspects = deaths + 1, group
                break
            settled[group] = True
        else:
            break
    assert settled.all()
    assert deaths == 0


def test_a_run_ends_when_no_node_was_there_for_longer_than_it_waits() -> None:
    absence = Absence(10.0)
    assert not absence.too_long(10.0 + GONE_SECONDS, there=False)
    assert not absence.too_long(11.0 + GONE_SECONDS, there=True)
    assert not absence.too_long(11.0 + 2 * GONE_SECONDS, there=False)
    assert absence.too_long(11.5 + 2 * GONE_SECONDS, there=False)
    assert not absence.too_long(11.5 + 2 * GONE_SECONDS, there=False, patience=2 * GONE_SECONDS)
