"""An interrupt at a moment at which a command is not yet, or no longer, at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WHILE_IMPORTING = """
import importlib.abc, os, signal, sys

class Interrupts(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "vjaccel.cli.embed":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
"""
AT_THE_END = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGINT)
"""


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("moment", "code"), [(WHILE_IMPORTING, 130), (AT_THE_END, 0)])
def test_an_interrupt_shows_no_traceback(tmp_path: Path, moment: str, code: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(moment)
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "--version"], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, "")
