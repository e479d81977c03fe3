"""The circuit breaker: five failures in a row open it, one request asks whether the endpoint is back, and it says so."""

from __future__ import annotations

import logging

import pytest

from vjaccel.embedding.limits import Breaker, breaker_of
from vjaccel.embedding.limits.breaker import LONGEST, PROBED, TRIPS


def highest(low: float, high: float) -> float:
    return high


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker("it", highest)
    for _ in range(TRIPS):
        breaker.failed(at, "500")
    return breaker


def test_it_opens_after_so_many_failures_in_a_row_and_an_answer_starts_the_count_again() -> None:
    breaker = Breaker("it", highest)
    for _ in range(3):
        for _ in range(TRIPS - 1):
            breaker.failed(0.0, "500")
        breaker.answered()
    assert (breaker.state, breaker.wait(0.0)) == ("closed", 0.0)
    assert opened().state == "open"


def test_while_it_is_open_everybody_waits_and_then_one_asks() -> None:
    breaker = opened()
    assert breaker.wait(0.25) == 0.75
    assert breaker.state == "open"
    assert breaker.wait(1.0) == 0.0
    assert breaker.state == "half open"
    assert breaker.wait(1.0) == breaker.wait(50.0) == PROBED
    breaker.answered()
    assert (breaker.state, breaker.wait(50.0)) == ("closed", 0.0)


def test_each_probe_that_fails_doubles_the_time_up_to_the_longest() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(8):
        waits.append(breaker.wait(now))
        now += waits[-1]
        assert breaker.wait(now) == 0.0
        breaker.failed(now, "500")
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST, LONGEST, LONGEST]
    assert breaker.down(now) == now


def test_requests_that_were_under_way_when_it_opened_keep_it_open_no_longer() -> None:
    breaker = opened()
    for _ in range(20):
        breaker.failed(0.5, "500")
    assert breaker.wait(0.5) == 0.5


def test_a_probe_that_is_given_up_lets_another_ask() -> None:
    breaker = opened()
    assert breaker.wait(1.0) == 0.0
    breaker.abandoned()
    assert breaker.wait(1.0) == 0.0


def test_how_long_it_has_been_down_counts_from_the_first_failure() -> None:
    breaker = Breaker("it", highest)
    for at in range(TRIPS):
        breaker.failed(float(at), "500")
    assert breaker.down(10.0) == 10.0
    breaker.wait(10.0)
    breaker.answered()
    assert breaker.down(11.0) == 0.0


def test_that_it_is_down_and_that_it_is_back_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "vjaccel.embedding"):
        breaker = opened()
        breaker.wait(1.0)
        breaker.failed(1.0, "500")
        breaker.wait(9.0)
        breaker.answered()
        breaker.answered()
    assert caplog.messages == ["it is down (500): asking again once in a while", "it is back"]


def test_a_process_has_one_breaker_for_each_endpoint() -> None:
    assert breaker_of("a", "http://x") is breaker_of("a", "http://x")
    assert breaker_of("a", "http://x") is not breaker_of("a", "http://y")
