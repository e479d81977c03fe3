"""What every test needs: nothing reaches for a model hub, and nothing is left in the user's cache folder."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

# Read when huggingface_hub is first imported, so it is set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["VJACCEL_CACHE_DIR"] = tempfile.mkdtemp(prefix="vjaccel-tests-")
atexit.register(shutil.rmtree, os.environ["VJACCEL_CACHE_DIR"], ignore_errors=True)

# Commands that tests start would else compile this library's own modules each time, which takes half a second of each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def interrupts() -> Iterator[None]:
    """A child ignores SIGINT if its parent does, as whatever a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
