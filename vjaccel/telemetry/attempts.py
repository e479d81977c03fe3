"""What a batch that is under way has been through, told as it happens by whoever sends it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Self

__all__ = ["Attempts", "sent_again", "waited"]


class Attempts:
    """Those of one batch, within its block: also in tasks and threads that have its context.

    Parameters
    ----------
    tell : callable
        Told requests that are sent again, and seconds of waiting, when there are some.

    Attributes
    ----------
    retries : int
    waited : float
        Seconds.
    """

    def __init__(self, tell: Callable[[int, float], object]) -> None:
        self.retries, self.waited = 0, 0.0
        self._tell = tell
        self._token: Token[Attempts | None] | None = None

    def note(self, retries: int, waited: float) -> None:
        """Count more of them."""
        if retries > 0 or waited > 0:
            self.retries, self.waited = self.retries + retries, self.waited + waited
            self._tell(retries, waited)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._token is not None
        _current.reset(self._token)


def sent_again() -> None:
    """The request for the batch that is under way here is sent again."""
    _note(1, 0.0)


def waited(seconds: float) -> None:
    """The batch that is under way here has waited: for limits, or between attempts."""
    _note(0, seconds)


def _note(retries: int, seconds: float) -> None:
    attempts = _current.get()
    if attempts is not None:
        attempts.note(retries, seconds)


_current: ContextVar[Attempts | None] = ContextVar("vjaccel_attempts", default=None)
