"""A Ray cluster: one that is there, or one of this process's own, with what is asked of its nodes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from vjaccel.errors import ClusterError, InvalidInput, MissingExtra, VjaccelError

__all__ = ["Resources", "Workers", "check_room", "connected", "may_grow", "on_every_node", "said", "silent"]

ANSWER_SECONDS = 10.0
"""How long a cluster may take to answer."""

HEAD = "node:__internal_head__"
"""The resource that a cluster's head alone has, 1 of it."""

NODE_SECONDS = 90.0
"""How long a node may take to start a process and to look at its files."""

OBJECT_STORE = 256 << 20
"""Bytes of the object store of a Ray of our own, in which there are descriptions of shards alone."""

NODE_GROUP = "ray.io/node-group"
"""The label of a node whose cluster is in the hands of Ray's autoscaler."""

logger = logging.getLogger("vjaccel.engines")


class Workers(NamedTuple):
    """How many workers there are to be: `least` at first, and no more than `most`, where that is not None."""

    least: int = 1
    most: int | None = None

    @classmethod
    def of(cls, said: str, option: str = "--workers") -> Workers:
        """``MIN:MAX``, ``MIN:`` or ``N``, as `option` was given it.

        Raises
        ------
        InvalidInput

        Examples
        --------
        >>> Workers.of("1:4")
        Workers(least=1, most=4)
        """
        low, colon, high = said.partition(":")
        try:
            least = int(low)
            most = least if not colon else int(high) if high else None
        except ValueError:
            raise InvalidInput(f"{option} {said!r} is neither MIN:MAX nor a number") from None
        if least < 1 or (most is not None and most < least):
            raise InvalidInput(f"{option} {said}: MIN is at least 1, and MAX no less than MIN")
        return cls(least, most)


