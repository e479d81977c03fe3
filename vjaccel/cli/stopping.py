"""Ctrl-C and SIGTERM: the first lets what is in flight come to its end, for a while; a second one stops at once."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import typer

from vjaccel.observe import formatted

__all__ = ["Stopping"]

PATIENCE = 10.0
"""Seconds that what is in flight may take."""

INTERRUPTED, TERMINATED = 130, 143

logger = logging.getLogger("vjaccel.cli")


class Stopping:
    """Within its block a signal raises KeyboardInterrupt once, and the block ends the command with the signal's exit code.

    What a run has done is on disk batch by batch, so that ending the process where it stands loses nothing that is done.

    Attributes
    ----------
    say : str
        What people are told then.
    leave : callable
        Called before a process ends where it stands, to take away what would stay.
    """

    def __init__(self) -> None:
        self.say = "stopped; nothing was done yet"
        self.leave: Callable[[], object] = lambda: None
        self._code: int | None = None
        self._timer: threading.Timer | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Whoever has SIGINT ignored, such as a shell that starts this in the background, wants it so.
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._code is not None and isinstance(exc, KeyboardInterrupt):
            logger.warning("%s", self.say)
            raise typer.Exit(self._code) from None

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._code is not None:
            self._end()
        self._code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        self._timer = threading.Timer(PATIENCE, self._end)
        self._timer.daemon = True
        self._timer.start()
        raise KeyboardInterrupt

    def _end(self) -> None:
        # A bar has hidden the cursor, and will not be there to show it again.
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""
        # Not by the logger, whose lock whoever was interrupted may hold.
        sys.stderr.write(f"{shown}\n{formatted(self.say)}\n")
        sys.stderr.flush()
        self.leave()
        os._exit(self._code or INTERRUPTED)
