"""Requests under all their limits, in made-up time: what is tried again, how long, and what stops everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import vjaccel as vj
from tests.unit.embedding.virtual_time import virtually
from vjaccel.embedding import BatchFailed, Reply
from vjaccel.embedding.limits import Answer, BadReply, Breaker, Calls, Changed, Place, Rates, RatesPerMinute, Unfit
from vjaccel.telemetry import Attempts

Clock = Callable[[], float]

PLACE = Place("svc", "m", "http://x")

OK = Answer([[1.0]], 3)


class Refused(Exception):
    """An HTTP status as SDKs raise it."""

    def __init__(self, status: int, message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status_code = status
        self.headers = headers


class Service:
    """Answers with what it is told, one after the other, and the last for ever; each takes a second."""

    def __init__(self, *script: Answer | Exception, seconds: float = 1.0) -> None:
        self._script = list(script)
        self._seconds = seconds
        self.times: list[float] = []
        self.at_once = self.most = 0

    async def request(self, clock: Clock) -> Answer:
        self.times.append(clock())
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.at_once -= 1
        found = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(found, Exception):
            raise found
        return found


def highest(low: float, high: float) -> float:
    return high


def outcomes(
    service: Service,
    requests: int = 1,
    *,
    timeout: float = 60.0,
    most: int = 8,
    limits: RatesPerMinute = RatesPerMinute(),  # noqa: B008  # immutable
    tokens: int = 1,
    texts: int = 1,
    then: Callable[[Calls], None] | None = None,
) -> list[Reply | BaseException]:
    """What becomes of some requests that are made at once; `then` is called after ten seconds."""

    async def script(clock: Clock) -> list[Reply | BaseException]:
        calls = Calls(
            PLACE, Rates(clock), Breaker("it", highest), limits=limits, timeout=timeout, most=most, clock=clock,
            uniform=highest,
        )  # fmt: skip

        async def later() -> None:
            await asyncio.sleep(10.0)
            if then is not None:
                then(calls)

        made = [calls.made(lambda: service.request(clock), tokens, texts=texts) for _ in range(requests)]
        *found, _ = await asyncio.gather(*made, later(), return_exceptions=True)
        return found

    return virtually(script)


def one(service: Service, **options: Any) -> Reply:
    (found,) = outcomes(service, **options)
    if isinstance(found, BaseException):
        raise found
    return found


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_waits_double_between_attempts_that_may_help(status: int) -> None:
    service = Service(*[Refused(status)] * 4, OK)
    reply = one(service)
    assert (reply.retries, reply.waited, reply.tokens) == (4, 0.5 + 1 + 2 + 4, 3)
    assert service.times == [0.0, 1.5, 3.5, 6.5, 11.5]


def test_what_the_service_asks_for_is_waited_and_some_more_so_that_not_all_come_at_once() -> None:
    service = Service(Refused(429, **{"Retry-After": "10"}), OK)
    assert one(service).waited == 10.5
    assert service.times == [0.0, 11.5]


def test_while_one_is_asked_to_wait_all_do() -> None:
    service = Service(OK, Refused(429, **{"Retry-After": "20"}), OK)
    assert all(isinstance(found, Reply) for found in outcomes(service, 6, most=2))
    assert [time for time in service.times if 2.0 < time < 22.0] == []


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Refused(429), "RATE_LIMITED"),
        (Refused(500), "PROVIDER_UNAVAILABLE"),
        (ConnectionResetError(), "PROVIDER_UNAVAILABLE"),
        (TimeoutError(), "TIMEOUT"),
    ],
)
def test_all_attempts_together_take_no_longer_than_the_time_there_is(failure: Exception, code: str) -> None:
    service = Service(failure)
    with pytest.raises(BatchFailed) as raised:
        one(service, timeout=20.0)
    assert (raised.value.code, raised.value.then) == (code, "give up")
    assert raised.value.retries == len(service.times) - 1
    assert service.times[-1] <= 20.0


def test_an_attempt_that_hangs_is_left_after_half_the_time() -> None:
    service = Service(OK, seconds=1000.0)
    with pytest.raises(BatchFailed) as raised:
        one(service, timeout=20.0)
    assert raised.value.code == "TIMEOUT"
    assert service.times == [0.0, 10.5]


def test_a_last_attempt_that_was_cut_short_hides_no_reason() -> None:
    service = Service(Refused(500), seconds=3.0)
    with pytest.raises(BatchFailed) as raised:
        one(service, timeout=8.0)
    assert service.times == [0.0, 3.5, 7.5]
    assert raised.value.code == "PROVIDER_UNAVAILABLE"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_was_refused_is_sent_once_and_split(status: int) -> None:
    service = Service(Refused(status))
    with pytest.raises(BatchFailed) as raised:
        one(service)
    assert (raised.value.then, service.times) == ("split", [0.0])


def test_a_bad_reply_is_asked_for_once_more_and_its_tokens_are_counted() -> None:
    service = Service(OK, BadReply("3 texts were answered with 2 vectors", tokens=7))
    _, found = outcomes(service, 2)
    assert isinstance(found, BatchFailed)
    assert (found.code, found.then, found.tokens, len(service.times)) == ("INVALID_REPLY", "split", 14, 3)
    assert one(Service(BadReply("no", tokens=7), OK)).tokens == 10


@pytest.mark.parametrize("failure", [BadReply("no vectors"), json.JSONDecodeError("no", "<", 0)])
def test_what_has_never_answered_as_it_should_is_asked_twice_whoever_waits(failure: Exception) -> None:
    service = Service(failure)
    found = outcomes(service, 30)
    assert len(service.times) == 2
    assert all(isinstance(each, BatchFailed) and each.then == "stop" for each in found)
    assert all("svc at http://x" in str(each) and "--base-url" in str(each) for each in found)


def test_a_request_that_alone_makes_the_service_fail_is_taken_apart_and_holds_no_other_up() -> None:
    service = Service(*[Refused(500)] * 3, OK)
    with pytest.raises(BatchFailed) as raised:
        one(service, texts=2)
    assert (raised.value.code, raised.value.then) == ("PROVIDER_UNAVAILABLE", "apart")
    assert service.times == [0.0, 1.5, 3.5]
    assert one(Service(*[Refused(500)] * 3, OK)).retries == 3  # a text that nobody suspects


def test_when_no_part_of_a_request_is_answered_the_endpoint_is_down_after_all() -> None:
    service, thens = Service(Refused(500)), []

    async def script(clock: Clock) -> None:
        calls = Calls(
            PLACE, Rates(clock), Breaker("it", highest), limits=RatesPerMinute(), timeout=20.0, most=1, clock=clock,
            uniform=highest,
        )  # fmt: skip
        for _ in range(30):
            with pytest.raises(BatchFailed) as raised:
                await calls.made(lambda: service.request(clock), 1, texts=2)
            thens.append(raised.value.then)

    virtually(script)
    assert thens == ["apart"] * 7 + ["give up"] * 23
    assert len(service.times) < 7 * 3 + 10
    assert service.times[-1] < 100.0


def test_what_was_changed_is_asked_again_at_once() -> None:
    service = Service(Changed("no base64"), OK)
    assert one(service).retries == 1
    assert service.times == [0.0, 1.0]


def test_the_programs_own_mistakes_are_raised_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        one(Service(ZeroDivisionError()))


@pytest.mark.parametrize("failure", [Refused(401), Refused(403), Refused(404), Refused(402), Unfit("it is too narrow")])
def test_a_refusal_is_asked_for_once_whoever_waits(failure: Exception) -> None:
    service = Service(failure)
    found = outcomes(service, 30)
    assert len(service.times) == 1
    assert all(isinstance(each, BatchFailed) and each.then == "stop" for each in found)
    assert all(isinstance(each.__cause__, vj.ProviderRefused) for each in found)


def test_another_run_may_ask_again_after_a_refusal() -> None:
    service = Service(Refused(404), OK)
    calls: list[Calls] = []

    async def script(clock: Clock) -> Reply:
        calls.append(
            Calls(PLACE, Rates(clock), Breaker("it"), limits=RatesPerMinute(), timeout=9.0, most=1, clock=clock)
        )
        with pytest.raises(BatchFailed):
            await calls[0].made(lambda: service.request(clock), 1)
        calls[0].begin(first=True)
        return await calls[0].made(lambda: service.request(clock), 1)

    assert virtually(script).vectors == [[1.0]]


def test_there_is_one_request_at_a_time_until_one_has_succeeded_and_then_no_more_than_the_workers() -> None:
    service = Service(Refused(500), Refused(500), OK)
    assert all(isinstance(found, Reply) for found in outcomes(service, 40, most=4))
    assert min(b - a for a, b in zip(service.times[:3], service.times[1:4], strict=True)) >= 1.0
    assert service.most == 4


def test_waiting_for_ones_own_limits_takes_nothing_of_the_time() -> None:
    service = Service(OK)
    found = outcomes(service, 12, limits=RatesPerMinute(requests=3), timeout=5.0)
    assert all(isinstance(each, Reply) for each in found)
    assert service.times[-1] > 180.0
    assert max(each.waited for each in found if isinstance(each, Reply)) > 180.0


def test_a_request_that_can_never_be_within_the_limits_is_not_sent() -> None:
    service = Service(OK)
    with pytest.raises(BatchFailed, match=r"up to 11 tokens .* tokens_per_minute=10") as raised:
        one(service, limits=RatesPerMinute(tokens=10), tokens=11)
    assert (raised.value.code, raised.value.then, service.times) == ("TOKEN_LIMIT_EXCEEDED", "split", [])


def test_an_endpoint_that_is_down_is_asked_by_one_and_when_it_is_back_all_go_on() -> None:
    service = Service(OK, *[Refused(500)] * 8, OK)
    found = outcomes(service, 30, most=10, timeout=120.0)
    assert all(isinstance(each, Reply) for each in found)
    assert len(service.times) == 30 + 8


def test_batches_that_come_late_to_a_long_outage_are_given_up_at_once() -> None:
    service = Service(OK, Refused(500))
    found = outcomes(service, 200, most=4, timeout=20.0)
    codes = [each.code for each in found if isinstance(each, BatchFailed)]
    assert codes == ["PROVIDER_UNAVAILABLE"] * 199
    # 199 batches with four at a time would take 1000 seconds of their own.
    assert service.times[-1] < 200.0


@pytest.mark.parametrize("waits_for", ["limits", "a reply's wish", "its turn"])
def test_a_run_that_is_halted_gives_up_what_waits_and_gets_what_is_under_way(waits_for: str) -> None:
    slow = Service(OK, seconds=12.0)
    services: dict[str, tuple[Service, RatesPerMinute, int]] = {
        "limits": (Service(OK), RatesPerMinute(requests=1), 1),
        "a reply's wish": (Service(OK, Refused(429, **{"Retry-After": "50"}), OK), RatesPerMinute(), 1),
        "its turn": (slow, RatesPerMinute(), 1),
    }
    service, limits, arrive = services[waits_for]
    found = outcomes(service, 5, most=1, limits=limits, then=Calls.halt)
    codes = [each.code for each in found if isinstance(each, BatchFailed)]
    assert codes == ["CANCELLED"] * (5 - arrive)
    assert service.times[-1] <= 10.5


def test_retries_and_waits_are_told_while_a_batch_is_under_way() -> None:
    told: list[tuple[int, float]] = []
    early: list[list[tuple[int, float]]] = []
    with Attempts(lambda *what: told.append(what)) as attempts:
        (reply,) = outcomes(
            Service(Refused(429, **{"retry-after": "30"}), Refused(503), OK), then=lambda _: early.append(list(told))
        )
    assert isinstance(reply, Reply)
    assert attempts.retries == reply.retries == 2
    assert attempts.waited == pytest.approx(reply.waited)
    # After ten seconds, a second of which the first attempt took.
    assert sum(waited for _, waited in early[0]) == pytest.approx(9, abs=0.6)


def test_who_waits_for_others_tells_it_meanwhile() -> None:
    early: list[float] = []
    with Attempts(lambda *_: None) as attempts:
        outcomes(Service(OK, seconds=20.0), 2, then=lambda _: early.append(attempts.waited))
    assert early[0] == pytest.approx(10, abs=0.6)
    assert attempts.waited == pytest.approx(20)