@dataclass(frozen=True, slots=True)
class Resources:
    """What each worker takes of its node, as Ray counts it.

    Attributes
    ----------
    amounts : dict of str to float
        ``CPU``, ``GPU``, ``memory`` in bytes, and a cluster's own.
    """

    amounts: dict[str, float] = field(default_factory=lambda: {"CPU": 1.0})

    @classmethod
    def of(cls, said: str) -> Resources:
        """``NAME=NUMBER``, several with commas between.

        Raises
        ------
        InvalidInput

        Examples
        --------
        >>> Resources.of("gpu=1").amounts
        {'CPU': 1.0, 'GPU': 1.0}
        """
        found = {"CPU": 1.0}
        for part in said.split(","):
            name, _, amount = (x.strip() for x in part.partition("="))
            try:
                number = float(amount)
            except ValueError:
                number = -1.0
            if not name or not 0 <= number < float("inf"):
                raise InvalidInput(f"--resources {said!r}: write NAME=NUMBER, as in gpu=1 or cpu=4,gpu=1")
            found[name.upper() if name.lower() in ("cpu", "gpu") else name] = number
        return cls(found)

    def __str__(self) -> str:
        return ", ".join(
            f"{name.lower() if name in ('CPU', 'GPU') else name}={x:g}" for name, x in self.amounts.items()
        )

    def fit(self, there: dict[str, float]) -> bool:
        """Whether a node that has `there` has room for one worker when it does nothing else."""
        return all(there.get(name, 0.0) >= amount for name, amount in self.amounts.items())

    def times_in(self, there: dict[str, float]) -> int:
        """For how many workers a node that has `there` has room."""
        return min(
            (int(there.get(name, 0.0) // amount) for name, amount in self.amounts.items() if amount),
            default=sys.maxsize,
        )

    def options(self) -> dict[str, Any]:
        """As Ray's tasks and actors are asked for them."""
        own = {name: x for name, x in self.amounts.items() if name not in ("CPU", "GPU", "memory")}
        return {
            "num_cpus": self.amounts["CPU"],
            "num_gpus": self.amounts.get("GPU", 0),
            **({"memory": self.amounts["memory"]} if "memory" in self.amounts else {}),
            **({"resources": own} if own else {}),
        }


def silent() -> Any:
    """The module ``ray``, which says nothing of its own and tells nobody of its use.

    Raises
    ------
    MissingExtra
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A thread of Ray Data that comes too late would begin a Ray of its own.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # As it will be, which Ray otherwise announces in each process.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of modules that it imports
            import ray
            import ray.data
    except ImportError as exc:
        raise MissingExtra("--engine ray", "ray") from exc
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.max_consecutive_actor_init_deaths = 3
    for name in ("ray", "ray.data", "ray.serve"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


@contextmanager
def connected(address: str | None, resources: Resources) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster some node of which has `resources`.

    Parameters
    ----------
    address : str or None
        ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``; by default what RAY_ADDRESS says, or else a Ray of this
        process's own on this machine, which is stopped at the end.

    Raises
    ------
    MissingExtra, ClusterError
    """
    if address and address != "auto" and ":" not in address.removeprefix("ray://"):
        raise InvalidInput(f"--address {address!r} is none of auto, HOST:PORT, ray://HOST:PORT")
    ray = silent()
    address = address or os.environ.get("RAY_ADDRESS") or None
    if ray.is_initialized():
        _check_resources(ray, resources)
        yield ray
        return
    folder = None
    if address is None:
        folder = tempfile.mkdtemp(prefix="vj-ray-", dir="/tmp")  # its sockets' paths must be short
    try:
        with _signals_kept():
            if address is None:
                cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
                own = {
                    "address": "local", "num_cpus": cores, "object_store_memory": OBJECT_STORE,
                    "include_dashboard": False, "_temp_dir": folder,
                }  # fmt: skip
                _init(ray, "a Ray of its own", own)
            else:
                _check_answers(address)
                # Of auto not where it is: Ray takes the token of a cluster that it finds by itself.
                _init(ray, f"the Ray cluster at {address}", {"address": address})
        _check_resources(ray, resources)
        yield ray
    finally:
        with suppress(Exception):
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def may_grow(ray: Any) -> bool:
    """Whether an autoscaler may add nodes to the cluster; of which kinds, it tells nobody."""
    return any(node["Alive"] and node.get("Labels", {}).get(NODE_GROUP) for node in ray.nodes())


def check_room(ray: Any, resources: Resources, count: int) -> None:
    """Refuse a cluster that has no room for `count` workers, whatever else is done there, and cannot grow.

    Raises
    ------
    ClusterError
    """
    there = sum(resources.times_in(node["Resources"]) for node in ray.nodes() if node["Alive"])
    if there < count and not may_grow(ray):
        raise ClusterError(f"the cluster has room for {there} times {resources}, and {count} are to be there at least")


def on_every_node(ray: Any, resources: Resources, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function` gives on each node that has room for a worker.

    Raises
    ------
    ClusterError
        It names the node, and what was raised there.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and resources.fit(node["Resources"])]
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=there)
        asked[f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"] = task.remote(*arguments)
    found = []
    for name, reference in asked.items():
        try:
            found.append(ray.get(reference, timeout=NODE_SECONDS))
        except Exception as exc:
            raise ClusterError(f"the node {name} cannot do it: {said(exc)}") from exc
    return found


def said(exc: BaseException) -> str:
    """What an exception that came through Ray says, in one line."""
    cause = getattr(exc, "cause", None)
    exc = cause if isinstance(cause, BaseException) else exc
    lines = [line.strip() for line in str(exc).strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    # What cannot even be unpacked there ends with its cause.
    if (lines and first.endswith(":")) or "Traceback" in str(exc):
        first = lines[-1]
    return first if isinstance(exc, VjaccelError) else f"{type(exc).__name__}: {first}"


def _init(ray: Any, what: str, options: dict[str, Any]) -> None:
    begin = partial(ray.init, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    try:
        with _quiet():
            try:
                begin()
            except ConnectionAbortedError:
                # A Ray client server forks among threads of gRPC: on a busy machine its child at times does not begin, and
                # the next does.
                begin()
    except Exception as exc:
        text = " ".join(str(exc).split())
        if "ersion mismatch" in text or ("version" in text.lower() and "Python" in text):
            raise ClusterError(f"{what} has other versions than this process: {text}") from exc
        if isinstance(exc, ConnectionError) and not isinstance(exc, ConnectionAbortedError):
            client = options["address"].startswith("ray://")
            port = "; ray:// is for the port of its Ray client server, usually 10001" if client else ""
            raise ClusterError(
                f"{what} answers, and does not let this process in ({text[:200]}): if it wants a token, as one of `ray start` "
                f"does, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to it{port}"
            ) from exc
        raise ClusterError(f"{what} cannot be used: {type(exc).__name__}: {text[-300:]}") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray's own code writes to standard error that it will not: beneath Python, and so from there alone it can be kept."""
    sys.stderr.flush()
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _check_resources(ray: Any, resources: Resources) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(resources.fit(there) for there in nodes) and not may_grow(ray):
        names = sorted({name for there in nodes for name in there if ":" not in name and name != "object_store_memory"})
        most = ", ".join(f"{name} {max(there.get(name, 0) for there in nodes):g}" for name in names)
        raise ClusterError(f"no node of the cluster has {resources} for a worker: the most that one has is {most}")


def _check_answers(address: str) -> None:
    """Refuse an address where no cluster answers: Ray itself would try for minutes, and say so again and again."""
    where = address
    if address == "auto":
        from ray._private import services

        try:
            where = services.canonicalize_bootstrap_address(address)
        except Exception as exc:
            raise ClusterError(f"--address auto does not say which Ray cluster: {said(exc)}") from exc
        if where is None:
            raise ClusterError(
                "there is no Ray cluster on this machine: start one with ray start --head, or name its address"
            )
    target = where.removeprefix("ray://")
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError) as exc:
        raise ClusterError(f"no Ray cluster answers at {address}: {exc}") from exc
    import grpc

    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise ClusterError(f"no Ray cluster answers at {address} within {ANSWER_SECONDS:g} s") from None


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM, with which this process could not end as it wants to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
