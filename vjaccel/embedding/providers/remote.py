"""What all remote providers share: keys, packing, checks of what comes back, and the calls under their limits.

A provider of one service says how a request is made with its SDK, in a file of its own; see `openai.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vjaccel.embedding.limits import (
    ONE_ATTEMPT,
    Answer,
    BadReply,
    Calls,
    Place,
    Rates,
    RatesPerMinute,
    Unfit,
    breaker_of,
    rates_of,
    shared_rates_of,
)
from vjaccel.embedding.providers.asked import refuse_others
from vjaccel.embedding.providers.loop import Loop
from vjaccel.embedding.providers.protocol import AROUND, BatchFailed, ModelIdentity, Prepared, ProviderOptions, Reply
from vjaccel.embedding.providers.replies import usable_of
from vjaccel.embedding.providers.urls import checked_url, is_local, shown
from vjaccel.embedding.width import Contradicted, Width
from vjaccel.errors import MissingExtra, NotSupported, ProviderRefused

__all__ = ["Connection", "RemoteProvider", "ServerLimits"]

WORKERS = 8
"""Requests at once that a run begins to try; `limits.concurrency` finds how many of them pay."""

LOOK_SECONDS = 2.0
"""How long a server may take to say what its limits are; a run does not wait longer for that."""

logger = logging.getLogger("vjaccel.embedding")


class Connection(NamedTuple):
    """An SDK's async client, and what closes it."""

    client: Any
    close: Callable[[], Awaitable[object]] | None


class ServerLimits(NamedTuple):
    """What a server says a request may hold, and whether it cuts off what is too long; None where it does not say."""

    texts: int | None = None
    tokens: int | None = None
    cuts: bool | None = None


