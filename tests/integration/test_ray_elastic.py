"""Workers of a run on Ray become more and fewer by the work that there is and by a limit that they share; and so do nodes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.faults.server import FaultServer
from tests.ray_autoscaled import Autoscaled
from tests.ray_nodes import ROOT, Nodes, pool_sizes
from tests.unit.cli.letters import install
from tests.unit.embedding.cache.conftest import redis_server

PATIENCE = 240

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    install(tmp_path / "plugins")
    return {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}:{ROOT / 'backends'}"}


def started(work: Path, environment: dict[str, str], address: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--engine", "ray"]
    return subprocess.Popen(
        [*command, "--address", address, *arguments], cwd=work, text=True, env=os.environ | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def nodes(environment: dict[str, str]) -> int:
    """Raylets beside the head's."""
    found = 0
    for process in psutil.process_iter(["name", "environ"]):
        around = process.info["environ"] or {}
        found += process.info["name"] == "raylet" and around.get("RAY_AUTH_TOKEN") == environment["RAY_AUTH_TOKEN"]
    return found - 1


@pytest.mark.soak
def test_a_shard_is_work_for_one_worker_however_many_are_asked_for(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "in.txt").write_text("".join(f"SLOW {i}\n" for i in range(1000)))
    with Nodes(2, environment) as cluster:
        arguments = ("--model", "letters:8", "--workers", "2:4", "--shard-rows", "1000")
        process = started(tmp_path, environment, cluster.address, *arguments)
        assert max(pool_sizes(process, environment, PATIENCE)) == 1


@pytest.mark.soak
def test_who_waits_for_a_shared_limit_is_not_joined_by_others(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("redis")
    rows = 330
    (tmp_path / "in.txt").write_text("".join(f"text number {i}\n" for i in range(rows)))
    options = ("--model", "openai:m", "--batch-tokens", "20", "--shard-rows", "10", "--workers", "1:2")
    with redis_server(tmp_path) as redis, FaultServer(latency=1.0) as provider, Nodes(2, environment) as cluster:
        process = started(
            tmp_path, environment | {"OPENAI_API_KEY": ""}, cluster.address, *options, "--base-url", provider.url,
            "--shared-limits", redis.url, "--requests-per-minute", "120",
        )  # fmt: skip
        counts = list(pool_sizes(process, environment, PATIENCE))
    assert provider.counts.requests > 240, "in three minutes at least"
    # While there was room in the first minute another came; then they waited, and it went, and did not come again.
    assert counts.count(2) > 0
    assert max(counts[len(counts) * 2 // 3 :]) == 1
    assert len(pq.read_table(tmp_path / "out.parquet")) == rows


@pytest.mark.soak
def test_nodes_come_for_a_run_and_go_after_it(tmp_path: Path, environment: dict[str, str]) -> None:
    rows = 60_000
    (tmp_path / "in.txt").write_text("".join(f"SLOW {i}\n" for i in range(rows)))
    with Autoscaled(environment) as cluster:
        arguments = ("--model", "letters:8", "--workers", "1:3", "--resources", "gpu=1", "--shard-rows", "500")
        deadline = time.monotonic() + PATIENCE
        while "Ray runtime started" not in cluster.said():
            assert time.monotonic() < deadline, cluster.said()
            time.sleep(0.2)
        assert nodes(cluster.environment) == 0
        process = started(tmp_path, cluster.environment, cluster.address, *arguments)
        most = 0
        for _ in pool_sizes(process, cluster.environment, PATIENCE):
            most = max(most, nodes(cluster.environment))
        assert most == 3
        deadline = time.monotonic() + PATIENCE
        while nodes(cluster.environment):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    table = pq.read_table(tmp_path / "out.parquet")
    assert (len(table), table["embedding"].null_count) == (rows, 0)
