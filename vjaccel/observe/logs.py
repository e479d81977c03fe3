"""What a command says on standard error, as sentences or as JSON: the records of the logger ``vjaccel`` and those below it.

A library says nothing of itself: only a command has a handler. No record has a text of the user's.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

__all__ = ["FORMATS", "LEVELS", "JsonFormatter", "LogFormat", "LogLevel", "formatted", "say_on_stderr"]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
FORMATS: tuple[LogFormat, ...] = ("text", "json")
LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: its time in UTC, level, logger, run, message, its own fields, and a traceback.

    Parameters
    ----------
    run : str, optional
        The run of records that name none.

    Notes
    -----
    A record's own fields are those of a dict that it was given: ``logger.info("...", extra={"fields": {"rows": 5}})``.
    """

    def __init__(self, run: str | None = None) -> None:
        super().__init__()
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run": self._run,
            "message": record.getMessage(),
        }
        found |= getattr(record, "fields", {})
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False, default=str)


class _Sentences(logging.Formatter):
    """A record as a command says a thing."""

    def format(self, record: logging.LogRecord) -> str:
        said = f"vjaccel: {record.getMessage()}"
        return f"{said}\n{self.formatException(record.exc_info)}" if record.exc_info else said


class _Stderr(logging.StreamHandler[TextIO]):
    """Standard error as it is when something is said: a bar that is drawn puts itself in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute there
        return sys.stderr


_handler = _Stderr()
_last_resort = logging.lastResort
_turned: dict[LogFormat, Callable[[str | None], logging.Formatter]] = {
    "text": lambda run: _Sentences(),
    "json": JsonFormatter,
}


def say_on_stderr(log_format: LogFormat = "text", level: LogLevel = "warning", run: str | None = None) -> None:
    """Have the records of ``vjaccel`` written to standard error from now on, in this way.

    Among lines of JSON the warnings of other libraries, which Python writes there otherwise, are such lines too.
    """
    logging.lastResort = _handler if log_format == "json" else _last_resort
    _handler.setFormatter(_turned[log_format](run))
    logger = logging.getLogger("vjaccel")
    logger.addHandler(_handler)
    logger.setLevel(level.upper())


def formatted(message: str, level: int = logging.WARNING) -> str:
    """`message` as it would be written, for where no lock may be waited for."""
    return _handler.format(logging.LogRecord("vjaccel.cli", level, "", 0, message, None, None))
