"""The cache in a Redis: shared, bounded in what it asks at once, and never the reason why a run fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import redis

import vjaccel as vj
from tests.unit.embedding.cache.conftest import RedisServer, redis_server
from vjaccel.embedding.cache import CacheWarning, open_cache, rows_of
from vjaccel.embedding.cache.redis import REST, RedisCache

Vectors = Callable[..., np.ndarray]


def keys(count: int) -> list[bytes]:
    return [blake2b(b"%d" % i, digest_size=16).digest() for i in range(count)]


@pytest.fixture
def client(shared_redis: RedisServer) -> redis.Redis:
    client = redis.Redis(port=shared_redis.port)
    client.flushall()
    return client


class Clock:
    """Goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_another_who_names_the_same_redis_finds_what_was_put(
    shared_redis: RedisServer, client: redis.Redis, vectors: Vectors
) -> None:
    first, second = RedisCache(shared_redis.url), RedisCache(shared_redis.url)
    first.put(keys(2500), vectors(2500))
    np.testing.assert_array_equal(rows_of(second.get(keys(2500)), 8)[1], vectors(2500))
    for cache in (first, second):
        cache.close()
    client.close()


def test_its_keys_have_a_prefix_and_no_end_and_others_are_left_alone(
    shared_redis: RedisServer, client: redis.Redis, vectors: Vectors
) -> None:
    client.set("mine", "kept")
    cache = RedisCache(shared_redis.url)
    cache.put(keys(3), vectors(3))
    assert sorted(client.keys()) == sorted([b"mine", *(b"vjaccel:v1:" + key for key in keys(3))])
    assert client.ttl(b"vjaccel:v1:" + keys(1)[0]) == -1
    assert len(cache) == 3
    assert cache.bytes_used is None
    cache.close()
    client.close()


@pytest.mark.parametrize(
    "spoil", [lambda x: x[:-1], lambda x: x[:10] + bytes([x[10] ^ 1]) + x[11:], lambda x: b"", lambda x: b"ab"]
)
def test_a_value_that_is_not_as_it_was_put_is_a_miss(
    shared_redis: RedisServer, client: redis.Redis, vectors: Vectors, spoil: Callable[[bytes], bytes]
) -> None:
    cache = RedisCache(shared_redis.url)
    cache.put(keys(3), vectors(3))
    name = b"vjaccel:v1:" + keys(3)[1]
    client.set(name, spoil(client.get(name)))
    assert [x is None for x in cache.get(keys(3))] == [False, True, False]
    client.set(name, client.get(b"vjaccel:v1:" + keys(3)[0]))
    assert cache.get(keys(3))[1] is None
    cache.close()
    client.close()


def test_a_value_of_another_kind_is_one_warning(
    shared_redis: RedisServer, client: redis.Redis, vectors: Vectors
) -> None:
    client.lpush(b"vjaccel:v1:" + keys(1)[0], "a list")
    cache = RedisCache(shared_redis.url)
    assert cache.get(keys(1)) == [None]
    cache.close()
    client.close()


def test_a_redis_that_goes_away_is_one_warning_and_the_run_goes_on(tmp_path: Path, vectors: Vectors) -> None:
    clock = Clock()
    with redis_server(tmp_path) as server:
        cache = RedisCache(server.url, clock)
        cache.put(keys(10), vectors(10))
        server.stop()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                assert cache.get(keys(10)) == [None] * 10
                cache.put(keys(10), vectors(10))
                clock.now += 2 * REST
            assert len(cache) == 0
        assert [w.category for w in caught] == [CacheWarning]
        assert f"the cache redis://127.0.0.1:{server.port}/0 cannot be used, and the run goes on without" in str(
            caught[0].message
        )
        server.start()
        assert cache.get(keys(10)) == [None] * 10
        cache.put(keys(10), vectors(10))
        assert len(cache) == 0
        clock.now += 2 * REST
        cache.put(keys(10), vectors(10))
        np.testing.assert_array_equal(rows_of(cache.get(keys(10)), 8)[1], vectors(10))
        cache.close()


def test_a_redis_that_is_not_there_is_said_at_once(tmp_path: Path, vectors: Vectors) -> None:
    server = RedisServer(tmp_path)
    with pytest.warns(CacheWarning, match="cannot be used") as caught:
        cache = open_cache(server.url)
    assert len(caught) == 1
    assert cache is not None
    assert cache.get(keys(2)) == [None, None]
    cache.put(keys(2), vectors(2))
    cache.close()


def test_a_redis_that_is_full_is_one_warning(tmp_path: Path, vectors: Vectors) -> None:
    with redis_server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        cache = RedisCache(server.url)
        with pytest.warns(CacheWarning, match="OOM|maxmemory") as caught:
            cache.put(keys(4000), vectors(4000, 384))
        assert len(caught) == 1
        cache.close()


@pytest.mark.parametrize("given", ["secret-wrong", "secret"])
def test_a_password_is_used_and_never_shown(tmp_path: Path, vectors: Vectors, given: str) -> None:
    with redis_server(tmp_path, "--requirepass", "secret") as server:
        url = f"redis://:{given}@127.0.0.1:{server.port}/0"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cache = open_cache(url)
        assert cache is not None
        cache.put(keys(1), vectors(1))
        assert (cache.get(keys(1)) == [None]) == (given != "secret")
        assert len(caught) == (given != "secret")
        assert not any("secret" in str(w.message) for w in caught)
        assert "secret" not in repr(cache) + repr(vars(cache))
        cache.close()


@pytest.mark.parametrize(
    "url", ["redis://:secret@host:port/0", "redis://:secret@host:99999999/x", "redis://u:secret@[::1/0"]
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(vj.InvalidInput, match="a cache in Redis is redis://") as caught:
        open_cache(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_two_who_name_one_redis_share_it(shared_redis: RedisServer, client: redis.Redis, vectors: Vectors) -> None:
    first, second = open_cache(shared_redis.url), open_cache(shared_redis.url)
    assert first is not None
    assert second is not None
    first.close()
    second.put(keys(1), vectors(1))
    assert len(second) == 1
    second.close()
    client.close()
