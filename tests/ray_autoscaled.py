"""`deploy/cluster.yaml` on this machine: its node types are processes that Ray's own autoscaler begins and ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.ray_nodes import QUIET, ROOT

__all__ = ["CLUSTER", "Autoscaled"]

CLUSTER = ROOT / "deploy" / "cluster.yaml"
STORE = 100 << 20
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
# As that provider calls the head, and its type.
HEAD, HEAD_TYPE = "f" * 51 + "00000", "ray.head.default"


class Autoscaled:
    """A head that has no room, and an autoscaler, which has nodes come and go.

    Parameters
    ----------
    environment : dict
        Of the processes of all nodes, beside this one's.

    Attributes
    ----------
    address : str
    environment : dict
        Of whoever is to reach it.
    """

    def __init__(self, environment: dict[str, str], *, idle_minutes: float = 0.1) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vj-as-", dir="/tmp"))  # its sockets' paths must be short
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            port, clients = one.getsockname()[1], other.getsockname()[1]
        host = _address_of_this_machine()
        self.address = f"{host}:{port}"
        self.environment = environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        configuration = self._folder / "cluster.json"
        configuration.write_text(json.dumps(_on_this_machine(self.address, idle_minutes)))
        ours = {
            "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_NODE_TYPE_NAME": HEAD_TYPE,
        }  # fmt: skip
        command = [
            "start", "--head", "--block", f"--port={port}", "--num-cpus=0", f"--object-store-memory={STORE}",
            "--include-dashboard=false", f"--autoscaling-config={configuration}", f"--temp-dir={self._folder / 'ray'}",
            f"--ray-client-server-port={clients}",
        ]  # fmt: skip
        with open(self._folder / "said", "w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *command], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                cwd=self._folder, start_new_session=True, env=os.environ | QUIET | self.environment | ours,
            )  # fmt: skip

    def said(self) -> str:
        """What its processes have said so far."""
        return (self._folder / "said").read_text()

    def close(self) -> None:
        """End all of it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        finally:
            # Those that are left, all in the session that was begun for them.
            for line in subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True).stdout.splitlines():
                pid, session = map(int, line.split())
                if session == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _on_this_machine(address: str, idle_minutes: float) -> dict[str, Any]:
    """The cluster as it is, with another provider, for which nothing is to be installed."""
    cluster = yaml.safe_load(CLUSTER.read_text())
    types = cluster["available_node_types"]
    types[HEAD_TYPE] = types.pop(cluster["head_node_type"])
    for of in types.values():
        of["node_config"] = {}
        of["resources"]["object_store_memory"] = STORE
    types[HEAD_TYPE]["max_workers"] = 0
    provider = {
        "type": "external", "module": PROVIDER, "gcs_address": address, "launch_multiple": True, "head_node_id": HEAD,
    }  # fmt: skip
    nothing: dict[str, Any] = {f"{which}setup_commands": [] for which in ("", "head_", "worker_")}
    nothing |= {f"{which}_start_ray_commands": [] for which in ("head", "worker")}
    nothing |= {
        name: [] for name in ("initialization_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")
    }
    nothing |= {"docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False}
    return cluster | nothing | {
        "provider": provider, "idle_timeout_minutes": idle_minutes,
        "head_node_type": HEAD_TYPE, "available_node_types": types,
    }  # fmt: skip


def _address_of_this_machine() -> str:
    """As Ray calls it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        try:
            some.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(some.getsockname()[0])
