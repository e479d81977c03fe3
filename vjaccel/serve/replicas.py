"""The service on Ray Serve: replicas of one model, each with the application of `app`, behind one address."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI

from vjaccel.embedding import Embedder
from vjaccel.errors import ClusterError
from vjaccel.serve.app import Limits, Service, made_app
from vjaccel.serve.pages import Pages, merged

__all__ = ["Replicas", "check_unserved", "serve_replicas"]

NAME = "vjaccel"

AT_ONCE = 8
"""Requests at once of a replica, in the mean, above which there is to be another."""

GROW_SECONDS, SHRINK_SECONDS = 5.0, 60.0
"""For how long there must be more, or fewer."""

HEALTH_SECONDS = 2.0
"""After which replicas are asked whether they are well; a dead one is replaced then."""

TELL_SECONDS = 2.0
"""After which a replica tells its metrics."""

ANSWER_SECONDS = 5.0
"""How long the other replicas' metrics may take."""

LOOK_SECONDS = 0.5

ROOM_SECONDS = 20.0
"""After which it is said that replicas are waited for."""

logger = logging.getLogger("vjaccel.serve")


@dataclass(frozen=True, slots=True)
class Replicas:
    """What each replica is, and how many there are.

    Attributes
    ----------
    options : dict
        Of the embedder of each.
    names : tuple of str
        What requests may call the model; the first is what it is listed as.
    limits : Limits
        What each takes.
    token : str or None
        What requests must bear; None takes all.
    max_latency : float
        Seconds that a text may wait for others to be embedded with.
    least, most : int
        How many there are, by the requests that there are.
    takes : dict
        What each takes of its node, as Ray's actors are asked for it.
    drain : float
        Seconds that requests have when a replica is stopped.
    """

    options: dict[str, Any]
    names: tuple[str, ...]
    limits: Limits
    token: str | None
    max_latency: float
    least: int
    most: int
    takes: dict[str, Any]
    drain: float


def check_unserved() -> None:
    """Refuse a cluster that serves something already: it has one address, and what is at the root there.

    Raises
    ------
    ClusterError
    """
    serve = _serve()
    # It says what it does, which its own log says too.
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    if serve.status().proxies:
        raise ClusterError("the cluster serves something already: end that with `serve shutdown`, or take another one")


def serve_replicas(
    replicas: Replicas, host: str, port: int, begun: Callable[[], object], stopped: threading.Event
) -> None:
    """Serve at `host` and `port` of the head of the cluster that Ray is connected to, until `stopped` is set; then drain.

    Parameters
    ----------
    begun : callable
        Called when all of the least number of replicas take requests.

    Raises
    ------
    ClusterError
        Replicas cannot be begun, the cluster has gone, or it serves something already.
    """
    serve = _serve()
    check_unserved()  # what was not there before the model was loaded may be now, and is not to be ended below
    try:
        _start(host, port)
        serve.run_many([serve.api.RunTarget(_application(replicas), NAME, "/")], wait_for_applications_running=False)
        if _running(replicas, stopped):
            begun()
            while not stopped.wait(LOOK_SECONDS):
                if NAME not in _status().applications:
                    raise ClusterError("the service was ended by somebody else on its cluster")
    finally:
        # One after the other: the proxies must be there until the last request is answered.
        for end in (partial(serve.delete, NAME), serve.shutdown):
            try:
                end()
            except Exception as exc:  # the cluster may have gone; and what has ended the service is what is to be told
                logger.warning("Ray Serve could not be ended: %s: %s", type(exc).__name__, exc)


def _start(host: str, port: int) -> None:
    variables = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "vjaccel.serve.front:middlewares"}
    try:
        _serve().start(
            proxy_location="HeadOnly", http_options={"host": host, "port": port},
            controller_options={"runtime_env": {"env_vars": variables}}, logging_config={"enable_access_log": False},
        )  # fmt: skip
    except Exception as exc:
        raise ClusterError(f"the cluster cannot serve at {host}:{port}: {_last_line(exc)}") from exc


