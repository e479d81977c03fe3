"""Numbers as a reader wants them: three digits, a unit that fits, and a dash for what is unknown."""

from __future__ import annotations

import math

__all__ = [
    "UNKNOWN",
    "counted",
    "duration",
    "percent",
    "rate",
    "ratio",
    "scaled",
    "seconds",
    "short",
    "speed",
    "ticks",
    "times",
]

UNKNOWN = "–"  # noqa: RUF001  # a dash, as tables have it

_SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def counted(number: int, one: str, more: str = "") -> str:
    """So many of something: `1 text`, `2,000 texts`; `more` where an s does not make several of `one`."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {more or one + 's'}"


def seconds(value: float | None) -> str:
    """A time: `1.23 ms`."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if size >= factor * 0.9995:
            return f"{_three(value / factor)} {unit}"
    return f"{_three(value / 1e-9)} ns"


def duration(value: float) -> str:
    """How long something went on: `1.23 s`, `4 min 12 s`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(value)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {unit}" + (f" {rest} {smaller}" if rest else "")
    return seconds(value)


def rate(value: float | None, unit: str) -> str:
    """A rate: `123 GFLOP/s`."""
    return UNKNOWN if value is None else f"{scaled(value, ' ')}{unit}"


def speed(value: float | None, unit: str) -> str:
    """How many of something in a second: `1,280 tokens/s`, `0.52 texts/s`."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{_three(value)} {unit}"


def scaled(value: float, space: str = "") -> str:
    """A number with its prefix: `12.3M`."""
    for factor, prefix in _SCALES:
        if abs(value) >= factor * 0.9995:
            return f"{_three(value / factor)}{space}{prefix}"
    return f"{_three(value)}{space}"


def ratio(value: float | None) -> str:
    """How many times as fast: `×1.85`."""  # noqa: RUF002  # the sign that it shows
    return UNKNOWN if value is None else f"×{_three(value)}"  # noqa: RUF001  # the sign of multiplication


def times(value: float) -> str:
    """A ratio of speeds in words: `1.85 times as fast`, `2 times as slow`."""
    return f"{_three(value)} times as fast" if value >= 1 else f"{_three(1 / value)} times as slow"


def percent(value: float | None) -> str:
    """A share: `3.2 %`."""
    return UNKNOWN if value is None else f"{value * 100:.1f} %" if value < 0.9995 else f"{value * 100:.0f} %"


def short(text: str, limit: int = 22) -> str:
    """`text`, its middle left out where it is longer than `limit`."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers on a logarithmic axis from `low` to `high`, at most about `most`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 1.2, 1.5, 2, 3, 4, 5, 7), (1, 1.5, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**e for e in range(first, last + 1) for d in digits if low <= d * 10.0**e <= high]
        if 2 <= len(found) <= most:
            return found
    step = max(1, math.ceil((last - first) / (most - 1)))
    found = [10.0**e for e in range(first, last + 1, step) if low <= 10.0**e <= high]
    return found if len(found) > 1 else [low, high]


def _three(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    text = f"{round(value, digits):.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
