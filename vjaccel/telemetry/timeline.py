"""Sums over equal spans of time, never more than a fixed number of them: as time goes by the spans grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

__all__ = ["SUMMED", "Timeline"]

SPANS = 256
"""At most; when they are full, each two become one."""

FIRST_WIDTH = 0.125
"""Seconds of a span at first. A power of two, so that spans of any two timelines can be made equal."""

SUMMED = (
    "embedded",
    "cached",
    "duplicate",
    "failed",
    "tokens",
    "padded",
    "batches",
    "batch_seconds",
    "retries",
    "waited",
    "cpu_seconds",
)
"""What is added up. Beside them the highest of `HIGHEST` is kept."""

HIGHEST = ("memory_bytes", "device_bytes", "queued")


class Timeline:
    """What happened when, since a run began.

    Attributes
    ----------
    width : float
        Seconds of a span.
    values : dict of str to ndarray, shape (spans,)
        The sums of `SUMMED`, and the highest of ``memory_bytes``, ``device_bytes`` and ``queued``, NaN where none was seen.
    """

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self._used = 0
        self._arrays = {name: np.zeros(SPANS) for name in SUMMED} | {name: np.full(SPANS, np.nan) for name in HIGHEST}

    def add(self, seconds: float, **values: float) -> None:
        """Add to the sums of the span that is `seconds` after the beginning."""
        place = self._place(seconds)
        for name, value in values.items():
            self._arrays[name][place] += value

    def look(self, seconds: float, **values: float | None) -> bool:
        """Note what is seen; whether it is the first of its span."""
        place = self._place(seconds)
        first = bool(np.isnan(self._arrays[HIGHEST[0]][place]))
        for name, value in values.items():
            if value is not None:
                self._arrays[name][place] = np.fmax(self._arrays[name][place], value)
        return first

    def is_new(self, seconds: float) -> bool:
        """Whether nothing was seen yet in the span that is `seconds` after the beginning."""
        return bool(np.isnan(self._arrays[HIGHEST[0]][self._place(seconds)]))

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        return {name: array[: self._used].copy() for name, array in self._arrays.items()}

    @property
    def seconds(self) -> float:
        """Where the last span ends."""
        return self._used * self.width

    def followed_by(self, other: Timeline) -> Timeline:
        """This one, and behind it `other`."""
        both = Timeline()
        both.width = max(self.width, other.width)
        parts = [one._at(both.width) for one in (self, other)]
        while sum(used for _, used in parts) > SPANS:
            both.width *= 2
            parts = [one._at(both.width) for one in (self, other)]
        for name, array in both._arrays.items():
            found = np.concatenate([arrays[name][:used] for arrays, used in parts])
            array[: len(found)] = found
        both._used = sum(used for _, used in parts)
        return both

    def take_in(self, part: Timeline, offset: float) -> None:
        """Add what happened elsewhere at the same time: `part` began `offset` seconds after this one."""
        for place in range(part._used):
            seconds = offset + place * part.width
            self.add(seconds, **{name: part._arrays[name][place] for name in SUMMED})
            seen = {name: part._arrays[name][place] for name in HIGHEST}
            self.look(seconds, **{name: None if np.isnan(value) else value for name, value in seen.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: numbers in short, and null for what was not seen."""
        found = {name: [_short(x) for x in array] for name, array in self.values.items()}
        return {"width": self.width, "spans": self._used, "values": found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The timeline that `to_dict` wrote."""
        made = cls()
        made.width, made._used = float(values["width"]), int(values["spans"])
        for name, array in made._arrays.items():
            found = values["values"].get(name, [])
            array[: len(found)] = [np.nan if x is None else x for x in found]
        return made

    def _place(self, seconds: float) -> int:
        place = max(0, int(seconds / self.width))
        while place >= SPANS:
            self._arrays, self._used = self._at(self.width * 2)
            self.width *= 2
            place = int(seconds / self.width)
        self._used = max(self._used, place + 1)
        return place

    def _at(self, width: float) -> tuple[dict[str, np.ndarray], int]:
        """The arrays with wider spans, and how many are used."""
        arrays, used, mine = self._arrays, self._used, self.width
        while mine < width:
            pairs = {name: array.reshape(-1, 2) for name, array in arrays.items()}
            half = SPANS // 2
            arrays = {
                name: np.concatenate([pair.sum(axis=1), np.zeros(half)])
                if name in SUMMED
                else np.concatenate([np.fmax(pair[:, 0], pair[:, 1]), np.full(half, np.nan)])
                for name, pair in pairs.items()
            }
            used, mine = (used + 1) // 2, mine * 2
        return arrays, used


def _short(value: float) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if value == int(value) else round(float(value), 4)
