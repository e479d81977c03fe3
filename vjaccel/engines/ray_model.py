"""What a model is that a worker in a Ray cluster loads, and waiting until there is one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from vjaccel.cluster import Resources, alive, may_grow, said
from vjaccel.engines.dealing import GONE_SECONDS, Absence
from vjaccel.engines.ray_worker import RemoteModel, described_model
from vjaccel.errors import ClusterError, VjaccelError

__all__ = ["CLUSTER_SECONDS", "Nodes", "Waiting", "known_model"]

CLUSTER_SECONDS = 1.0
"""After which the cluster is looked at where nothing comes."""

LOADING_SECONDS = 30.0
"""After which it is said that the model is waited for."""

GROWN_SECONDS = 900.0
"""How long an autoscaler may take to add a node."""

logger = logging.getLogger("vjaccel.engines")


class Nodes:
    """Whether the cluster has a node, or may have one again, with room for a worker when it does nothing else."""

    def __init__(self, ray: Any, resources: Resources) -> None:
        self._ray, self._resources = ray, resources
        self._absence = Absence(time.monotonic())

    def somewhere(self) -> bool:
        """Whether one is there.

        Raises
        ------
        ClusterError
            The cluster has gone.
        """
        return any(self._resources.fit(node["Resources"]) for node in alive(self._ray))

    def gone(self) -> bool:
        """Whether none has been there for longer than is waited for.

        Raises
        ------
        ClusterError
            The cluster has gone.
        """
        return self._absence.too_long(time.monotonic(), there=self.somewhere(), patience=self.patience())

    def patience(self) -> float:
        """For how many seconds one is waited for."""
        return GROWN_SECONDS if may_grow(self._ray) else GONE_SECONDS


class Waiting:
    """Waiting for the first worker that has its model."""

    def __init__(self, ray: Any, model: str, resources: Resources) -> None:
        self._nodes, self._model, self._resources = Nodes(ray, resources), model, resources
        self._began = self._looked = time.monotonic()
        self._told = False
        if not self._nodes.somewhere():
            logger.warning("no node of the cluster has %s yet: waiting for its autoscaler to add one", resources)

    def look(self) -> None:
        """Say what it is that is waited for. It may be called often: the cluster is asked by the second.

        Raises
        ------
        ClusterError
            The cluster has gone, or for too long no node has had room.
        """
        now = time.monotonic()
        if now - self._looked < CLUSTER_SECONDS:
            return
        self._looked = now
        if self._nodes.gone():
            seconds = self._nodes.patience()
            raise ClusterError(
                f"no node with {self._resources} was there, or added to the cluster, within {seconds:g} s"
            )
        if now - self._began > LOADING_SECONDS and not self._told and self._nodes.somewhere():
            self._told = True
            logger.warning(
                "no worker has %s yet: it is still being loaded, or waits for others to leave %s", self._model,
                self._resources,
            )  # fmt: skip


def known_model(
    ray: Any, options: dict[str, Any], resources: Resources, meanwhile: Callable[[], object]
) -> RemoteModel:
    """What a worker knows of the model: once, so that one that cannot be loaded is said once.

    Where no node has `resources`, this is what makes an autoscaler add one. `meanwhile` is called while it is loaded, which
    takes seconds; what that raises goes first.

    Raises
    ------
    ClusterError
        The cluster has gone, or for too long no node has had room, or the worker has ended.
    VjaccelError
        What the worker has raised.
    """
    task = ray.remote(max_retries=0, **resources.options())(described_model)
    reference = task.remote(options)
    try:
        meanwhile()
        waiting = Waiting(ray, options["model"], resources)
        # By the second: where the cluster has gone, Ray would end this process without a word.
        while not ray.wait([reference], timeout=CLUSTER_SECONDS)[0]:
            waiting.look()
        found = ray.get(reference)
    except VjaccelError:
        ray.cancel(reference)
        raise
    except Exception as exc:
        raise ClusterError(f"a worker ended while it loaded {options['model']}: {said(exc)}") from exc
    if isinstance(found, RemoteModel):
        return found
    raise found
