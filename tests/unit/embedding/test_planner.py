"""Plans of batches: every text once, no batch over its budget, little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjaccel.embedding.planner import padding_share, plan

COSTS = st.none() | st.integers(0, 200)
LENGTHS = st.lists(st.integers(0, 300), max_size=60).map(lambda found: np.array(found, np.int64))
once = settings(derandomize=True, deadline=None, max_examples=150)


@once
@given(LENGTHS, st.integers(1, 1000), st.none() | st.integers(1, 9), COSTS)
def test_every_text_is_in_exactly_one_batch(
    lengths: np.ndarray, batch_tokens: int, most: int | None, batch_cost: int | None
) -> None:
    batches = plan(lengths, batch_tokens, most, batch_cost)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)


@once
@given(LENGTHS, st.integers(1, 1000), st.none() | st.integers(1, 9), COSTS)
def test_a_padded_batch_keeps_to_its_budget_unless_it_is_one_text(
    lengths: np.ndarray, batch_tokens: int, most: int | None, batch_cost: int | None
) -> None:
    for batch in plan(lengths, batch_tokens, most, batch_cost):
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= batch_tokens
        assert most is None or len(batch) <= most


@once
@given(LENGTHS, st.integers(1, 1000), COSTS)
def test_the_longest_come_first_and_equal_lengths_keep_their_order(
    lengths: np.ndarray, batch_tokens: int, batch_cost: int | None
) -> None:
    order = [int(i) for batch in plan(lengths, batch_tokens, None, batch_cost) for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


@once
@given(LENGTHS, st.integers(1, 1000))
def test_the_padding_share_is_that_of_the_padded_rectangle(lengths: np.ndarray, batch_tokens: int) -> None:
    batches = plan(lengths, batch_tokens)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    share = padding_share(lengths, batches)
    assert 0 <= share < 1
    assert round((1 - share) * padded) == (lengths.sum() if padded else 0)


def _cost(lengths: np.ndarray, batches: list[np.ndarray], batch_cost: int) -> int:
    return sum(int(max(lengths[batch].max(), 1)) * len(batch) + batch_cost for batch in batches)


@once
@given(st.lists(st.integers(0, 40), min_size=1, max_size=9).map(np.array), st.integers(1, 120), st.integers(0, 60))
def test_batches_that_have_a_cost_are_cut_where_no_other_cuts_cost_less(
    lengths: np.ndarray, batch_tokens: int, batch_cost: int
) -> None:
    found = _cost(lengths, plan(lengths, batch_tokens, None, batch_cost), batch_cost)
    order = np.argsort(-lengths, kind="stable")
    costs = []
    for cuts in range(2 ** (len(order) - 1)):
        batches = np.split(order, [i + 1 for i in range(len(order) - 1) if cuts >> i & 1])
        if all(len(batch) == 1 or max(lengths[batch].max(), 1) * len(batch) <= batch_tokens for batch in batches):
            costs.append(_cost(lengths, batches, batch_cost))
    assert found == min(costs)


@once
@given(LENGTHS, st.integers(1, 1000), st.integers(0, 200))
def test_a_cost_of_batches_never_brings_more_padding(lengths: np.ndarray, batch_tokens: int, batch_cost: int) -> None:
    full = plan(lengths, batch_tokens)
    cut = plan(lengths, batch_tokens, None, batch_cost)
    assert padding_share(lengths, cut) <= padding_share(lengths, full)


@pytest.mark.parametrize("batch_tokens", [1, 1024])
@pytest.mark.parametrize("batch_cost", [None, 32])
def test_no_texts_need_no_batches(batch_tokens: int, batch_cost: int | None) -> None:
    assert plan(np.empty(0, np.int64), batch_tokens, None, batch_cost) == []
    assert padding_share(np.empty(0, np.int64), []) == 0
