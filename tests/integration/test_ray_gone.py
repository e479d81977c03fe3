"""A cluster that has gone is said so, in one of the library's own errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.ray_nodes import ROOT, Nodes
from tests.unit.cli.letters import install

PATIENCE = 120

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_run_whose_cluster_is_killed_while_the_model_is_loaded_says_so(tmp_path: Path) -> None:
    install(tmp_path / "plugins")
    loading = tmp_path / "loading"
    environment = {
        "PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}:{ROOT / 'backends'}", "LETTERS_LOADING": str(loading),
    }  # fmt: skip
    (tmp_path / "in.txt").write_text("one\n")
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--model", "letters:8"]
    with Nodes(1, environment) as nodes:
        process = subprocess.Popen(
            [*command, "--engine", "ray", "--address", nodes.address], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env=os.environ | environment,
        )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while not loading.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(2)  # the node is looked at meanwhile
        nodes.kill()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    # By what of it ends first.
    ways = "the cluster has gone: |the node .* cannot do it: |a worker ended while it loaded letters:8: "
    assert re.match(f"vjaccel: ({ways})", said.splitlines()[-1]), said


@pytest.mark.soak
def test_a_run_whose_cluster_is_killed_says_so_and_keeps_what_was_done(tmp_path: Path) -> None:
    install(tmp_path / "plugins")
    environment = {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}:{ROOT / 'backends'}"}
    (tmp_path / "in.txt").write_text("".join(f"SLOW {i}\n" for i in range(100_000)))
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--model", "letters:8"]
    with Nodes(1, environment) as nodes:
        process = subprocess.Popen(
            [*command, "--engine", "ray", "--address", nodes.address], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
            env=os.environ | environment,
        )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while not any(path.stat().st_size for path in tmp_path.glob("out.parquet.journal/shards/*/vectors.f32")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        nodes.kill()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    last = said.splitlines()[-1]
    assert last.startswith("vjaccel: the cluster has "), said
    assert last.endswith("; what is done is kept, and the same command goes on"), said
    assert (tmp_path / "out.parquet.journal").is_dir()
