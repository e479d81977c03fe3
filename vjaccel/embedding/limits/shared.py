"""Requests and tokens per minute of one key, for all processes and machines that name the same Redis.

What is counted and for how long is as in `rates`; the log is in Redis, by its clock, and each change is one step there.
A process that dies leaves its requests counted until they would have timed out, and a minute more.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from vjaccel.embedding.limits.rates import MINUTE, Rates, RatesPerMinute, Use
from vjaccel.errors import InvalidInput, MissingExtra

__all__ = ["SharedRates", "shared_rates_of"]

PREFIX = "vjaccel:v1:rates:"

PATIENCE = 2.0
"""Seconds that a connection or an answer may take."""

REST = 5.0
"""Seconds for which a Redis that failed is left alone."""

MEMBER = 2 * MINUTE
"""Seconds after which a process that has asked for nothing has no share in the limit."""

BEGIN = """
local uses, tokens, sum, paused, members = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
for _, id in ipairs(redis.call('ZRANGEBYSCORE', uses, '-inf', now)) do
  redis.call('DECRBY', sum, redis.call('HGET', tokens, id) or 0)
  redis.call('HDEL', tokens, id)
  redis.call('ZREM', uses, id)
end
redis.call('ZREMRANGEBYSCORE', members, '-inf', now)
redis.call('ZADD', members, now + ARGV[6], ARGV[5])
local others = redis.call('ZCARD', members)
local most_requests, most_tokens, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function fits(requests, used)
  return (most_requests == 0 or requests + 1 <= most_requests) and (most_tokens == 0 or used + wanted <= most_tokens)
end
local wait = tonumber(redis.call('GET', paused) or 0) - now
local requests, used = redis.call('ZCARD', uses), tonumber(redis.call('GET', sum) or 0)
if wait <= 0 and fits(requests, used) then
  redis.call('ZADD', uses, now + ARGV[7], ARGV[4])
  redis.call('HSET', tokens, ARGV[4], wanted)
  redis.call('INCRBY', sum, wanted)
  for _, key in ipairs({uses, tokens, sum, members}) do redis.call('EXPIRE', key, math.ceil(ARGV[7]) + 60) end
  return {'0', others}
end
if wait <= 0 then
  wait = 60
  -- Whoever waits is mostly let in by the first of them, and there may be thousands: a few at a time.
  local first, log, found = 0, nil, false
  repeat
    log = redis.call('ZRANGE', uses, first, first + 15, 'WITHSCORES')
    for i = 1, #log, 2 do
      requests, used = requests - 1, used - tonumber(redis.call('HGET', tokens, log[i]) or 0)
      if fits(requests, used) then
        wait, found = log[i + 1] - now, true
        break
      end
    end
    first = first + 16
  until found or #log == 0
end
return {tostring(math.max(wait, 0.001)), others}
"""

END = """
local uses, tokens, sum = unpack(KEYS)
if not redis.call('ZSCORE', uses, ARGV[1]) then return end
local time = redis.call('TIME')
redis.call('ZADD', uses, time[1] + time[2] / 1e6 + 60, ARGV[1])
if ARGV[2] ~= '' then
  redis.call('INCRBY', sum, ARGV[2] - (redis.call('HGET', tokens, ARGV[1]) or 0))
  redis.call('HSET', tokens, ARGV[1], ARGV[2])
