"""Programs that come from Debian, not from a Python index: a test that needs one is skipped where it is absent.

``VJACCEL_REQUIRE_DEBIAN`` lists, with commas, those that must be there: then that is a failure. `.ci/run` sets it.
"""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["REQUIRED", "program"]

REQUIRED = "VJACCEL_REQUIRE_DEBIAN"


def program(name: str, package: str | None = None) -> str:
    """The path of the program `name`; `package` is Debian's name for what brings it, where it is another."""
    found = shutil.which(name)
    if found:
        return found
    package = package or name
    absent = f"{name} is not installed: apt-get install {package}"
    if package in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{absent} ({REQUIRED} asks for it)")
    pytest.skip(absent)
