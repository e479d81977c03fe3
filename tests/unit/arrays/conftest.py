"""Backends that are installed for a test: with nothing else there, choosing and moving can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.conformance import plugins
from tests.unit.arrays.loopback import Loopback

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution: its name, and its backends as keywords."""
    monkeypatch.delenv("VJACCEL_BACKEND", raising=False)
    with ExitStack() as stack:
        yield lambda distribution, **entries: stack.enter_context(
            plugins.installed(tmp_path / distribution, distribution, entries)
        )
        vj.set_backend(None)


@pytest.fixture
def calls(install: Install) -> list[tuple[str, str]]:
    """Installs the loop-back backends; what they are asked for is written here."""
    install("loopbacks", loopback="tests.unit.arrays.loopback:Loopback", other="tests.unit.arrays.loopback:Other")
    Loopback.calls.clear()
    return Loopback.calls


@pytest.fixture
def on(calls: list[tuple[str, str]]) -> Callable[[str, Any], Any]:
    """Puts an array where a spec says."""
    return lambda spec, x: vj.get_backend(spec).asarray(np.asarray(x))
