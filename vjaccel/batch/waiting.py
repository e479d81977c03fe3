"""Which batch is next: that of the highest priority among those that wait, where waiting raises a priority."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from vjaccel.batch.requests import PRIORITIES

__all__ = ["AGEING", "Waits", "next_of", "rank"]

AGEING = 5.0
"""Seconds of waiting that count for a priority: a low batch goes before a critical one that came fifteen seconds later."""


class Waits(Protocol):
    """A request some of whose batches wait."""

    priority: str
    since: float
    """When its first batch that waits began to: when it came, or the one before was begun."""
    order: int


def rank(priority: str, waited: float) -> float:
    """What a batch of that priority counts for after `waited` seconds.

    Examples
    --------
    >>> rank("low", 15.0) == rank("critical", 0.0)
    True
    """
    return PRIORITIES.index(priority) + waited / AGEING


Waiting = TypeVar("Waiting", bound=Waits)


def next_of(waiting: Iterable[Waiting], now: float) -> Waiting | None:
    """The one that is next at `now`; of equals the one that came first."""
    return max(waiting, key=lambda one: (rank(one.priority, now - one.since), -one.order), default=None)
