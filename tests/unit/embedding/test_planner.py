"""Plans of batches: every text once, no batch over its budget, little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vjaccel.embedding.planner import padding_share, plan

LENGTHS = st.lists(st.integers(0, 300), max_size=60).map(lambda found: np.array(found, np.int64))
once = settings(derandomize=True, deadline=None, max_examples=150)


@once
@given(LENGTHS, st.integers(1, 1000), st.none() | st.integers(1, 9))
def test_every_text_is_in_exactly_one_batch(lengths: np.ndarray, batch_tokens: int, most: int | None) -> None:
    batches = plan(lengths, batch_tokens, most)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)


@once
@given(LENGTHS, st.integers(1, 1000), st.none() | st.integers(1, 9))
def test_a_padded_batch_keeps_to_its_budget_unless_it_is_one_text(
    lengths: np.ndarray, batch_tokens: int, most: int | None
) -> None:
    for batch in plan(lengths, batch_tokens, most):
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= batch_tokens
        assert most is None or len(batch) <= most


@once
@given(LENGTHS, st.integers(1, 1000))
def test_the_longest_come_first_and_equal_lengths_keep_their_order(lengths: np.ndarray, batch_tokens: int) -> None:
    order = [int(i) for batch in plan(lengths, batch_tokens) for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


@once
@given(LENGTHS, st.integers(1, 1000))
def test_the_padding_share_is_that_of_the_padded_rectangle(lengths: np.ndarray, batch_tokens: int) -> None:
    batches = plan(lengths, batch_tokens)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    share = padding_share(lengths, batches)
    assert 0 <= share < 1
    assert round((1 - share) * padded) == (lengths.sum() if padded else 0)


@pytest.mark.parametrize("batch_tokens", [1, 1024])
def test_no_texts_need_no_batches(batch_tokens: int) -> None:
    assert plan(np.empty(0, np.int64), batch_tokens) == []
    assert padding_share(np.empty(0, np.int64), []) == 0
