"""What pytest is told in a run: which part of the tests is this process's, and to end in order when its time is up."""

from __future__ import annotations

import os
import signal
from types import FrameType

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of every N tests one, by VJACCEL_TEST_PART=I/N: several processes share a long list where no plugin does it."""
    if part := os.environ.get("VJACCEL_TEST_PART"):
        number, parts = map(int, part.split("/"))
        config.hook.pytest_deselected(items=[item for i, item in enumerate(items) if i % parts != number - 1])
        items[:] = items[number - 1 :: parts]


def pytest_sessionstart(session: pytest.Session) -> None:
    """An interrupt ends the session after the running test: in the middle of it pytest may lose the results."""

    def stop(number: int, frame: FrameType | None) -> None:
        session.shouldstop = "its time was up"

    signal.signal(signal.SIGINT, stop)
