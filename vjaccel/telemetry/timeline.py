"""Sums over equal spans of time, never more than a fixed number of them: as time goes by the spans grow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest
from operator import add
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
        # A list for each span: numbers of Python's are quicker to add to one by one than an array's.
        self._spans: list[list[float]] = []

    def add(self, seconds: float, **values: float) -> None:
        """Add to the sums of the span that is `seconds` after the beginning."""
        span = self._span(seconds)
        for name, value in values.items():
            span[_PLACES[name]] += value

    def look(self, seconds: float, **values: float | None) -> bool:
        """Note what is seen; whether it is the first of its span."""
        span = self._span(seconds)
        first = span[_FIRST_SEEN] != span[_FIRST_SEEN]
        for name, value in values.items():
            if value is not None:
                span[_PLACES[name]] = _highest(span[_PLACES[name]], value)
        return first

    def is_new(self, seconds: float) -> bool:
        """Whether nothing was seen yet in the span that is `seconds` after the beginning."""
        seen = self._span(seconds)[_FIRST_SEEN]
        return seen != seen

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        whole = np.array(self._spans, float).reshape(-1, len(_PLACES))
        return {name: whole[:, place] for name, place in _PLACES.items()}

    @property
    def seconds(self) -> float:
        """Where the last span ends."""
        return len(self._spans) * self.width

    def copy(self) -> Self:
        """One that stays as it is when more is added to this."""
        made = type(self)()
        made.width, made._spans = self.width, [span.copy() for span in self._spans]
        return made

    def followed_by(self, other: Timeline) -> Timeline:
        """This one, and behind it `other`."""
        both = Timeline()
        both.width = max(self.width, other.width)
        while True:
            both._spans = [*self._at(both.width), *other._at(both.width)]
            if len(both._spans) <= SPANS:
                return both
            both.width *= 2

    def take_in(self, part: Timeline, offset: float) -> None:
        """Add what happened elsewhere at the same time: `part` began `offset` seconds after this one."""
        for place, span in enumerate(part._spans):
            mine = self._span(offset + place * part.width)
            mine[:] = [join(a, b) for join, a, b in zip(_JOINS, mine, span, strict=True)]

    def since(self, before: Timeline) -> Timeline:
        """What is added to it since it was as `before`; what is the highest stays so."""
        made = Timeline()
        made.width = self.width
        earlier = before._at(self.width)
        made._spans = [
            [take_away(a, b) for take_away, a, b in zip(_SINCE, *pair, strict=True)]
            for pair in zip_longest(self._spans, earlier[: len(self._spans)], fillvalue=_EMPTY)
        ]
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: numbers in short, and null for what was not seen."""
        found = {name: [_short(span[place]) for span in self._spans] for name, place in _PLACES.items()}
        return {"width": self.width, "spans": len(self._spans), "values": found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The timeline that `to_dict` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        made = cls()
        made.width = float(values["width"])
        columns = [values["values"].get(name, [0.0 if name in SUMMED else None] * values["spans"]) for name in _PLACES]
        made._spans = [[math.nan if x is None else float(x) for x in span] for span in zip(*columns, strict=True)]
        if len(made._spans) != values["spans"] or len(made._spans) > SPANS:
            raise ValueError(f"a timeline of {values['spans']} spans has {len(made._spans)} values")
        return made

    def _span(self, seconds: float) -> list[float]:
        place = max(0, int(seconds / self.width))
        while place >= SPANS:
            self.width, self._spans = self.width * 2, self._at(self.width * 2)
            place = int(seconds / self.width)
        while len(self._spans) <= place:
            self._spans.append(_EMPTY.copy())
        return self._spans[place]

    def _at(self, width: float) -> list[list[float]]:
        """The spans, wider."""
        spans, mine = self._spans, self.width
        while mine < width:
            pairs = zip_longest(spans[::2], spans[1::2], fillvalue=_EMPTY)
            spans = [[join(a, b) for join, a, b in zip(_JOINS, *pair, strict=True)] for pair in pairs]
            mine *= 2
        return [span.copy() for span in spans]


def _highest(a: float, b: float) -> float:
    """The higher one; NaN is none."""
    return b if a != a or b > a else a


def _more(now: float, before: float) -> float:
    # What was written to a file has fewer digits, and may seem to have become less.
    return max(0.0, now - before)


def _kept(now: float, before: float) -> float:
    return now


_PLACES = {name: place for place, name in enumerate((*SUMMED, *HIGHEST))}
_FIRST_SEEN = _PLACES[HIGHEST[0]]
_EMPTY = [0.0] * len(SUMMED) + [math.nan] * len(HIGHEST)
_JOINS = [add] * len(SUMMED) + [_highest] * len(HIGHEST)
_SINCE = [_more] * len(SUMMED) + [_kept] * len(HIGHEST)


def _short(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else round(value, 4)
