"""`vjaccel embed --metrics-port`: a run that Prometheus watches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from vjaccel.cli.stopping import INTERRUPTED, TERMINATED
from vjaccel.observe import Monitor, View

__all__ = ["monitored", "served_to_the_last"]

logger = logging.getLogger("vjaccel.cli")

_monitors: list[Monitor] = []
"""Those of the command, which outlast it: how it has ended is to be scraped too."""


def monitored(port: int | None, host: str, stalled_after: float, bar: View) -> None:
    """Serve metrics from now on, and say where; without a port nothing.

    Raises
    ------
    InvalidInput, MissingExtra
    """
    if port is not None:
        monitor = Monitor(port, host, stalled_after=stalled_after)
        _monitors.append(monitor)
        bar.say(f"vjaccel: metrics are at {monitor.url}/metrics")


@contextmanager
def served_to_the_last() -> Iterator[None]:
    """What a command is inside of: when it has ended, its metrics are served until they were scraped, or it was stopped."""
    stopped = False
    try:
        yield
    except KeyboardInterrupt:
        stopped = True
        raise
    except SystemExit as exc:
        stopped = exc.code in (INTERRUPTED, TERMINATED)
        raise
    finally:
        while _monitors:
            # All is done and said, and what the command has come to stays its exit code.
            with closing(_monitors.pop()) as monitor, suppress(KeyboardInterrupt):
                if not stopped:
                    monitor.last_scrape(_say)


def _say(seconds: float) -> None:
    logger.warning("the metrics' last values wait %.0f s at most to be scraped; Ctrl-C leaves them", seconds)
