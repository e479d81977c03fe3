"""Runs on a cluster that `ray start` began, which lets nobody in without its token: found by `auto`, and through `ray://`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from tests.ray_nodes import QUIET, ROOT, STORE
from tests.unit.cli.letters import install

PATIENCE = 120
TOKEN = "0123456789abcdef" * 4

# To begin such a cluster takes as long as a test may.
pytestmark = [pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"), pytest.mark.soak]


class Head(NamedTuple):
    """Ports of a cluster of one node, and the environment of its processes."""

    gcs: int
    client: int
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    plugins = tmp_path_factory.mktemp("plugins")
    install(plugins)
    with tempfile.TemporaryDirectory(prefix="vj-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # By which `auto` finds this cluster, and no other of the machine.
        environment = {
            **os.environ, **QUIET, "PYTHONPATH": f"{plugins}:{ROOT}:{ROOT / 'backends'}", "RAY_TMPDIR": folder,
            "RAY_AUTH_TOKEN": TOKEN,
        }  # fmt: skip
        gcs, client = free_port(), free_port()
        command = [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={gcs}",
            f"--ray-client-server-port={client}", "--num-cpus=2", f"--object-store-memory={STORE}",
            "--include-dashboard=false", "--min-worker-port=0", "--max-worker-port=0",
        ]  # fmt: skip
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                for port in (gcs, client):
                    until_answered(port, process)
                yield Head(gcs, client, environment)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def until_answered(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


def started(head: Head, work: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "vjaccel",
        "embed",
        "in.txt",
        "-o",
        "out.parquet",
        "--model",
        "letters:8",
        *arguments,
    ]
    return subprocess.Popen(
        command, cwd=work, env=head.environment | more, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out + err
    return out + err


def test_a_cluster_that_is_found_has_the_local_engines_output(head: Head, tmp_path: Path) -> None:
    check(head, tmp_path, "auto")


def test_a_client_address_has_the_local_engines_output(head: Head, tmp_path: Path) -> None:
    check(head, tmp_path, f"ray://127.0.0.1:{head.client}", RAY_AUTH_MODE="token")


def check(head: Head, work: Path, address: str, **more: str) -> None:
    (work / "in.txt").write_text("".join(f"text {i}\n" for i in range(300)))
    ended(started(head, work))
    wanted = pq.read_table(work / "out.parquet")
    ended(started(head, work, "--engine", "ray", "--address", address, "--shard-rows", "50", "--restart", **more))
    assert pq.read_table(work / "out.parquet").equals(wanted)


@pytest.mark.usefixtures("interrupts")
def test_a_run_through_a_client_address_is_interrupted_and_goes_on(head: Head, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"SLOW {i}\n" for i in range(2000)))
    spread = ("--engine", "ray", "--address", f"ray://127.0.0.1:{head.client}", "--shard-rows", "50")
    process = started(head, tmp_path, *spread, RAY_AUTH_MODE="token")
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("out.parquet.journal/shards/taken/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "stopped; out.parquet is not written yet" in ended(process, 130)
    assert "rows are settled" in ended(started(head, tmp_path, *spread, RAY_AUTH_MODE="token"))
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 2000


@pytest.mark.parametrize("client", [True, False], ids=["not the client server", "no token"])
def test_a_cluster_that_lets_nobody_in_says_what_to_set(head: Head, tmp_path: Path, client: bool) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    address = f"{'ray://' if client else ''}127.0.0.1:{head.gcs}"
    said = ended(started(head, tmp_path, "--engine", "ray", "--address", address), 1)
    assert said.startswith(f"vjaccel: the Ray cluster at {address} answers, and does not let this process in (")
    assert "RAY_AUTH_MODE=token" in said
    assert ("Ray client server" in said) == client


def test_a_ray_client_server_is_named_where_a_cluster_was_to_be(head: Head, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    address = f"127.0.0.1:{head.client}"
    said = ended(started(head, tmp_path, "--engine", "ray", "--address", address), 1)
    assert said == f"vjaccel: at {address} is the Ray client server of a cluster: say --address ray://{address}\n"
