"""Connecting to a Ray cluster: one that is there, or one of this process's own."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from vjaccel.cluster.nodes import check_fits
from vjaccel.cluster.own_folder import OwnFolder
from vjaccel.cluster.resources import Resources
from vjaccel.cluster.saying import said
from vjaccel.errors import ClusterError, InvalidInput, MissingExtra

__all__ = ["connected", "own_ray", "silent"]

ANSWER_SECONDS = 10.0
"""How long a cluster may take to answer."""

CLUSTER, CLIENT = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
"""What a cluster can be asked, and what its Ray client server can, and nothing else."""

HTTP2_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""A frame of its kind, the fourth byte, is the first that each side of HTTP/2 sends."""

UNSEEN = {"RAY_enable_metrics_collection": "0", "RAY_task_events_report_interval_ms": "0", "RAY_event_stats": "0"}
"""Ray's own metrics are for its dashboard: of one of our own nobody sees them, and all its processes are at them. In the
environment, where a version of Ray that has other names for it ignores these."""

OBJECT_STORE = 256 << 20
"""Bytes of the object store of a Ray of our own, in which there are descriptions of shards alone."""


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
def connected(address: str | None, resources: Resources | None = None) -> Iterator[Any]:
    """The module ``ray``, connected to a cluster, some node of which has `resources` or may come to have them.

    A process is connected to one cluster at a time. Whoever comes meanwhile uses the same, and the last to leave ends the
    connection; one that was there before is left as it was.

    Parameters
    ----------
    address : str or None
        ``auto``, ``HOST:PORT``, ``ray://HOST:PORT``; by default what this process is connected to, or what RAY_ADDRESS says, or
        else a Ray of this process's own on this machine, which is stopped at the end.

    Raises
    ------
    MissingExtra, ClusterError
    InvalidInput
        `address` is none, or not that of the cluster which this process is connected to.
    """
    if address and address != "auto" and ":" not in address.removeprefix("ray://"):
        raise InvalidInput(f"--address {address!r} is none of auto, HOST:PORT, ray://HOST:PORT")
    ray = silent()
    with _changing:
        used = _used(ray, address)
    try:
        if resources is not None:
            check_fits(ray, resources)
        yield ray
    finally:
        with _changing:
            if used is not None:
                used.left(ray)


def own_ray(address: str | None) -> bool:
    """Whether `connected` begins a Ray of this process's own, on this machine."""
    return not (address or os.environ.get("RAY_ADDRESS"))


