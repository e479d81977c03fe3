"""Who uses Ray in one process shares its connection: it ends with the last, and is to one cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

from tests.ray_nodes import ROOT, Nodes

PATIENCE = 120

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def ran(code: str, *arguments: str) -> list[str]:
    """The lines that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=PATIENCE,
        check=False, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_ends_with_the_last_who_uses_it_and_another_address_is_refused() -> None:
    said = ran("""
        import glob
        from contextlib import ExitStack
        import vjaccel as vj
        from vjaccel.cluster import connected

        first, second = ExitStack(), ExitStack()
        ray = first.enter_context(connected(None))
        folder = ray._private.worker._global_node.get_temp_dir_path()
        print(glob.glob(folder) == [folder])
        second.enter_context(connected(None))
        for address in ("127.0.0.1:1", "auto", "ray://127.0.0.1:1"):
            try:
                with connected(address):
                    print("another")
            except vj.errors.InvalidInput as exc:
                print(exc)
        first.close()
        print(ray.get(ray.put("there")))
        second.close()
        print(ray.is_initialized(), glob.glob(folder))
        with connected(None) as ray:
            print(ray.get(ray.put("again")))
    """)
    assert said == [
        "True",
        *(
            f"this process is connected to a Ray of its own, and cannot be to the one at {address} meanwhile"
            for address in ("127.0.0.1:1", "auto", "ray://127.0.0.1:1")
        ),
        "there",
        "False []",
        "again",
    ]


@pytest.mark.soak
def test_a_cluster_is_the_same_by_any_name_and_one_that_was_connected_before_is_left_so() -> None:
    with Nodes(1, {}) as nodes:
        said = ran(
            """
            import sys
            import ray
            import vjaccel as vj
            from vjaccel.cluster import connected

            address = sys.argv[1]
            for before in (lambda: None, lambda: ray.init(address, log_to_driver=False)):
                before()
                with connected(address):
                    for again in ("auto", address, "localhost:" + address.rpartition(":")[2], None):
                        with connected(again) as ray:
                            print(ray.get(ray.put("there")))
                    try:
                        with connected("127.0.0.1:1"):
                            print("another")
                    except vj.errors.InvalidInput as exc:
                        print("127.0.0.1:1 meanwhile" in str(exc))
                print(ray.is_initialized())
            """,
            nodes.address,
        )
    assert said == [*["there"] * 4, "True", "False", *["there"] * 4, "True", "True"]


@pytest.mark.soak
def test_a_service_that_came_meanwhile_is_left_as_it_is() -> None:
    pytest.importorskip("fastapi")
    said = ran("""
        import threading
        import vjaccel as vj
        from vjaccel.cluster import connected

        with connected(None):
            from ray import serve
            from vjaccel.serve.app import Limits
            from vjaccel.serve.replicas import Replicas, check_unserved, serve_replicas

            check_unserved()
            serve.start(http_options={"host": "127.0.0.1", "port": 0})
            replicas = Replicas({"model": "nobody:8"}, ("a",), Limits(), None, 0.003, 1, 1, {"num_cpus": 1}, 1.0)
            try:
                serve_replicas(replicas, "127.0.0.1", 0, lambda: print("begun"), threading.Event())
            except vj.ClusterError as exc:
                print(exc)
            print(len(serve.status().proxies))
    """)
    # Ray may say something of its own behind them.
    assert said[:2] == [
        "the cluster serves something already: end that with `serve shutdown`, or take another one",
        "1",
    ]
