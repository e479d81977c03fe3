"""A cache in a Redis that many machines share."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vjaccel.embedding.cache.protocol import Once, checked
from vjaccel.errors import InvalidInput

__all__ = ["PREFIX", "RedisCache"]

PREFIX = b"vjaccel:v1:"
"""Of all its keys, so that a database can be shared; the number is the form's."""
KEYS = 1000
"""What one request asks for; while it answers one, a Redis serves nobody else."""
BATCH_BYTES = 4 * 1024 * 1024
"""What one request writes."""
PATIENCE = 5.0
"""Seconds that a connection or an answer may take."""
REST = 30.0
"""Seconds for which a Redis that failed is left alone."""
CHECK_BYTES = 4


class RedisCache:
    """Keeps vectors in a Redis, under keys that begin with `PREFIX`. What it forgets, and when, is that Redis' own policy.

    One that fails is left alone for a while, and is a cache that finds nothing and keeps nothing; it is tried again later.

    Parameters
    ----------
    url : str
        ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS.
    clock : callable
        Seconds, from any start.

    Raises
    ------
    InvalidInput
        The address is none.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            # Once more at once, for a connection that was idle too long; for anything else there is `REST`.
            self._client = redis.Redis.from_url(
                url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 1)
            )
        except ValueError:
            # Neither the address nor what was raised from it: both may have the password.
            raise InvalidInput(
                "a cache in Redis is redis://[user:password@]host[:port][/database]; this is not"
            ) from None
        told = self._client.connection_pool.connection_kwargs
        self._place = f"redis://{told.get('host', 'localhost')}:{told.get('port', 6379)}/{told.get('db', 0)}"
        self._clock = clock
        self._said = Once()
        self._rests_until: float | None = None
        self._trying(self._client.ping)

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        """See `Cache.get`."""
        found: list[bytes | memoryview | None] = []
        for start in range(0, len(keys), KEYS):
            some = keys[start : start + KEYS]
            values = self._trying(partial(self._client.mget, [PREFIX + key for key in some]))
            found += [None] * len(some) if values is None else list(map(_opened, some, values))
        return found

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `Cache.put`."""
        rows = checked(keys, vectors)
        size = max(1, min(KEYS, BATCH_BYTES // max(1, rows.strides[0])))
        for start in range(0, len(keys), size):
            some = zip(keys[start : start + size], rows[start : start + size], strict=True)
            pipeline = self._client.pipeline(transaction=False)
            for key, row in some:
                pipeline.set(PREFIX + key, _sealed(key, row.tobytes()))
            if self._trying(pipeline.execute) is None:
                return

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __len__(self) -> int:
        """How many vectors there are. Redis counts them one by one."""
        return self._trying(lambda: sum(1 for _ in self._keys())) or 0

    @property
    def bytes_used(self) -> None:
        """Nobody knows: Redis counts what all its users have together."""
        return None

    def _keys(self) -> Iterator[bytes]:
        return self._client.scan_iter(match=PREFIX + b"*", count=KEYS)

    def _trying(self, call: Callable[[], Any]) -> Any:
        """What `call` gives, or None where Redis is not to be had."""
        if self._rests_until is not None and self._clock() < self._rests_until:
            return None
        try:
            given = call()
        except (redis.RedisError, OSError) as exc:
            self._rests_until = self._clock() + REST
            self._said.warn(
                f"the cache {self._place} cannot be used, and the run goes on without: {type(exc).__name__}: {exc}"
            )
            return None
        self._rests_until = None
        return given


def _sealed(key: bytes, vector: bytes) -> bytes:
    """A value: a checksum of key and vector, and the vector."""
    return zlib.crc32(vector, zlib.crc32(key)).to_bytes(CHECK_BYTES, "little") + vector


def _opened(key: bytes, value: bytes | None) -> memoryview | None:
    if value is None:
        return None
    vector = memoryview(value)[CHECK_BYTES:]
    return (
        vector if zlib.crc32(vector, zlib.crc32(key)).to_bytes(CHECK_BYTES, "little") == value[:CHECK_BYTES] else None
    )
