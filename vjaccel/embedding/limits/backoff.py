"""How long to wait before the next attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["backoff", "retry_after"]

FIRST, LONGEST = 0.5, 30.0
"""Seconds that the first wait may have at most, and any."""


def backoff(attempt: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait after the failed attempt number `attempt`, counted from 0: exponential, with full jitter."""
    return uniform(0.0, min(LONGEST, FIRST * 2.0 ** min(attempt, 16)))


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a reply asks to be waited, by ``retry-after-ms`` or ``Retry-After`` in seconds or as a date.

    None where it does not ask, or says what nobody can read. A date that has passed is 0.
    """
    named = {name.lower(): value.strip() for name, value in headers.items()}
    milliseconds = _number(named.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = named.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    # A date without a zone is in UTC, as all dates of HTTP.
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now()).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        found = float(value or "")
    except ValueError:
        return None
    return max(0.0, found) if math.isfinite(found) else None
