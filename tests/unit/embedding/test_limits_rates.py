"""Requests and tokens per minute: no window of a minute has more of them, wherever in their flight the service counts them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.embedding.virtual_time import virtually
from vjaccel.embedding.limits import Rates, RatesPerMinute, Uses, rates_of
from vjaccel.embedding.limits.rates import MINUTE


class Sent(NamedTuple):
    """When the service counted a request, and for how many tokens."""

    at: float
    tokens: int


class Asked(NamedTuple):
    """A request: what it may cost, what it does, how long it takes, and at what part of that the service counts it."""

    bound: int
    real: int
    seconds: float
    counted_at: float
    start: float


asked = st.builds(
    lambda bound, share, seconds, at, start: Asked(bound, int(bound * share), seconds, at, start),
    st.integers(1, 100),
    st.floats(0, 1),
    st.floats(0.001, 90),
    st.floats(0, 1),
    st.floats(0, 150),
)


def counted(requests: list[Asked], limits: RatesPerMinute, told: bool) -> list[Sent]:
    """What a service has counted, when all of `requests` were sent as soon as `limits` allow."""
    seen: list[Sent] = []

    async def one(rates: Rates, clock: Callable[[], float], request: Asked) -> None:
        await asyncio.sleep(request.start)
        use = await rates.begun(request.bound, limits, asyncio.sleep)
        await asyncio.sleep(request.seconds * request.counted_at)
        seen.append(Sent(clock(), request.real if told else request.bound))
        await asyncio.sleep(request.seconds * (1 - request.counted_at))
        rates.ended(use, request.real if told else None)

    async def all_of_them(clock: Callable[[], float]) -> None:
        rates = Rates(clock)
        await asyncio.gather(*(one(rates, clock, request) for request in requests))

    virtually(all_of_them)
    return sorted(seen)


@settings(max_examples=60, deadline=None)
@given(st.lists(asked, min_size=1, max_size=25), st.integers(1, 6), st.integers(100, 300), st.booleans())
def test_no_window_of_a_minute_has_more_than_the_limits_by_the_services_own_clock(
    requests: list[Asked], most_requests: int, most_tokens: int, told: bool
) -> None:
    seen = counted(requests, RatesPerMinute(most_requests, most_tokens), told)
    assert len(seen) == len(requests)
    for first in seen:
        window = [sent for sent in seen if first.at <= sent.at < first.at + MINUTE - 1e-6]
        assert len(window) <= most_requests
        assert sum(sent.tokens for sent in window) <= most_tokens


def test_a_request_waits_until_a_minute_after_the_reply_that_is_in_its_way() -> None:
    uses, limits = Uses(), RatesPerMinute(requests=2)
    first, second = uses.begin(1), uses.begin(1)
    assert uses.wait(0.0, 1, limits) == MINUTE
    uses.end(first, 3.0, None)
    assert uses.wait(5.0, 1, limits) == 3.0 + MINUTE - 5.0
    assert uses.wait(3.0 + MINUTE, 1, limits) == 0.0
    uses.end(second, 64.0, None)
    uses.begin(1)
    assert uses.wait(65.0, 1, limits) == 64.0 + MINUTE - 65.0


def test_tokens_that_were_not_used_are_given_back() -> None:
    uses, limits = Uses(), RatesPerMinute(tokens=100)
    use = uses.begin(90)
    assert uses.wait(0.0, 50, limits) == MINUTE
    uses.end(use, 1.0, 20)
    assert uses.wait(1.0, 80, limits) == 0.0
    assert uses.wait(1.0, 81, limits) == MINUTE


def test_without_limits_nothing_waits() -> None:
    uses = Uses()
    for _ in range(1000):
        uses.begin(1 << 40)
    assert uses.wait(0.0, 1, RatesPerMinute()) == 0.0


def when_sent(script: Callable[[Rates, Callable[[], float]], Coroutine[Any, Any, list[float]]]) -> list[float]:
    return virtually(lambda clock: script(Rates(clock), clock))


def test_who_comes_first_is_served_first_though_it_asks_for_more() -> None:
    async def script(rates: Rates, clock: Callable[[], float]) -> list[float]:
        limits, times = RatesPerMinute(tokens=10), {}

        async def one(name: str, tokens: int) -> None:
            rates.ended(await rates.begun(tokens, limits, asyncio.sleep), None)
            times[name] = clock()

        await one("before", 5)
        await asyncio.gather(one("large", 9), one("small", 1), one("small too", 1))
        return [times[name] for name in ("before", "large", "small", "small too")]

    before, large, small, small_too = when_sent(script)
    assert before == 0.0
    assert MINUTE <= large < MINUTE + 1.1
    assert large <= small <= large + 0.1
    assert small_too > small + MINUTE - 0.1


def test_a_pause_that_the_service_asked_for_holds_for_all_that_use_the_key() -> None:
    async def script(rates: Rates, clock: Callable[[], float]) -> list[float]:
        rates.pause(30.0)
        rates.pause(7.0)
        await asyncio.gather(*(rates.begun(1, RatesPerMinute(), asyncio.sleep) for _ in range(3)))
        return [clock()]

    assert when_sent(script) == [pytest.approx(30.0, abs=0.1)]


def test_who_gives_up_leaves_its_place_in_the_queue() -> None:
    async def script(rates: Rates, clock: Callable[[], float]) -> list[float]:
        limits = RatesPerMinute(requests=1)
        rates.ended(await rates.begun(1, limits, asyncio.sleep), None)
        waiting = asyncio.create_task(rates.begun(1, limits, asyncio.sleep))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await rates.begun(1, limits, asyncio.sleep)
        return [clock()]

    assert when_sent(script) == [pytest.approx(MINUTE, abs=1.1)]


def test_several_threads_with_a_loop_each_share_one_limit() -> None:
    rates, begun = Rates(), []

    def sends() -> None:
        async def some() -> None:
            for _ in range(5):
                use = await asyncio.wait_for(rates.begun(1, RatesPerMinute(requests=12), asyncio.sleep), 0.2)
                begun.append(use)
                rates.ended(use, None)

        with suppress(TimeoutError):
            asyncio.run(some())

    threads = [threading.Thread(target=sends) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 12


def test_a_process_has_one_log_for_each_provider_place_and_key() -> None:
    assert rates_of("a", "http://x", "k1") is rates_of("a", "http://x", "k1")
    others = {
        id(rates_of(*key))
        for key in [("a", "http://x", "k1"), ("b", "http://x", "k1"), ("a", "", "k1"), ("a", "", "k2")]
    }
    assert len(others) == 4
