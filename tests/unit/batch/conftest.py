"""What the tests of batches share: no setting of the machine's own reaches them."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if "_CONFIG" in name and name.startswith("VJACCEL_"):
            monkeypatch.delenv(name)
