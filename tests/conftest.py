"""What every test needs: nothing reaches for a model hub."""

from __future__ import annotations

import os

import pytest

# Read when huggingface_hub is first imported, so it is set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of every N tests one, by VJACCEL_TEST_PART=I/N: several processes share a long list where no plugin does it."""
    if part := os.environ.get("VJACCEL_TEST_PART"):
        number, parts = map(int, part.split("/"))
        left_out = [item for place, item in enumerate(items) if place % parts != number - 1]
        config.hook.pytest_deselected(items=left_out)
        items[:] = items[number - 1 :: parts]
