"""Where the command begins and ends: an interrupt while it is imported, or when its work is done, shows no traceback."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

__all__ = ["main"]

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command that the process was started with, and exit."""
    try:
        # Here, as it takes a second in which people press Ctrl-C.
        from vjaccel.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # What the interpreter still has to do takes a moment, and the exit code is settled.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
