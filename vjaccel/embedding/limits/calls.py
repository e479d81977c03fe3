"""Requests to one endpoint under all its limits: the one place where anything is tried again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from vjaccel.embedding.limits.backoff import backoff
from vjaccel.embedding.limits.breaker import Breaker
from vjaccel.embedding.limits.concurrency import Adaptive, Slots
from vjaccel.embedding.limits.faults import BadReply, Fault, Place, fault_of
from vjaccel.embedding.limits.rates import Rates, RatesPerMinute, Use
from vjaccel.embedding.providers.protocol import BatchFailed, Reply
from vjaccel.errors import ProviderRefused
from vjaccel.telemetry import CircuitChanged, ConcurrencyChanged, sent_again, tell, waited

__all__ = ["ONE_ATTEMPT", "Answer", "Calls"]

logger = logging.getLogger("vjaccel.embedding")

ONE_ATTEMPT = 0.5
"""The share of the time that one attempt may take, so that a hanging connection leaves time for another."""


LONG_PAUSE = 300.0
"""Seconds that a service may ask for, if `timeout` is no longer; who is asked for more stops, and goes on when it is over."""

NOTEWORTHY = 10.0
"""Seconds of such a wait from which on it is logged."""

PIECE = 0.5
"""Seconds after which who sleeps looks whether the run was stopped."""


CRASHES = 3
"""Errors of the service to one batch, and meanwhile to no other, after which the batch itself is suspected."""

DOUBTS = 7
"""Batches in a row that are suspected: all parts of three rounds of halving. If none has an answer the endpoint is down."""


class Answer(NamedTuple):
    """What a request brought.

    Attributes
    ----------
    vectors : array or sequence
        In the texts' order; None for a text that got none.
    tokens : int or None
        What the service says it has read.
    unusable : dict of int to (str, str)
        As in `Reply`.
    """

    vectors: Any
    tokens: int | None
    unusable: Mapping[int, tuple[str, str]] = MappingProxyType({})


@dataclass(eq=False)
class _Turn:
    """One batch on its way: what it has used of its time, and waited for others."""

    left: float
    retries: int = 0
    waited: float = 0.0
    bad_replies: int = 0
    crashes: int = 0
    tokens: int = 0
    before: Fault | None = None

    def again(self) -> None:
        """Its request is sent again."""
        self.retries += 1
        sent_again()

    def waits(self, seconds: float) -> None:
        """So long it has waited."""
        self.waited += seconds
        waited(seconds)


class Calls:
    """Sends requests, as many at once and a minute as may be, and again while that may help.

    The time limit counts attempts, the waits between them and those for an endpoint that is down; not those for the limits
    that one has set oneself. (tenacity would wait between attempts, but what is shared by all of them, the slot, the rates and
    the breaker, has to be let go of in between.)

    Parameters
    ----------
    timeout : float
        Seconds for all attempts of one batch together.
    most : int
        Requests at once.
    clock, sleep, uniform
        For tests.
    """

    def __init__(
        self,
        place: Place,
        rates: Rates,
        breaker: Breaker,
        *,
        limits: RatesPerMinute,
        timeout: float,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._place = place
        self._rates = rates
        self._breaker = breaker
        self._limits = limits
        self._timeout = timeout
        self._slots = Slots(Adaptive(most))
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._refused: str | None = None
        self._halted = False
        self._strange = 0
        # Of the turns that have had no answer since the last success of any.
        self._failing: set[_Turn] = set()
        self._doubts = 0

    @property
    def proven(self) -> bool:
        """Whether a request has succeeded."""
        return self._slots.adaptive.proven

    def begin(self, *, first: bool) -> None:
        """A run begins; if no other goes on, what was refused may be asked again."""
        self._halted = False
        if first:
            self._refused, self._strange = None, 0
        # What does not change is to be known, too.
        if self._breaker.state == "closed":
            tell(CircuitChanged(str(self._place), is_open=False))
        tell(ConcurrencyChanged(str(self._place), self._slots.adaptive.limit))

    def halt(self) -> None:
        """From now on, until a run begins: what waits gives up, what is under way gets its reply, nothing is sent."""
        self._halted = True

    async def made(
        self, request: Callable[[], Awaitable[Answer]], tokens: int, *, texts: int = 1, suspected: bool = False
    ) -> Reply:
        """The reply to a request of at most `tokens`.

        Parameters
        ----------
        texts : int
            How many there are in it. It may be for one of several that the service fails.
        suspected : bool
            Whether they were part of a request that the service has failed at.

        Raises
        ------
        BatchFailed
            Saying what is to be done with the texts. Exceptions that are no service's are raised as they are.
        """
        if self._limits.tokens is not None and tokens > self._limits.tokens:
            raise BatchFailed(
                f"up to {tokens} tokens in one request are more than tokens_per_minute={self._limits.tokens}",
                code="TOKEN_LIMIT_EXCEEDED",
            )
        turn = _Turn(self._timeout)
        while True:
            found = await self._tried(request, tokens, turn)
            if not isinstance(found, _Failure):
                told = None if found.tokens is None else found.tokens + turn.tokens
                return Reply(found.vectors, told, turn.retries, turn.waited, unusable=found.unusable)
            then = self._blamed(found.fault, turn, texts, suspected=suspected)
            if then is not None:
                raise self._failed(found, turn, then) from found.exc
            delay = self._again(found.fault, turn)
            if delay is None:
                raise self._failed(found, turn) from self._origin(found)
            await self._nap(delay, turn)
            turn.left -= delay
            turn.again()

    async def _tried(self, request: Callable[[], Awaitable[Answer]], tokens: int, turn: _Turn) -> Answer | _Failure:
        """One attempt, once its turn has come."""
        async with AsyncExitStack() as held:
            with _Waiting(turn, self._clock):
                await held.enter_async_context(self._slots)
            self._check_refused(turn)
            await self._endpoint_up(turn)
            self._check_pause(turn)
            try:
                use = await self._rates.begun(tokens, self._limits, partial(self._nap, turn=turn))
            except BaseException:
                self._breaker.abandoned()
                raise
            return await self._sent(request, turn, use)

    async def _sent(self, request: Callable[[], Awaitable[Answer]], turn: _Turn, use: Use) -> Answer | _Failure:
        began, told = self._clock(), None
        in_full = ONE_ATTEMPT * self._timeout
        try:
            async with asyncio.timeout(min(turn.left, in_full)):
                answer = await request()
            told = answer.tokens
        except Exception as exc:
            now = self._clock()
            turn.left -= now - began
            fault = fault_of(exc, self._place, proven=self.proven)
            if fault is None:
                self._breaker.abandoned()
                raise
            if isinstance(exc, BadReply):
                told = exc.tokens
                turn.tokens += told or 0
            fault = self._note(fault, turn, began, now)
            if turn.before is not None and isinstance(exc, TimeoutError) and now - began < in_full:
                # Cut short because no more time was left: what is to be told is why so little was.
                fault = turn.before
            turn.before = fault
            return _Failure(fault, exc)
        except BaseException:
            self._breaker.abandoned()
            raise
        finally:
            self._rates.ended(use, told)
        self._breaker.answered()
        self._failing.clear()
        self._doubts = 0
        self._adapt(partial(self._slots.adaptive.succeeded, began, self._clock()))
        return answer

    def _note(self, fault: Fault, turn: _Turn, began: float, now: float) -> Fault:
        """Have all know of a failure; what it means in their light."""
        if fault.answered:
            self._breaker.answered()
        else:
            self._breaker.failed(now, fault.brief or fault.code)
            self._failing.add(turn)
            turn.crashes += fault.by_texts
        if fault.too_much:
            self._adapt(partial(self._slots.adaptive.pushed_back, began, now))
            if fault.wait:
                if fault.wait >= NOTEWORTHY and not self._rates.paused():
                    logger.warning("%s asks to wait %.0f s", self._place, fault.wait)
                self._rates.pause(fault.wait)
        if fault.then == "stop" and fault.again == "once":
            self._strange += 1
            if self._strange > 1:  # whichever batch has asked first
                fault = fault._replace(again="no")
        if fault.then == "stop" and fault.again == "no":
            # Within the slot, so that who waits for it hears of this first.
            self._refused = fault.message
        return fault

    def _blamed(self, fault: Fault, turn: _Turn, texts: int, *, suspected: bool) -> Literal["apart", "give up"] | None:
        """What is to be done where rather a text makes the service fail than that the endpoint is down; else None."""
        if not fault.by_texts or turn.crashes < CRASHES or self._failing != {turn} or self._halted:
            return None
        if (texts == 1 and not suspected) or self._doubts >= DOUBTS:
            return None
        self._failing.clear()
        self._breaker.forgiven(turn.crashes)
        if texts == 1 and not self._doubts:
            return "give up"  # others were answered since it was suspected
        self._doubts += 1
        return "apart"

    def _adapt(self, change: Callable[[], object]) -> None:
        before = self._slots.adaptive.limit
        change()
        if self._slots.adaptive.limit != before:
            tell(ConcurrencyChanged(str(self._place), self._slots.adaptive.limit))

    def _again(self, fault: Fault, turn: _Turn) -> float | None:
        """Seconds until the next attempt; None if there is to be none."""
        if fault.again == "no" or self._halted:
            return None
        if fault.again == "at once":
            return 0.0
        delay = backoff(turn.retries, self._uniform)
        if fault.again == "once":
            turn.bad_replies += 1
            return delay if turn.bad_replies == 1 and delay < turn.left else None
        # On top of what the service asks for, so that not all who have been asked come back in one moment.
        delay += fault.wait or 0.0
        return delay if delay < turn.left else None

    async def _endpoint_up(self, turn: _Turn) -> None:
        """Wait while the endpoint is down, as long as there is time for it."""
        while (wait := self._breaker.wait(self._clock())) > 0:
            # Who comes late to a long outage does not wait all of it again: the batches of a large run would never end.
            if wait >= turn.left or self._breaker.down(self._clock()) > self._timeout:
                raise BatchFailed(
                    f"{self._place} is down", code="PROVIDER_UNAVAILABLE", then="give up",
                    retries=turn.retries, waited=turn.waited,
                )  # fmt: skip
            await self._nap(wait, turn)
            turn.left -= wait
            self._check_refused(turn)

    def _check_pause(self, turn: _Turn) -> None:
        paused = self._rates.paused()
        if paused > max(self._timeout, LONG_PAUSE):
            self._breaker.abandoned()
            self._refused = f"{self._place} asks to be left alone for {paused:,.0f} s: go on when they are over"
            self._check_refused(turn)

    def _check_refused(self, turn: _Turn) -> None:
        if self._refused is not None:
            raise self._stopping(self._refused, turn) from ProviderRefused(self._refused)
        if self._halted:
            raise BatchFailed(
                "the run was stopped before this was sent", code="CANCELLED", then="give up",
                retries=turn.retries, waited=turn.waited,
            )  # fmt: skip

    async def _nap(self, seconds: float, turn: _Turn) -> None:
        """Sleep in pieces, so that who waits for long hears that the run is stopped."""
        began = noted = self._clock()
        while (left := began + seconds - self._clock()) > 0:
            await self._sleep(min(left, PIECE))
            turn.waits(self._clock() - noted)
            noted = self._clock()
            self._check_refused(turn)

    def _failed(self, failure: _Failure, turn: _Turn, then: Literal["apart", "give up"] | None = None) -> BatchFailed:
        fault = failure.fault
        if fault.then == "stop":
            return self._stopping(fault.message, turn)
        return BatchFailed(
            fault.message, code=fault.code, then=then or fault.then, retries=turn.retries, waited=turn.waited,
            tokens=turn.tokens,
        )  # fmt: skip

    def _stopping(self, message: str, turn: _Turn) -> BatchFailed:
        return BatchFailed(
            message, code="PROVIDER_REFUSED", then="stop", retries=turn.retries, waited=turn.waited, tokens=turn.tokens
        )

    def _origin(self, failure: _Failure) -> BaseException:
        if failure.fault.then != "stop":
            return failure.exc
        refused = ProviderRefused(failure.fault.message)
        # A traceback shows what it was raised from, and services repeat keys that they refuse.
        refused.__cause__ = None if self._place.key else failure.exc
        return refused


class _Waiting:
    """The time within its block is waiting, and is told while it goes by."""

    def __init__(self, turn: _Turn, clock: Callable[[], float]) -> None:
        self._turn, self._clock = turn, clock

    def __enter__(self) -> None:
        self._noted = self._clock()
        self._timer = asyncio.get_running_loop().call_later(PIECE, self._piece)

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        self._note()

    def _piece(self) -> None:
        self._note()
        self._timer = asyncio.get_running_loop().call_later(PIECE, self._piece)

    def _note(self) -> None:
        now = self._clock()
        self._turn.waits(now - self._noted)
        self._noted = now


class _Failure(NamedTuple):
    fault: Fault
    exc: Exception
