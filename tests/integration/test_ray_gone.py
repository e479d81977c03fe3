"""A cluster that has gone is said so, in one of the library's own errors."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 120

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def test_whoever_asks_for_its_nodes_is_told() -> None:
    code = textwrap.dedent("""
        import vjaccel as vj
        from vjaccel.cluster import Resources, check_room, connected, may_grow

        with connected(None) as ray:
            check_room(ray, Resources(), 1)
            ray.shutdown()
            for ask in (may_grow, lambda ray: check_room(ray, Resources(), 1)):
                try:
                    ask(ray)
                except vj.ClusterError as exc:
                    print(exc)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == ["the cluster has gone"] * 2
