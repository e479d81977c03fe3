"""The plan of tiles: plain numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vjaccel_jax.shapes import bucket, power_of_two_below, tiles


@given(st.integers(0, 10**7), st.integers(0, 10))
def test_a_bucket_holds_its_rows_and_less_than_twice_as_many(rows: int, exponent: int) -> None:
    size = bucket(rows, 1 << exponent)
    assert max(rows, 1) <= size < 2 * max(rows, 1) or size <= 1 << exponent
    assert size & (size - 1) == 0 or size % (1 << exponent) == 0


@given(st.integers(1, 10**9))
def test_a_tile_is_the_largest_power_of_two_that_fits(number: int) -> None:
    found = power_of_two_below(number)
    assert found <= number < 2 * found


@given(st.integers(1, 2000), st.integers(1, 300))
def test_tiles_have_one_size_and_give_every_row_once(rows: int, size: int) -> None:
    size = min(size, rows)
    seen: list[int] = []
    for start, first in tiles(rows, size):
        assert 0 <= start <= first < start + size <= rows
        seen += range(first, start + size)
    assert seen == list(range(rows))


@pytest.mark.parametrize(("a", "b"), [(9, 16), (129, 200), (257, 512)])
def test_batches_of_nearly_one_size_share_a_bucket(a: int, b: int) -> None:
    assert bucket(a, 256) == bucket(b, 256)
