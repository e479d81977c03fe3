"""What came through Ray, in the words of what raised it."""

from __future__ import annotations

from vjaccel.errors import VjaccelError

__all__ = ["said"]


def said(exc: BaseException) -> str:
    """What an exception that came through Ray says, in one line."""
    cause = getattr(exc, "cause", None)
    exc = cause if isinstance(cause, BaseException) else exc
    lines = [line.strip() for line in str(exc).strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    # What cannot even be unpacked there ends with its cause.
    if (lines and first.endswith(":")) or "Traceback" in str(exc):
        first = lines[-1]
    return first if isinstance(exc, VjaccelError) else f"{type(exc).__name__}: {first}"