class RemoteProvider:
    """One model of a remote service.

    A subclass sets the class variables, and gives `connect`, `request` and, if its server can be asked, `limits`.

    A prompt that names an option of the service, as in ``input_type=search_query``, is not put before a text but asked of the
    service: `roles` has those that belong to queries and documents, `role_option` the option's name.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    """Environment variables that may hold the key; the first one that is set counts."""
    needs_key: ClassVar[bool] = True
    url_name: ClassVar[str | None] = None
    """The environment variable that may hold another address."""
    texts_per_request: ClassVar[int]
    tokens_per_request: ClassVar[int]
    able: ClassVar[frozenset[str]] = frozenset({"dimensions"})
    role_option: ClassVar[str | None] = None
    roles: ClassVar[dict[str | None, str]] = {}
    tuned_as: str | None = None
    empty_texts: bool = True
    """Whether the service takes an empty text."""
    refuses_long: bool
    """Whether the service refuses a text that is too long; otherwise it cuts it off, or may, and says of none that it did."""

    def __init__(self, model: str, options: ProviderOptions) -> None:
        ours = {"base_url", "timeout", "requests_per_minute", "tokens_per_minute", "shared_limits", *self.able}
        refuse_others(options, ours, f"{self.name} decides for itself")
        if options.truncate == "chunk":
            raise NotSupported(
                f"truncate='chunk' needs a tokenizer, and {self.name} has it at its own place: cut texts first"
            )
        self.model = model
        self.options = options
        self.base_url = self._address(options)
        endpoint = "" if self.base_url is None else shown(self.base_url)
        key_name, key = self._key()
        try:
            self.client, self._close = self.connect(key)
        except ImportError as exc:
            raise MissingExtra(f"embedding with {self.name}:{model}", self.extra) from exc
        self._endpoint = endpoint
        self.dimensions = options.dimensions
        self._width = Width(options.dimensions)
        self.workers = options.workers or WORKERS
        limits = RatesPerMinute(options.requests_per_minute, options.tokens_per_minute)
        self.batch_tokens = min(
            options.batch_tokens or self.tokens_per_request, limits.tokens or self.tokens_per_request
        )
        self.batch_texts: int | None = self.texts_per_request
        digest = hashlib.sha256(key.encode()).hexdigest()
        self._calls = Calls(
            Place(self.name, model, endpoint, key_name, key if key_name else ""),
            self._rates(endpoint, digest),
            breaker_of(self.name, endpoint),
            limits=limits,
            timeout=options.timeout,
            most=self.workers,
        )
        self.refuses_long = options.truncate == "error"
        self._cuts = False
        # Texts of requests that the service has failed at, until they have an answer of their own.
        self._suspects: set[str] = set()
        self._lock = threading.Lock()
        self._runs = 0
        self._looked = False
        self._loop: Loop | None = None

    # What a subclass gives

    def connect(self, key: str) -> Connection:
        """The SDK's async client, its own retries off; what closes it must not hold this provider.

        An ImportError says that the SDK is not installed.
        """
        raise NotImplementedError

    async def request(self, texts: list[str], role: str | None) -> Answer:
        """One request; `role` is the value of `role_option`, or None. What the SDK raises is for `limits.faults` to read."""
        raise NotImplementedError

    async def limits(self) -> ServerLimits:
        """What the server says a request may hold; asked once, and only where `base_url` is given."""
        return ServerLimits()

    # The contract

    @property
    def proven(self) -> bool:
        """Whether a request has succeeded."""
        return self._calls.proven

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity(
            self.name, self.model, None, self.dimensions, prompt, None,
            truncate=self.options.truncate, endpoint=self._endpoint or None,
        )  # fmt: skip

    def prompt(self, role: str | None) -> str:
        value = self.roles.get(role)
        return "" if value is None else f"{self.role_option}={value}"

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        before, _ = self._parted(prompt)
        items = [before + text for text in texts]
        if not self.empty_texts and "" in items:
            raise ValueError(f"{self.name} takes no empty text")
        lengths = np.fromiter(map(_bound, items), np.int64, len(items))
        nothing = np.zeros(len(items), np.int64)
        return Prepared(items, lengths, nothing, counted=False, whole=self.refuses_long, at_most=True)

    def embed(self, items: list[str], prompt: str) -> Reply:
        _, role = self._parted(prompt)
        made = self._calls.made(
            partial(self._answered, items, role), sum(map(_bound, items)), texts=len(items),
            suspected=self._suspects.issuperset(items),
        )  # fmt: skip
        try:
            reply: Reply = self._running_loop().result(made)
        except BatchFailed as failed:
            if failed.then == "apart":
                self._suspects.update(items)
            else:
                self._suspects.difference_update(items)
            if failed.code == "TOO_MANY_TEXTS" and len(items) > 1:
                # Remembered for the batches that are still to be planned.
                self.batch_texts = max(1, min(self.batch_texts or len(items), len(items) // 2))
            raise
        self._suspects.difference_update(items)
        return reply

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return False

    def device_memory(self) -> int | None:
        return None

    def begun(self) -> None:
        with self._lock:
            self._runs += 1
            self._calls.begin(first=self._runs == 1)
            look = self.base_url is not None and not self._looked
            self._looked = True
        if look:
            self._look()

    def started(self) -> None:
        pass

    def ended(self) -> None:
        with self._lock:
            self._runs -= 1

    def halt(self) -> None:
        """The last run that goes on is over: what is under way gets its reply, what waits gives up, nothing more is sent."""
        with self._lock:
            last = self._runs == 1
        if last:
            self._calls.halt()

    def expect(self, dim: int) -> None:
        self._width.first(dim)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    # Below

    def _address(self, options: ProviderOptions) -> str | None:
        found = options.base_url or os.environ.get(self.url_name or "")
        return checked_url(found) if found else None

    def _rates(self, endpoint: str, digest: str) -> Rates:
        shared, longest = self.options.shared_limits, ONE_ATTEMPT * self.options.timeout
        if shared is None:
            return rates_of(self.name, endpoint, digest)
        return shared_rates_of(shared, self.name, endpoint, digest, longest)

    def _key(self) -> tuple[str, str]:
        """The variable that has the key, and the key; a local server needs none, and SDKs insist on one."""
        for name in self.keys:
            if os.environ.get(name):
                return name, os.environ[name]
        if self.needs_key and not (self.base_url and is_local(self.base_url)):
            raise ProviderRefused(
                f"{self.name}:{self.model} needs an API key: set the variable {' or '.join(self.keys)}"
            )
        return "", "none"

    def _parted(self, prompt: str) -> tuple[str, str | None]:
        """What is put before texts, and what is asked of the service."""
        start = f"{self.role_option}="
        return ("", prompt[len(start) :]) if self.role_option and prompt.startswith(start) else (prompt, None)

    async def _answered(self, items: list[str], role: str | None) -> Answer:
        if self._cuts and self.options.truncate == "error":
            raise Unfit(
                "it cuts off texts that are too long (auto_truncate at its /info), and truncate='error' was asked: start it "
                "without, or ask truncate='end'"
            )
        found = await self.request(items, role)
        try:
            if len(found.vectors) != len(items):
                raise BadReply(f"{len(items)} texts were answered with {len(found.vectors)} vectors")
            usable = usable_of(found.vectors, self._width.known)
            # Where most of a reply's vectors have one width and some another, that one is confirmed.
            for _ in range(1 + bool(usable.unusable)):
                self._check_width(usable.vectors.shape[1])
        except BadReply as exc:
            exc.tokens = found.tokens
            raise
        return Answer(usable.vectors, found.tokens, usable.unusable)

    def _check_width(self, width: int) -> None:
        wanted = self.options.dimensions
        if wanted is not None and width != wanted and not self.proven:
            raise Unfit(f"it gives vectors of width {width}, and not the dimensions={wanted} that were asked for")
        try:
            agreed = self._width.agrees(width, object())  # each reply is a batch, one to the same texts too
        except Contradicted as exc:
            raise Unfit(f"{exc}; see that one model answers there, and say its width with dimensions=") from None
        if not agreed:
            raise BadReply(
                f"{self.name} answered with vectors of width {width}, not {self._width.known}", "DIMENSION_MISMATCH"
            )

    def _running_loop(self) -> Loop:
        with self._lock:
            if self._loop is None:
                self._loop = Loop(self._close)
                # For an embedder that nobody closes.
                weakref.finalize(self, self._loop.stop)
            return self._loop

    def _look(self) -> None:
        """Ask the server for its limits. It may not be up, or have no such place; then the provider's own hold."""
        found = ServerLimits()
        with suppress(Exception):
            found = self._running_loop().result(asyncio.wait_for(self.limits(), LOOK_SECONDS))
        logger.debug("%s at %s says of its requests: %s", self.name, self._endpoint, found)
        if found.texts is not None:
            self.batch_texts = max(1, min(self.batch_texts or found.texts, found.texts))
        if found.tokens is not None:
            self.batch_tokens = max(1, min(self.batch_tokens, found.tokens))
        if found.cuts is not None:
            self._cuts, self.refuses_long = found.cuts, not found.cuts


def _bound(text: str) -> int:
    return len(text.encode()) + AROUND