def _application(replicas: Replicas) -> Any:
    if replicas.least == replicas.most:
        number: dict[str, Any] = {"num_replicas": replicas.least}
    else:
        number = {
            "autoscaling_config": {
                "min_replicas": replicas.least, "max_replicas": replicas.most, "target_ongoing_requests": AT_ONCE,
                "upscale_delay_s": GROW_SECONDS, "downscale_delay_s": SHRINK_SECONDS, "metrics_interval_s": 1.0,
                "look_back_period_s": GROW_SECONDS,
            }
        }  # fmt: skip
    import ray

    serve = _serve()
    pages = serve.config.DeploymentActorConfig(
        name=Pages.__name__, actor_class=ray.remote(Pages), actor_options={"num_cpus": 0}
    )
    made = serve.deployment(
        serve.ingress()(Replica), name=NAME, ray_actor_options=replicas.takes, **number,
        # Each has a text at least, so that it is the replica that says when it has too many, and what lies beside finds room.
        max_ongoing_requests=replicas.limits.waiting + 64,
        graceful_shutdown_timeout_s=replicas.drain, graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=HEALTH_SECONDS, max_constructor_retry_count=3, deployment_actors=[pages],
        logging_config={"enable_access_log": False},
    )  # fmt: skip
    return made.bind(replicas)


def _running(replicas: Replicas, stopped: threading.Event) -> bool:
    """Wait until the replicas take requests; False where it was stopped before."""
    waited = 0.0
    while not stopped.wait(LOOK_SECONDS):
        application = _status().applications.get(NAME)
        if application is not None and application.status == "RUNNING":
            return True
        if application is not None and application.status == "DEPLOY_FAILED":
            raise ClusterError(f"replicas cannot be begun: {_last_line(application.message)}")
        if waited < ROOM_SECONDS <= waited + LOOK_SECONDS:
            logger.warning("waiting for %d replicas: for room on the cluster, or for their model", replicas.least)
        waited += LOOK_SECONDS
    return False


def _status() -> Any:
    try:
        return _serve().status()
    except Exception as exc:
        raise ClusterError(f"the cluster has gone: {_last_line(exc)}") from exc


def _last_line(said: object) -> str:
    lines = [line.strip() for line in str(said).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(said).__name__


class Replica:
    """One process with a model. Serve makes it, asks it how it is, and ends it."""

    _embedder: Embedder | None = None

    def __init__(self, replicas: Replicas) -> None:
        self._embedder = Embedder(**replicas.options)
        self._service = _ReplicaService(
            self._embedder, replicas.names, limits=replicas.limits, token=replicas.token,
            max_latency=replicas.max_latency,
        )  # fmt: skip

    def __serve_build_asgi_app__(self) -> FastAPI:
        return made_app(self._service)

    def check_health(self) -> None:
        """Have this replica replaced where it is stuck."""
        if self._service.problem is not None:
            raise RuntimeError(self._service.problem)

    def __del__(self) -> None:
        if self._embedder is not None:  # of one whose model cannot be loaded
            self._embedder.close()


class _ReplicaService(Service):
    """One whose metrics are those of all replicas."""

    def begin(self) -> None:
        super().begin()
        self._replica = _serve().get_replica_context().replica_id.unique_id
        self._ended = threading.Event()
        self._telling = threading.Thread(target=self._tell, name="vjaccel-tell", daemon=True)
        self._telling.start()

    def end(self) -> None:
        self._ended.set()
        self._telling.join()
        super().end()

    def metrics(self) -> bytes:
        try:
            others = self._asked("all")
        except Exception as exc:  # what has the pages may be being begun again; a page without the others is one
            logger.warning("the page of metrics lacks the other replicas': %s", _last_line(exc))
            others = {}
        return merged(others | {self._replica: super().metrics()})

    def _tell(self) -> None:
        while not self._ended.wait(TELL_SECONDS):
            # It may be being begun again; the next page will find it.
            with suppress(Exception):
                self._asked("put", self._replica, super().metrics())

    def _asked(self, what: str, *arguments: object) -> Any:
        """What the `Pages` of all replicas answer."""
        import ray

        pages = _serve().get_deployment_actor(Pages.__name__)
        return ray.get(getattr(pages, what).remote(*arguments), timeout=ANSWER_SECONDS)


def _serve() -> Any:
    """The module ``ray.serve``, whose import warns of what it imports itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray import serve
    return serve
