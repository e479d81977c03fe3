"""The texts of many requests, embedded together: one endless run of an embedder, fed as requests come."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vjaccel.closing import Closing
from vjaccel.embedding import Embedder, EmbeddingResult, ItemError
from vjaccel.errors import InvalidInput

__all__ = ["Answer", "Batcher", "Busy"]

PIECE = 256
"""Texts that are tokenised and planned together: few enough that a large request does not keep a small one waiting."""

STALLED = 60.0
"""Seconds without a text being done, while some wait, after which the service counts as stuck."""

SMOOTHING = 0.2
"""The weight of the newest piece in the rate that a busy service's guests are told to wait by."""


class Busy(Exception):
    """There is no room for a request now.

    Attributes
    ----------
    seconds : int
        After which there may be.
    """

    def __init__(self, waiting: int, seconds: int) -> None:
        super().__init__(f"{waiting} texts are waiting; come again in {seconds} s")
        self.seconds = seconds


class Answer(NamedTuple):
    """What a request gets.

    Attributes
    ----------
    vectors : ndarray, shape (n, dim), float32
        NaN for a text that failed.
    tokens : int or None
        Of all its texts; None where the model's are not counted here.
    errors : tuple of ItemError
        By the number of the text in the request.
    """

    vectors: np.ndarray
    tokens: int | None
    errors: tuple[ItemError, ...]


class _Request:
    """Texts that were asked for together, as they are done."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.future: Future[Answer] = Future()
        self.given = 0
        self._left = len(texts)
        self._vectors: np.ndarray | None = None
        self._tokens: int | None = 0
        self._errors: list[ItemError] = []

    def take(self, place: int, vector: np.ndarray, tokens: int | None, error: ItemError | None) -> None:
        """One of its texts is done."""
        if self._vectors is None or self._vectors.shape[1] < len(vector):
            self._vectors = np.full((len(self.texts), len(vector)), np.nan, np.float32)
        if error is None:
            self._vectors[place] = vector
        else:
            self._errors.append(replace(error, index=place))
        self._tokens = None if self._tokens is None or tokens is None else self._tokens + tokens
        self._left -= 1
        if not self._left:
            errors = tuple(sorted(self._errors, key=lambda one: one.index))
            with suppress(InvalidStateError):  # whoever asked has gone
                self.future.set_result(Answer(self._vectors, self._tokens, errors))


class Batcher(Closing):
    """Takes requests from any thread. Texts of several requests are taken in turn, one of each.

    Parameters
    ----------
    embedder : Embedder
    prompt : str, optional
        Put before every text; by default the embedder's own for no particular role.
    max_waiting : int
        Texts that may wait or be under way; a request that comes on top of that is refused, unless nothing else is there.
    max_latency : float
        Seconds that a text may wait for others to be embedded with.

    Examples
    --------
    >>> with Batcher(embedder) as batcher:  # doctest: +SKIP
    ...     batcher.submit(["melt butter"]).result().vectors.shape
    (1, 384)
    """

    def __init__(
        self, embedder: Embedder, prompt: str | None = None, *, max_waiting: int = 8192, max_latency: float = 0.003
    ) -> None:
        self._embedder = embedder
        self._prompt = prompt
        self._max_waiting = max_waiting
        self._max_latency = max_latency
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._under_way: dict[int, tuple[_Request, int]] = {}
        self._waiting = 0
        self._numbered = 0
        self._run = 0
        self._closing = False
        self._rate: float | None = None
        self._progressed = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="vjaccel-serve", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Texts that wait or are under way."""
        return self._waiting

    @property
    def stalled(self) -> float:
        """Seconds for which nothing was done though there is something to do; 0 while all goes on."""
        still = time.monotonic() - self._progressed
        return still if self._waiting and still > STALLED else 0.0

    def submit(self, texts: Sequence[str]) -> Future[Answer]:
        """Have texts embedded. Cancelling what is returned takes back those that are not under way yet.

        Raises
        ------
        Busy
        InvalidInput
            The batcher is closed, or there are no texts.
        """
        if not texts:
            raise InvalidInput("a request has at least one text")
        request = _Request(texts)
        with self._changed:
            if self._closing:
                raise InvalidInput("the service is being stopped, and takes no more requests")
            if self._waiting and self._waiting + len(texts) > self._max_waiting:
                raise Busy(self._waiting, self._wait())
            if not self._waiting:
                self._progressed = time.monotonic()
            self._waiting += len(texts)
            self._queue.append(request)
            self._changed.notify_all()
        return request.future

    def close(self) -> None:
        """Refuse new requests, do those that are there, end the thread. Closing twice is fine."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    # Below

    def _wait(self) -> int:
        return 1 if not self._rate else max(1, math.ceil(self._waiting / self._rate))

    def _texts(self, run: int) -> Iterator[str]:
        """The texts of all requests, one of each in turn."""
        while True:
            with self._changed:
                while not self._queue and not self._closing and run == self._run:
                    self._changed.wait()
                if not self._queue or run != self._run:
                    return
                request = self._queue.popleft()
                if request.future.cancelled():
                    self._waiting -= len(request.texts) - request.given
                    continue
                place = request.given
                request.given += 1
                if request.given < len(request.texts):
                    self._queue.append(request)
                self._under_way[self._numbered] = (request, place)
                self._numbered += 1
            yield request.texts[place]

    def _work(self) -> None:
        while True:
            with self._changed:
                # Nothing is begun for nobody: where a run cannot even begin, it is tried once for those who ask.
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                self._run += 1
                self._numbered = 0
                run = self._run
            try:
                results = self._embedder.stream(
                    self._texts(run), chunk_size=PIECE, max_latency=self._max_latency, ordered=False, prompt=self._prompt,
                    on_error="collect", deduplicate=False,
                )  # fmt: skip
                with closing(results):  # type: ignore[type-var]  # it is a generator
                    for result in results:
                        self._take(result)
            except Exception as exc:
                self._failed(exc)

    def _take(self, result: EmbeddingResult) -> None:
        errors = {error.index - result.start: error for error in result.errors}
        now = time.monotonic()
        with self._changed:
            for i in range(len(result)):
                request, place = self._under_way.pop(result.start + i)
                tokens = None if result.tokens is None else int(result.tokens[i])
                request.take(place, result.embeddings[i], tokens, errors.get(i))
            self._waiting -= len(result)
            rate = len(result) / max(now - self._progressed, 1e-6)
            self._rate = rate if self._rate is None else self._rate + SMOOTHING * (rate - self._rate)
            self._progressed = now

    def _failed(self, exc: Exception) -> None:
        """What was under way fails with the run; what waits is for the next one, unless this one did not get to any text."""
        with self._changed:
            self._run += 1
            failed = [request for request, _ in self._under_way.values()] or self._queue
            requests = {id(request): request for request in failed}
            self._under_way.clear()
            self._queue = deque(request for request in self._queue if id(request) not in requests)
            self._waiting = sum(len(request.texts) - request.given for request in self._queue)
            self._changed.notify_all()
        for request in requests.values():
            with suppress(InvalidStateError):
                request.future.set_exception(exc)
