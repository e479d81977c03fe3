"""The cache in memory: bounded in bytes, and what was not asked for longest goes first."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding.cache import Cache, open_cache

Vectors = Callable[..., np.ndarray]


def keys(count: int) -> list[bytes]:
    return [blake2b(b"%d" % i, digest_size=16).digest() for i in range(count)]


def memory(max_bytes: int) -> Cache:
    cache = open_cache("memory", max_bytes=max_bytes)
    assert cache is not None
    return cache


def there(cache: Cache, names: list[bytes]) -> list[int]:
    return [i for i, name in enumerate(names) if cache.get([name]) != [None]]


def test_it_takes_no_more_than_its_bound(vectors: Vectors) -> None:
    cache = memory(100_000)
    for start in range(0, 1000, 50):
        cache.put(keys(1000)[start : start + 50], vectors(50, 96))
        assert (cache.bytes_used or 0) <= 100_000
    assert 100 < len(cache) < 200


@pytest.mark.parametrize("dim", [8, 384])
def test_the_bound_is_of_memory_really_taken(vectors: Vectors, dim: int) -> None:
    bound, count = 4 << 20, 2000
    put = vectors(count, dim)
    cache = memory(bound)
    tracemalloc.start()
    try:
        for turn in range(15):
            cache.put([bytes([turn]) + key[1:] for key in keys(count)], put)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert bound / 2 < taken < bound * 1.02


def test_what_was_not_asked_for_longest_goes_first(vectors: Vectors) -> None:
    names = keys(6)
    cache = memory(4 * (4 * 8 + 300))
    cache.put(names[:4], vectors(4))
    cache.get([names[1], names[0]])
    cache.put([names[2]], vectors(1))
    cache.put(names[4:6], vectors(2))
    assert there(cache, names) == [0, 2, 4, 5]


def test_a_vector_that_is_larger_than_the_bound_is_not_kept(vectors: Vectors) -> None:
    cache = memory(1000)
    cache.put(keys(1), vectors(1, 1000))
    assert (len(cache), cache.bytes_used) == (0, 0)


def test_replacing_counts_once(vectors: Vectors) -> None:
    cache = memory(100_000)
    cache.put(keys(10), vectors(10))
    used = cache.bytes_used
    cache.put(keys(10), vectors(10, seed=1))
    assert cache.bytes_used == used


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="max_bytes must be at least 1, not 0"):
        open_cache("memory", max_bytes=0)