class _Begun:
    """A connection that this process has begun, and how many use it."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.users = 0
        self._folder = None if address else OwnFolder()

    def begin(self, ray: Any) -> None:
        with _signals_kept():
            if self.address is None:
                assert self._folder is not None
                cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
                own = {
                    "address": "local", "num_cpus": cores, "object_store_memory": OBJECT_STORE,
                    "include_dashboard": False, "_temp_dir": str(self._folder.path),
                }  # fmt: skip
                with _environment(UNSEEN):
                    _init(ray, "a Ray of its own", own)
            else:
                wants_token = _check_answers(ray, self.address)
                # Of auto not where it is: Ray takes the token of a cluster that it finds by itself.
                options = {"address": self.address}
                _init(ray, f"the Ray cluster at {self.address}", options, wants_token=wants_token)

    def left(self, ray: Any) -> None:
        self.users -= 1
        if self.users:
            return
        if _begun[-1:] == [self]:  # and not one that was begun since this one was gone
            _begun.clear()
            with suppress(Exception):
                ray.shutdown()
        if self._folder is not None:
            self._folder.remove()


_changing = threading.RLock()
_begun: list[_Begun] = []
"""The one that is, if any."""


def _used(ray: Any, address: str | None) -> _Begun | None:
    """The connection there is or that is begun, with one user more; None for one that somebody else has begun."""
    if ray.is_initialized():
        found = _begun[-1] if _begun else None
        if address:
            _check_same(ray, address, found)
        if found is not None:
            found.users += 1
        return found
    made = _Begun(address or os.environ.get("RAY_ADDRESS") or None)
    made.users = 1
    _begun[:] = [made]
    try:
        made.begin(ray)
    except BaseException:
        made.left(ray)
        raise
    return made


def _check_same(ray: Any, address: str, begun: _Begun | None) -> None:
    if begun is not None and begun.address == address:
        return
    context, own = ray.util.client.ray.get_context(), begun is not None and begun.address is None
    if context.is_connected():
        there = f"ray://{context.client_worker._conn_str}"
        same = address == there
    else:
        there = ray.get_runtime_context().gcs_address
        # Whoever is connected so is on a node of that cluster.
        same = not own and (address == "auto" or _place(address) == _place(there))
    if not same:
        now = "a Ray of its own" if own else f"the Ray cluster at {there}"
        raise InvalidInput(f"this process is connected to {now}, and cannot be to the one at {address} meanwhile")


def _place(address: str) -> tuple[str, str]:
    """Host and port, by whatever name the host is called."""
    from ray._private import services

    host, _, port = address.rpartition(":")
    with suppress(OSError):
        host = services.resolve_ip_for_localhost(socket.gethostbyname(host))
    return host, port


def _init(ray: Any, what: str, options: dict[str, Any], *, wants_token: bool = False) -> None:
    begin = partial(ray.init, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    try:
        with _quiet(), _deaf():
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
        address = options["address"]
        if address != "local" and isinstance(exc, ConnectionError) and not isinstance(exc, ConnectionAbortedError):
            if not wants_token:
                raise _no_ray(ray, address, f" ({text[:200]})") from exc
            raise ClusterError(
                f"{what} answers, and does not let this process in ({text[:200]}): if it wants a token, as one of `ray start` "
                f"does, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to it{_port(address)}"
            ) from exc
        raise ClusterError(f"{what} cannot be used: {type(exc).__name__}: {text[-300:]}") from exc


def _no_ray(ray: Any, address: str, why: str = "") -> ClusterError:
    other = f"or of another version than Ray {ray.__version__} here"
    return ClusterError(f"what answers at {address} is no Ray cluster, {other}{why}{_port(address)}")


def _port(address: str) -> str:
    client = address.startswith("ray://")
    return "; ray:// is for the port of its Ray client server, usually 10001" if client else ""


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Have what is begun within it find these in its environment, unless somebody has set them."""
    own = {name: value for name, value in more.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


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


@contextmanager
def _deaf() -> Iterator[None]:
    """Ray prints what nodes tell of workers that have died on standard output, whatever it is told of its logs."""
    from ray._private import worker

    listening = worker.listen_error_messages
    try:
        worker.listen_error_messages = lambda *_: None
        yield
    finally:
        worker.listen_error_messages = listening


def _check_answers(ray: Any, address: str) -> bool:
    """Refuse an address where no cluster answers: Ray itself would try for minutes, and say so again and again.

    Returns
    -------
    bool
        Whether it wants a token, which Ray's own errors do not all say.
    """
    where = address
    if address == "auto":
        from ray._private import services

        none = "there is no Ray cluster on this machine: start one with ray start --head, or name its address"
        try:
            found = services.canonicalize_bootstrap_address(address)
        except ConnectionError as exc:
            raise ClusterError(none) from exc
        except Exception as exc:
            raise ClusterError(f"--address auto does not say which Ray cluster: {said(exc)}") from exc
        if found is None:
            raise ClusterError(none)
        where = found
    target = where.removeprefix("ray://")
    host, _, port = target.rpartition(":")
    try:
        speaks = _speaks_grpc(host, int(port))
    except TimeoutError as exc:
        raise ClusterError(f"no Ray cluster answers at {address} within {ANSWER_SECONDS:g} s") from exc
    except (OSError, ValueError) as exc:
        raise ClusterError(f"no Ray cluster answers at {address}: {exc}") from exc
    if not speaks:
        raise _no_ray(ray, address)
    return _wants_token(ray, address, target)


def _speaks_grpc(host: str, port: int) -> bool:
    """Whether what answers begins as a server of HTTP/2 must: of another, gRPC tells no more than that nothing came of it."""
    with socket.create_connection((host, port), ANSWER_SECONDS) as there:
        there.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HTTP2_SETTINGS)
        try:
            answer = there.recv(len(HTTP2_SETTINGS), socket.MSG_WAITALL)
        except ConnectionError:  # it did not like the question
            return False
    return answer[3:4] == HTTP2_SETTINGS[3:4]


def _wants_token(ray: Any, address: str, target: str) -> bool:
    import grpc
    from ray.core.generated import ray_client_pb2

    # Any other question of a client that it does not know is an error in its log.
    ping = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING).SerializeToString()
    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise ClusterError(f"no Ray cluster answers at {address} within {ANSWER_SECONDS:g} s") from None
        unknown, refused = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED
        cluster, client = _status(channel, CLUSTER, b""), _status(channel, CLIENT, ping)
    if cluster is client is unknown:
        raise _no_ray(ray, address)
    if cluster is unknown and not address.startswith("ray://"):
        raise ClusterError(f"at {address} is the Ray client server of a cluster: say --address ray://{target}")
    return refused in (cluster, client)


def _status(channel: Any, method: str, question: bytes) -> Any:
    """With which what answers replies to a question without a token."""
    import grpc

    try:
        channel.unary_unary(method)(question, timeout=ANSWER_SECONDS)
    except grpc.RpcError as exc:
        return exc.code()
    return grpc.StatusCode.OK


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
