"""Batches that are cut when they are asked for: every text once, each with the budget that a tuner gives it by then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjaccel.embedding.batches import Batch, Cutter, tuned
from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.tuner import Lesson, Tuner, bucket_of

once = settings(derandomize=True, deadline=None, max_examples=100)
LENGTHS = st.lists(st.integers(0, 300), max_size=120).map(lambda found: np.array(found, np.int64))


def taken(lengths: np.ndarray, most: int | None, tuner: Tuner) -> list[Batch]:
    """All batches, each of which takes as long as it is large, so that the tuner has reason to try others."""
    batches = []
    for batch in tuned(lengths, most, tuner):
        if batch.lesson is not None:
            tuner.learn(batch.lesson, int(lengths[batch.places].sum()) + 1, 0.01 + len(batch.places) ** 2)
        batches.append(batch)
    return batches


@once
@given(LENGTHS, st.none() | st.integers(1, 9), st.integers(16, 2000))
def test_every_text_is_in_exactly_one_batch_the_longest_first(
    lengths: np.ndarray, most: int | None, usual: int
) -> None:
    batches = taken(lengths, most, Tuner(usual))
    order = [int(i) for batch in batches for i in batch.places]
    assert order == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    assert all(len(batch.places) for batch in batches)
    assert most is None or all(len(batch.places) <= most for batch in batches)


@once
@given(LENGTHS, st.integers(16, 2000))
def test_each_keeps_to_its_own_budget_and_the_last_one_tells_nothing(lengths: np.ndarray, usual: int) -> None:
    batches = taken(lengths, None, Tuner(usual))
    for batch in batches[:-1]:
        assert batch.lesson is not None
        longest = int(lengths[batch.places].max())
        assert batch.lesson.bucket == bucket_of(longest)
        assert len(batch.places) == 1 or longest * len(batch.places) <= batch.lesson.budget
    assert not batches or batches[-1].lesson is None


@pytest.mark.parametrize("most", [None, 20])
def test_with_one_budget_throughout_they_are_those_of_the_plan_but_for_where_it_is_cut(most: int | None) -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    tuner = Tuner(1024)
    found = [batch.places for batch in tuned(lengths, most, tuner)]  # nothing is learned, so nothing else is tried
    whole = plan(lengths, 1024, most, batch_cost(1024))
    assert len(found) <= 1.05 * len(whole)

    def cost(batches: list[np.ndarray]) -> int:
        return sum(int(lengths[batch].max()) * len(batch) + batch_cost(1024) for batch in batches)

    assert cost(found) <= 1.01 * cost(whole)


def test_what_has_become_known_meanwhile_counts_for_the_next_batch() -> None:
    lengths, tuner = np.full(1000, 10, np.int64), Tuner(160)
    batches = tuned(lengths, None, tuner)
    assert len(next(batches).places) == 16
    tuner.ran_out(160)
    assert len(next(batches).places) == 8


def test_a_slow_device_that_takes_some_in_between_leaves_the_plan_of_a_fast_one_as_it_was() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 4000)
    plans = Cutter(lengths, None), Cutter(lengths, None)
    plans[1].take(64)
    alone, after = (cutter.take(16384) for cutter in plans)
    second = [cutter.take(16384) for cutter in plans]
    assert 0 < len(alone) - len(after) <= 64 // 3
    np.testing.assert_array_equal(*second)


def test_every_text_is_taken_once_by_devices_in_turn_and_what_one_gives_back_again() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 3000)
    cutter, rng, taken = Cutter(lengths, 40), np.random.default_rng(1), []
    while len(cutter):
        left, tokens, budget = len(cutter), cutter.tokens, int(rng.choice([64, 512, 4096]))
        longest = cutter.longest
        places = cutter.take(budget)
        assert lengths[places].max() == longest
        assert len(places) == 1 or (longest * len(places) <= budget and len(places) <= 40)
        assert (left - len(cutter), tokens - cutter.tokens) == (len(places), lengths[places].sum())
        if rng.random() < 0.1:
            cutter.give_back(places)
        else:
            taken.append(places)
    assert sorted(np.concatenate(taken).tolist()) == list(range(3000))


def test_a_batch_of_a_plan_tells_nothing() -> None:
    assert Batch(np.arange(3)).lesson is None
    assert Lesson(64, 1024) == (64, 1024)
