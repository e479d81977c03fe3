"""What happens in this process, told to those who listen, in the thread in which it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = [
    "NOTHING",
    "BatchEnded",
    "BatchesEnded",
    "CacheLookedUp",
    "Called",
    "CircuitChanged",
    "ConcurrencyChanged",
    "DeviceTakenOut",
    "Event",
    "Happened",
    "RequestEnded",
    "RunBegan",
    "RunEnded",
    "TextsSettled",
    "TriedAgain",
    "heard",
    "listening",
    "operation",
    "tell",
]


class RunBegan(NamedTuple):
    """A run of an embedder begins, with so many workers; it has `total` texts in all, where that is known."""

    workers: int
    total: int | None


class RunEnded(NamedTuple):
    """It is over; `failed` if by an error, and not since somebody has stopped it."""

    failed: bool


class TextsSettled(NamedTuple):
    """So many texts have their vector, from the model, the cache or an earlier text; or have failed with an error's `code`."""

    outcome: Literal["embedded", "cached", "duplicate", "failed"]
    texts: int
    code: str | None = None


class BatchEnded(NamedTuple):
    """A batch has come back, or has failed.

    Attributes
    ----------
    texts : int
    tokens, padded : int or None
        Without and with padding; None where nobody counts them.
    seconds, waited : float
        What it took, and what it waited for limits and between attempts beside that.
    retries : int
        These and `waited` were told by `TriedAgain` before.
    budget : int
        Of tokens, padding included, that it was cut for.
    failed : bool
    device : str
        Of several, the one that had it; empty where there is one.
    """

    texts: int
    tokens: int | None
    padded: int | None
    seconds: float
    waited: float
    retries: int
    budget: int
    failed: bool
    device: str = ""


class BatchesEnded(NamedTuple):
    """Batches have come back elsewhere, or have failed.

    Attributes
    ----------
    failed : int
        How many of them have.
    seconds : dict of float to int
        Of the others: how many took how long, to 1%.
    sizes : dict of int to (int, int)
        By the smallest power of two that is no smaller: how many, and their texts together.
    tokens, padded : int
        Of all of them, where they are counted, without and with padding.
    devices : mapping of str to (int, int, float)
        By the device, where each worker has several: texts and batches of those that came back, and the seconds that they took.
    """

    failed: int
    seconds: dict[float, int]
    sizes: dict[int, tuple[int, int]]
    tokens: int
    padded: int
    devices: Mapping[str, tuple[int, int, float]] = MappingProxyType({})


class DeviceTakenOut(NamedTuple):
    """One of several devices has failed, and is to have no more of a run."""

    device: str


class TriedAgain(NamedTuple):
    """So many requests of batches were sent again, and batches have waited so many seconds: told while they are under way."""

    retries: int
    waited: float


class CacheLookedUp(NamedTuple):
    """Texts were looked up: so many were there, and so many were not."""

    hits: int
    misses: int


class CircuitChanged(NamedTuple):
    """The circuit of an endpoint has opened, or is closed: at the beginning of a run, or again."""

    endpoint: str
    is_open: bool


class ConcurrencyChanged(NamedTuple):
    """So many requests may go on at once to an endpoint from now on."""

    endpoint: str
    limit: int


class RequestEnded(NamedTuple):
    """A request of a `BatchProcessor` has ended.

    Attributes
    ----------
    operation : str
        ``embeddings``, or the operation on vectors.
    processed, failed_items : int
        Of its texts or vectors.
    seconds : float
    failed : bool
        By an exception: then all of its items are counted as failed.
    """

    operation: str
    processed: int
    failed_items: int
    seconds: float
    failed: bool


class Called(NamedTuple):
    """An operation on vectors, or of a collection, has ended.

    Attributes
    ----------
    operation : str
        As ``topk`` or ``collection.insert``.
    place : str
        The backend that has computed it, as ``jax:cpu``; of a collection, where it is: ``memory`` or ``disk``.
    seconds : float
        Until the call returned: what a device still does then is not in it.
    failed : bool
    """

    operation: str
    place: str
    seconds: float
    failed: bool


Event = (
    RunBegan
    | RunEnded
    | TextsSettled
    | BatchEnded
    | BatchesEnded
    | DeviceTakenOut
    | TriedAgain
    | CacheLookedUp
    | CircuitChanged
    | ConcurrencyChanged
    | RequestEnded
    | Called
)


class Happened(NamedTuple):
    """An event, and the run that it belongs to: ``provider:model``, empty for what belongs to none."""

    event: Event
    model: str


_listeners: tuple[Callable[[Happened], object], ...] = ()


def tell(event: Event, model: str = "") -> None:
    """Tell all that listen."""
    for listener in _listeners:
        listener(Happened(event, model))


def heard() -> bool:
    """Whether anybody listens."""
    return bool(_listeners)


def operation(name: str, place: str) -> AbstractContextManager[None]:
    """What an operation is done inside of, so that who listens hears what it took. Those inside another are part of it."""
    return _timed(name, place) if _listeners and not _inside.get() else NOTHING


@contextmanager
def listening(listener: Callable[[Happened], object]) -> Iterator[None]:
    """Have `listener` called for all that happens in this process, in any thread, within the block. It must not raise."""
    global _listeners
    # A new tuple, since others go through the old one.
    _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        _listeners = tuple(one for one in _listeners if one is not listener)


NOTHING: AbstractContextManager[None] = nullcontext()
"""What an operation is inside of while nobody listens."""

_inside: ContextVar[bool] = ContextVar("inside an operation", default=False)


@contextmanager
def _timed(name: str, place: str) -> Iterator[None]:
    began, failed, token = time.perf_counter(), True, _inside.set(True)
    try:
        yield
        failed = False
    finally:
        _inside.reset(token)
        tell(Called(name, place, time.perf_counter() - began, failed))
