"""What tests that stop programs share, and those of a service that fails."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.faults.server import FaultServer


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A child ignores SIGINT if its parent does, as whatever a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have keys and addresses of real services."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """One that fails at nothing yet."""
    with FaultServer() as made:
        yield made
