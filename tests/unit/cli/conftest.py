"""The command line, run in this process, as a user would type it."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.cli.letters import install
from vjaccel.cli import main
from vjaccel.telemetry import RUN


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs ``vjaccel ARGUMENTS...`` in a folder of the test's own, with the provider ``letters``."""
    plugins = tmp_path / "plugins"
    install(plugins)
    monkeypatch.syspath_prepend(str(plugins))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "120")

    def of(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["vjaccel", *arguments])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        logger, run_id = logging.getLogger("vjaccel"), RUN.set(None)
        handlers, level, last_resort = list(logger.handlers), logger.level, logging.lastResort
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as left:
                copy_context().run(main)  # as in a process of its own, what it sets for its runs is nobody else's
        finally:
            # A command has its process to itself, and leaves its log as it is.
            logger.handlers[:], logger.level, logging.lastResort = handlers, level, last_resort
            RUN.reset(run_id)
            for number, handler in before.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        return Done(int(left.value.code or 0), out, err)

    return of
