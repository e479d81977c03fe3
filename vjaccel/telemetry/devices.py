"""What each device did of a run whose model is on several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from vjaccel.telemetry.events import BatchEnded

__all__ = ["Devices", "OfDevice"]


class OfDevice(NamedTuple):
    """What one device did.

    Attributes
    ----------
    texts, batches : int
        Of the batches that came back.
    tokens : int or None
        Of those texts; None where they are not counted.
    seconds : float
        That those batches took, all of them together.
    busy : float
        Seconds in which it had at least one batch, those that failed included.
    there : float
        Seconds of the run in which it could have had one.
    taken_out : str or None
        Why it was to have no more; None where it was not taken out.
    failures : int
        How often that was in this run, and not before it.
    """

    texts: int = 0
    batches: int = 0
    tokens: int | None = 0
    seconds: float = 0.0
    busy: float = 0.0
    there: float = 0.0
    taken_out: str | None = None
    failures: int = 0

    @property
    def share_busy(self) -> float | None:
        """Of the time that it was there; None where that was none."""
        return min(1.0, self.busy / self.there) if self.there > 0 else None

    def with_that_of(self, other: OfDevice) -> OfDevice:
        """Of both together."""
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        return OfDevice(
            self.texts + other.texts, self.batches + other.batches, tokens, self.seconds + other.seconds,
            self.busy + other.busy, self.there + other.there, other.taken_out or self.taken_out,
            self.failures + other.failures,
        )  # fmt: skip

    def without_that_of(self, other: OfDevice) -> OfDevice:
        """What this has done beside what `other` has."""
        tokens = None if self.tokens is None or other.tokens is None else self.tokens - other.tokens
        return OfDevice(
            self.texts - other.texts, self.batches - other.batches, tokens, self.seconds - other.seconds,
            self.busy - other.busy, self.there - other.there, self.taken_out,
            self.failures - other.failures,
        )  # fmt: skip


class Devices:
    """Of a run on one device it is empty. Whoever writes to it from several threads holds a lock."""

    def __init__(self) -> None:
        self._known: dict[str, OfDevice] = {}
        self._there_since: dict[str, float] = {}
        self._at_work: dict[str, int] = {}
        self._busy_since: dict[str, float] = {}

    def come(self, name: str, at: float) -> None:
        """A device may have batches, from `at` seconds of the run on."""
        self._known.setdefault(name, OfDevice())
        self._there_since.setdefault(name, at)

    def taken_out(self, name: str, at: float, why: str, *, earlier: bool) -> None:
        """It is to have no more, as it has failed now, or `earlier` than in this run."""
        known = self._known.get(name, OfDevice())
        there = max(0.0, at - self._there_since.pop(name, at))
        self._known[name] = known._replace(
            there=known.there + there, taken_out=why, failures=known.failures + (not earlier)
        )

    def began(self, name: str, at: float) -> None:
        """It has got a batch."""
        before = self._at_work.get(name, 0)
        self._at_work[name] = before + 1
        if not before:
            self._busy_since[name] = at

    def ended(self, batch: BatchEnded, at: float) -> None:
        """A batch of a device has come back, or has failed."""
        name, known = batch.device, self._known.get(batch.device, OfDevice())
        self._at_work[name] = self._at_work.get(name, 1) - 1
        if not self._at_work[name]:
            known = known._replace(busy=known.busy + max(0.0, at - self._busy_since.pop(name, at)))
        if not batch.failed:
            known = known.with_that_of(OfDevice(batch.texts, 1, batch.tokens, batch.seconds))
        self._known[name] = known

    def found(self, now: float) -> dict[str, OfDevice]:
        """By the devices' names, up to `now` seconds of the run."""
        return {
            name: known._replace(
                busy=known.busy + max(0.0, now - self._busy_since.get(name, now)),
                there=known.there + max(0.0, now - self._there_since.get(name, now)),
            )
            for name, known in self._known.items()
        }

    def take_in(self, found: Mapping[str, OfDevice]) -> None:
        """Count what devices did in another part of the run too."""
        for name, one in found.items():
            self._known[name] = self._known.get(name, OfDevice()).with_that_of(one)

    @staticmethod
    def to_dict(found: Mapping[str, OfDevice]) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: one._asdict() | {each: round(getattr(one, each), 4) for each in ("seconds", "busy", "there")}
            for name, one in found.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Those that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            They are none.
        """
        made = cls()
        for name, found in values.items():
            tokens, why = found["tokens"], found["taken_out"]
            made._known[name] = OfDevice(
                int(found["texts"]), int(found["batches"]), None if tokens is None else int(tokens),
                float(found["seconds"]), float(found["busy"]), float(found["there"]), None if why is None else str(why),
                int(found["failures"]),
            )  # fmt: skip
        return made
