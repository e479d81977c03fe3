"""`vjaccel embed --metrics-port`: a run that Prometheus watches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from vjaccel.cli.stopping import INTERRUPTED, TERMINATED
from vjaccel.errors import InvalidInput
from vjaccel.observe import HOST, STALLED, Monitor, View

__all__ = ["check_monitored", "monitored", "served_to_the_last"]

logger = logging.getLogger("vjaccel.cli")

_monitors: list[Monitor] = []
"""Those of the command, which outlast it: how it has ended is to be scraped too."""


def check_monitored(port: int | None, host: str | None, stalled_after: float | None) -> None:
    """Refuse what says how metrics are served where they are not.

    Raises
    ------
    InvalidInput
    """
    asked = {"--metrics-host": host, "--stalled-after": stalled_after}
    given = [name for name, value in asked.items() if value is not None]
    if port is None and given:
        raise InvalidInput(f"{given[0]} is of what --metrics-port serves: give that too, or leave it out")


def monitored(port: int | None, host: str | None, stalled_after: float | None, bar: View) -> None:
    """Serve metrics from now on, and say where; without a port nothing.

    Raises
    ------
    OutputError, InvalidInput, MissingExtra
    """
    if port is not None:
        monitor = Monitor(port, host or HOST, stalled_after=STALLED if stalled_after is None else stalled_after)
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
