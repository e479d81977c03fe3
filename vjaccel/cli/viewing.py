"""How a run is shown and logged: a bar, a live view, or lines of the log."""

from __future__ import annotations

import sys
from uuid import uuid4

import typer

from vjaccel.errors import InvalidInput
from vjaccel.observe import LogFormat, LogLevel, LogLines, RunBar, View, WatchView, say_on_stderr
from vjaccel.telemetry import RUN

__all__ = ["logged", "viewed"]


def viewed(title: str, log_format: LogFormat, level: LogLevel | None, *, watch: bool) -> View:
    """What shows a run called `title`; from now on the log is written as asked, each line with the run's id.

    Raises
    ------
    InvalidInput
        A live view is asked for among lines of JSON.
    """
    if watch and log_format == "json":
        raise InvalidInput(
            "--watch draws on standard error, and --log-format json writes lines there: give one of them"
        )
    logged(log_format, level)
    if log_format == "json":
        return LogLines()
    if watch and sys.stderr.isatty():
        return WatchView(title)
    if watch:
        typer.echo("vjaccel: --watch needs a terminal: there is a line every 10 s instead", err=True)
    return RunBar()


def logged(log_format: LogFormat, level: LogLevel | None) -> None:
    """Write the log as asked from now on, each line with an id that this command has."""
    run = uuid4().hex[:12]
    RUN.set(run)
    say_on_stderr(log_format, level or ("info" if log_format == "json" else "warning"), run)
