"""How many threads a call may use. A backend that has threads of its own reads it; nothing here starts one."""

from __future__ import annotations

import os
from functools import cache

from vjaccel.arrays.check import count
from vjaccel.errors import InvalidInput

__all__ = ["ENVIRONMENT", "processors", "set_threads", "thread_count", "thread_limit"]

ENVIRONMENT = "VJACCEL_THREADS"

_set: int | None = None


def set_threads(n: int | None) -> None:
    """Use at most `n` threads in each call, the calling one among them; calls that run already keep theirs.

    It holds for the process and the vector operations of the NumPy backend; other libraries have settings of their own.

    Parameters
    ----------
    n : int or None
        At least 1, which starts no thread at all. None goes back to ``VJACCEL_THREADS``, or the processors that this process
        may use.

    Raises
    ------
    InvalidInput, InvalidType
        `n` is no whole number of at least 1.

    Examples
    --------
    >>> set_threads(1)
    >>> set_threads(None)
    """
    global _set
    _set = None if n is None else count(n, "n")


def thread_limit() -> int | None:
    """The number that somebody asked for; None where nobody did.

    Raises
    ------
    InvalidInput
        ``VJACCEL_THREADS`` is no whole number of at least 1.
    """
    return _set or _environment()


def thread_count() -> int:
    """The number that somebody asked for, or the processors that this process may use."""
    return thread_limit() or _processors_at_first()


@cache
def _environment() -> int | None:
    value = os.environ.get(ENVIRONMENT, "").strip()
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise InvalidInput(f"{ENVIRONMENT} is {value!r}; it needs a whole number of at least 1")
    return int(value)


@cache
def _processors_at_first() -> int:
    """`processors`, asked once: each call on arrays wants them."""
    return processors()


def processors() -> int:
    """The processors that this process may use now."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
