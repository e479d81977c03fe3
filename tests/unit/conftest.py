"""A machine with a GPU, as far as anyone can tell without a library; and a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docs.chromium import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Here, as the folder for a machine with a GPU has this file and neither of these.
    from docs.chromium import chromium
    from tests.debian import program

    with chromium(program("chromium")) as found:
        yield found


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts an ``nvidia-smi`` first on PATH that prints some lines and ends with a code."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*lines: str, code: int = 0) -> None:
        folder = tmp_path / "driver"
        folder.mkdir()
        program = folder / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install
