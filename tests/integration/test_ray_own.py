"""A Ray of a run's own leaves nothing behind, whatever ends the run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.ray_nodes import ROOT

PATIENCE = 120

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.mark.soak
def test_what_a_killed_process_has_left_of_it_goes_with_the_next() -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        from vjaccel.cluster import connected

        with connected(None) as ray:
            print(ray._private.worker._global_node.get_temp_dir_path(), flush=True)
            if sys.argv[1:] == ["killed"]:
                os.kill(os.getpid(), signal.SIGKILL)
    """)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"}
    environment.pop("RAY_ADDRESS", None)
    folders = []
    for how in ("killed", "well"):
        done = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=environment,
        )  # fmt: skip
        assert (done.returncode == 0) == (how == "well"), done.stderr
        folders.append(Path(done.stdout.strip()).parent)
        if how == "killed":
            assert folders[0].is_dir()
            assert folders[0].stat().st_mode & 0o777 == 0o700
    assert not any(folder.exists() for folder in folders)
