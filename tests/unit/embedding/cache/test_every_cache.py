"""What every kind of cache promises: what was put under a key comes back under that key, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import pytest

from vjaccel.embedding.cache import Cache, rows_of

Vectors = Callable[..., np.ndarray]


def keys(count: int, of: str = "") -> list[bytes]:
    return [blake2b(f"{of} {i}".encode(), digest_size=16).digest() for i in range(count)]


def test_what_was_put_comes_back_bit_by_bit(cache: Cache, vectors: Vectors) -> None:
    put = vectors(3000, 24)
    put[5] = [np.nan, np.inf, -0.0, *put[5, 3:]]
    cache.put(keys(3000), put)
    assert [bytes(found) for found in cache.get(keys(3000)) if found is not None] == [row.tobytes() for row in put]
    assert len(cache) == 3000


def test_an_empty_cache_finds_nothing(cache: Cache) -> None:
    assert cache.get(keys(3)) == [None, None, None]
    assert cache.get([]) == []
    assert len(cache) == 0


def test_nothing_can_be_put(cache: Cache, vectors: Vectors) -> None:
    cache.put([], vectors(0))
    cache.put([], np.empty((0, 0), np.float32))
    assert len(cache) == 0


@pytest.mark.parametrize("seed", range(4))
def test_hits_and_misses_in_any_order_each_get_their_own(cache: Cache, vectors: Vectors, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names, put = keys(2000), vectors(2000)
    there = rng.permutation(2000)[:700]
    cache.put([names[i] for i in there], put[there])
    asked = rng.integers(0, 2000, 5000)
    known = set(there.tolist())
    for i, found in zip(asked.tolist(), cache.get([names[i] for i in asked]), strict=True):
        assert (None if found is None else bytes(found)) == (put[i].tobytes() if i in known else None)


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 384, 3072, 20_000])
def test_a_vector_may_have_any_width(cache: Cache, vectors: Vectors, dim: int) -> None:
    put = vectors(5, dim)
    cache.put(keys(5), put)
    hits, rows = rows_of(cache.get(keys(6)), dim)
    assert hits.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rows, put)


def test_vectors_of_several_widths_are_found_together(cache: Cache, vectors: Vectors) -> None:
    wide, narrow = vectors(100, 16), vectors(100, 3)
    cache.put(keys(100, "wide"), wide)
    cache.put(keys(100, "narrow"), narrow)
    both = [key for pair in zip(keys(100, "wide"), keys(100, "narrow"), strict=True) for key in pair]
    found = cache.get(both)
    np.testing.assert_array_equal(rows_of(found[::2], 16)[1], wide)
    np.testing.assert_array_equal(rows_of(found[1::2], 3)[1], narrow)
    assert rows_of(found, 3)[0].tolist() == list(range(1, 200, 2))


def test_what_is_put_again_is_replaced(cache: Cache, vectors: Vectors) -> None:
    first, second = vectors(50), vectors(50, seed=1)
    cache.put(keys(50), first)
    cache.put(keys(50)[10:20], second[10:20])
    expected = first.copy()
    expected[10:20] = second[10:20]
    np.testing.assert_array_equal(rows_of(cache.get(keys(50)), 8)[1], expected)
    assert len(cache) == 50


def test_of_equal_keys_in_one_batch_the_last_counts(cache: Cache, vectors: Vectors) -> None:
    one = keys(1) * 3
    cache.put(one, vectors(3))
    found = cache.get(one)
    assert [None if x is None else bytes(x) for x in found] == [vectors(3)[2].tobytes()] * 3
    assert len(cache) == 1


def test_a_key_may_be_asked_for_twice_beside_its_neighbours(cache: Cache, vectors: Vectors) -> None:
    names, put = keys(10), vectors(10)
    cache.put(names, put)
    for asked in ([3, 3, 5], [3, 3], [5, 4, 4], [0, 1, 1, 3]):
        np.testing.assert_array_equal(rows_of(cache.get([names[i] for i in asked]), 8)[1], put[asked])


@pytest.mark.parametrize(
    "make", [lambda x: x[::2], lambda x: x.T.copy().T, lambda x: x[:, ::-1], lambda x: x.astype(">f4")]
)
def test_vectors_may_lie_in_memory_as_they_like(
    cache: Cache, vectors: Vectors, make: Callable[[np.ndarray], np.ndarray]
) -> None:
    put = make(vectors(40))
    cache.put(keys(len(put)), put)
    np.testing.assert_array_equal(rows_of(cache.get(keys(len(put))), 8)[1], put)


def test_what_comes_back_stays_as_it_was_when_the_cache_goes_on(cache: Cache, vectors: Vectors) -> None:
    put = vectors(200)
    cache.put(keys(200), put)
    found = cache.get(keys(200))
    put_before = put.copy()
    put[:] = 0
    cache.put(keys(200), vectors(200, seed=1))
    cache.close()
    np.testing.assert_array_equal(rows_of(found, 8)[1], put_before)


@pytest.mark.parametrize(
    ("names", "shape", "says"),
    [
        ([b"short"], (1, 4), "a key has 16 bytes"),
        (keys(2), (1, 4), r"2 keys need vectors of shape \(2, dim\)"),
        (keys(1), (4,), "1 keys need vectors"),
        (keys(1), (1, 0), "1 keys need vectors"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    cache: Cache, names: list[bytes], shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        cache.put(names, np.zeros(shape, np.float32))


def test_several_threads_may_put_and_get_at_once(cache: Cache, vectors: Vectors) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                names, put = keys(60, f"{number} {turn}"), vectors(60, seed=number * 100 + turn)
                cache.put(names, put)
                if not np.array_equal(rows_of(cache.get(names), 8)[1], put):
                    wrong.append((number, turn))
        except BaseException as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) == 6 * 8 * 60


def test_closing_twice_is_fine(cache: Cache) -> None:
    cache.close()
    cache.close()