end
"""

PAUSE = """
local time = redis.call('TIME')
local till = time[1] + time[2] / 1e6 + ARGV[1]
if till > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], string.format('%.3f', till), 'EX', math.ceil(ARGV[1]) + 1)
end
"""

logger = logging.getLogger("vjaccel.embedding")


class _Counted(Use):
    """A use that Redis knows by `id`."""

    __slots__ = ("id",)

    def __init__(self, tokens: int, ended: float | None, id: str) -> None:
        super().__init__(tokens, ended)
        self.id = id


class SharedRates(Rates):
    """One log for all that name the same Redis and `name`.

    While Redis is away, each process keeps to its share: the limit divided by the processes that were last seen to use it.
    That is said once, and Redis is tried again every few seconds.

    Parameters
    ----------
    url : str
        ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS.
    name : str
        What the limit is of; no secret.
    longest : float
        Seconds that one request may take.

    Raises
    ------
    InvalidInput
        The address is none.
    MissingExtra
    """

    def __init__(
        self, url: str, name: str, *, longest: float = MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        try:
            import redis
        except ImportError as exc:
            raise MissingExtra("limits that are shared through Redis", "redis") from exc
        try:
            client = redis.Redis.from_url(
                url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, decode_responses=True
            )
        except ValueError:
            # Neither the address nor what was raised from it: both may have the password.
            raise InvalidInput(
                "limits are shared through redis://[user:password@]host[:port][/database]; this is not"
            ) from None
        told = client.connection_pool.connection_kwargs
        self._where = f"redis://{told.get('host', 'localhost')}:{told.get('port', 6379)}/{told.get('db', 0)}"
        self._failures = redis.RedisError
        keys = [f"{PREFIX}{{{name}}}:{part}" for part in ("uses", "tokens", "sum", "paused", "members")]
        self._begin, self._end, self._pause = (client.register_script(script) for script in (BEGIN, END, PAUSE))
        self._keys = keys
        self._me = uuid4().hex
        self._longest = longest
        self._members = 1
        self._rests_until: float | None = None
        self._away = threading.Lock()
        # One after the other, so that a use ends after it began, and nobody waits for it.
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="vjaccel-limits")

    async def _asked(self, tokens: int, limits: RatesPerMinute) -> Use | float:
        use = _Counted(tokens, None, uuid4().hex)
        asked: list[str | float] = [
            limits.requests or 0,
            limits.tokens or 0,
            tokens,
            use.id,
            self._me,
            MEMBER,
            self._longest + MINUTE,
        ]
        found = await asyncio.to_thread(self._trying, lambda: self._begin(self._keys, asked))
        if found is None:
            return await super()._asked(tokens, self._share(limits, tokens))
        wait, self._members = float(found[0]), max(1, int(found[1]))
        if wait > 0:
            return wait
        with self._lock:
            self._uses.begun(use)
        return use

    def ended(self, use: Use, tokens: int | None) -> None:
        """See `Rates.ended`."""
        super().ended(use, tokens)
        if isinstance(use, _Counted):
            told = "" if tokens is None else str(tokens)
            self._telling.submit(self._trying, lambda: self._end(self._keys[:3], [use.id, told]))

    def pause(self, seconds: float) -> None:
        """See `Rates.pause`; it holds for all."""
        super().pause(seconds)
        self._telling.submit(self._trying, lambda: self._pause([self._keys[3]], [seconds]))

    def _share(self, limits: RatesPerMinute, tokens: int) -> RatesPerMinute:
        requests, most = (None if x is None else max(1, x // self._members) for x in limits)
        # A request that is larger than the share would never be sent.
        return RatesPerMinute(requests, None if most is None else max(most, tokens))

    def _trying(self, call: Callable[[], Any]) -> Any:
        """What Redis answers; None where it is away."""
        with self._away:
            if self._rests_until is not None and self._clock() < self._rests_until:
                return None
        try:
            found = call()
        except self._failures as exc:
            with self._away:
                first, self._rests_until = self._rests_until is None, self._clock() + REST
            if first:
                logger.warning(
                    "%s is away (%s): this process keeps to its share of the limits, one of %d, until it is back",
                    self._where, type(exc).__name__, self._members,
                )  # fmt: skip
            return None
        with self._away:
            back, self._rests_until = self._rests_until is not None, None
        if back:
            logger.warning("%s is back: the limits are shared again", self._where)
        return True if found is None else found


_known: dict[tuple[str, str], SharedRates] = {}
_lock = threading.Lock()


def shared_rates_of(url: str, provider: str, endpoint: str, key_digest: str, longest: float) -> SharedRates:
    """The process' one part in the log of what is sent to a service with a key; neither the key nor its digest is in Redis."""
    name = hashlib.sha256("\n".join((provider, endpoint, key_digest)).encode()).hexdigest()[:32]
    with _lock:
        if (url, name) not in _known:
            _known[url, name] = SharedRates(url, name, longest=longest)
        return _known[url, name]
