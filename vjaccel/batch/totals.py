"""What all requests of a processor have taken together, counted by several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from vjaccel.batch.responses import BatchEmbeddingResponse, BatchVectorResponse
from vjaccel.errors import InvalidInput
from vjaccel.telemetry import RequestEnded, tell

__all__ = ["Rate", "Totals"]


class Rate(NamedTuple):
    """What was embedded with one model so far."""

    texts: int = 0
    tokens: int = 0
    batches: int = 0
    batch_seconds: float = 0.0
    seconds: float = 0.0
    """Of the requests."""


@dataclass
class UnderWay:
    """A request of which nothing is known at first."""

    items: int = 0


@dataclass
class Totals:
    """Sums; read them under `lock` where they are to belong together."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    batches: int = 0
    items: int = 0
    processed: int = 0
    seconds: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0
    active: int = 0
    closed: bool = False
    rates: dict[tuple[str, str], Rate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._idle = threading.Condition(self.lock)

    @contextmanager
    def request(self, operation: str) -> Iterator[UnderWay]:
        """What a request is inside of. One that raises counts like any other, and all of its items as failed.

        Raises
        ------
        InvalidInput
            After `close`.
        """
        with self.lock:
            if self.closed:
                raise InvalidInput("this processor is closed; make another")
            self.active += 1
        found, began = UnderWay(), time.perf_counter()
        try:
            yield found
        except BaseException:
            self._ended(RequestEnded(operation, 0, found.items, time.perf_counter() - began, failed=True))
            raise
        finally:
            with self._idle:
                self.active -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Let no request in any more, and wait for those that are."""
        with self._idle:
            self.closed = True
            self._idle.wait_for(lambda: not self.active)

    def add(self, response: BatchEmbeddingResponse | BatchVectorResponse) -> None:
        """A request has been answered."""
        operation = response.operation if isinstance(response, BatchVectorResponse) else "embeddings"
        found = response.statistics
        self._ended(RequestEnded(operation, found.processed, found.failed, response.processing_time, failed=False))

    def _ended(self, event: RequestEnded) -> None:
        with self.lock:
            self.batches += 1
            self.items += event.processed + event.failed_items
            self.processed += event.processed
            self.seconds += event.seconds
        tell(event)

    def embedded(self, response: BatchEmbeddingResponse) -> None:
        """One of texts has."""
        found, model = response.statistics, (response.provider, response.model)
        self.add(response)
        with self.lock:
            self.cache_hits += response.cache_hits
            self.cache_misses += response.cache_misses
            if response.cache_hits or not found.processed:
                return  # what was in the cache says nothing of the model
            before = self.rates.get(model, Rate())
            self.rates[model] = Rate(
                before.texts + found.processed,
                before.tokens + (response.total_tokens or 0),
                before.batches + found.batches,
                before.batch_seconds + (found.average_latency or 0.0) * found.batches,
                before.seconds + response.processing_time,
            )

    def rate(self, model: tuple[str, str]) -> Rate:
        """What is known of a model."""
        with self.lock:
            return self.rates.get(model, Rate())
