"""The devices that an embedder has its model on, what is known of batches there, and which of them takes the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.tuner import Lesson, Tuner

__all__ = ["Device", "Pace", "pays", "usable"]


class Pace(NamedTuple):
    """How fast a device has been so far in a run.

    Attributes
    ----------
    rate : float
        Tokens a second of one batch; 0 where none has come to its end.
    at_once : int
        Batches that it runs now.
    """

    rate: float
    at_once: int


def pays(size: int, own: Pace, others: Sequence[Pace], waiting: int) -> bool:
    """Whether a device should take a batch of `size` of the `waiting` tokens, or leave it to the others at work.

    It should not where they would have done all that waits, this batch too, before it has done this one alone. While a device
    has no rate, it takes what comes, to find out.

    Examples
    --------
    >>> pays(1_000, Pace(2_000.0, 1), [Pace(200_000.0, 1)], waiting=1_000_000)
    True
    >>> pays(1_000, Pace(2_000.0, 1), [Pace(200_000.0, 1)], waiting=50_000)
    False
    """
    at_work = [other for other in others if other.rate and other.at_once]
    if not own.rate or not at_work:
        return True
    size = min(size, waiting)
    together = sum(other.rate * other.at_once for other in at_work)
    # They are no faster than a batch of it takes the fastest.
    theirs = max(waiting / together, size / max(other.rate for other in at_work))
    return size / own.rate <= theirs


@dataclass
class Device:
    """A model on one device; of a service or a function, whatever computes its vectors.

    Attributes
    ----------
    name : str
        Of one of several, as ``gpu:1``; else empty.
    tuner : Tuner or None
        Which chooses the budgets of its batches; None where the provider's own stays.
    failed : str
        Why it is of no more use; empty where it is.
    """

    provider: Provider
    tuner: Tuner | None = None
    name: str = ""
    failed: str = ""

    @property
    def most(self) -> int:
        """The largest budget that a batch may have."""
        return self.provider.batch_tokens if self.tuner is None else self.tuner.most

    def best(self, length: int) -> int:
        """The budget that is known to be best for texts of `length` tokens."""
        return self.provider.batch_tokens if self.tuner is None else self.tuner.best(length)

    def budget(self, length: int) -> tuple[int, Lesson | None]:
        """What the next batch is given, whose longest text has `length` tokens, and what it will tell."""
        if self.tuner is None:
            return self.provider.batch_tokens, None
        lesson = self.tuner.choose(length)
        return lesson.budget, lesson

    def ran_out(self, padded: int) -> None:
        """Memory had no room for a batch of so many tokens: there will be none as large in this run or the next."""
        if self.tuner is None:
            self.provider.batch_tokens = max(1, min(self.provider.batch_tokens, padded // 2))
        else:
            self.tuner.ran_out(padded)


def usable(devices: Sequence[Device]) -> Sequence[Device]:
    """Those that have not failed; all, to be tried again, where all have."""
    found = [device for device in devices if not device.failed]
    for device in () if found else devices:
        device.failed = ""
    return found or devices
