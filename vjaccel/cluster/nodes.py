"""What the nodes of a cluster have, and what is done on each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from vjaccel.cluster.resources import Resources
from vjaccel.cluster.saying import said
from vjaccel.errors import ClusterError

__all__ = ["HEAD", "alive", "check_fits", "check_room", "may_grow", "on_every_node", "on_head"]

HEAD = "node:__internal_head__"
"""The resource that a cluster's head alone has, 1 of it."""

ANSWER_SECONDS = 30.0
"""How long a cluster may take to say which nodes it has: Ray asks for a minute, and then ends the process without a word."""

NODE_SECONDS = 90.0
"""How long a node may take to start a process and to look at its files."""

NODE_GROUP = "ray.io/node-group"
"""The label of a node whose cluster is in the hands of Ray's autoscaler."""


T = TypeVar("T")


def alive(ray: Any) -> list[dict[str, Any]]:
    """The nodes that are there, as Ray describes them.

    Raises
    ------
    ClusterError
        The cluster has gone.
    """
    answer: Future[list[dict[str, Any]]] = Future()

    def ask() -> None:
        try:
            answer.set_result(ray.nodes())
        except Exception as exc:
            answer.set_exception(exc)

    threading.Thread(target=ask, name="vjaccel-nodes", daemon=True).start()
    try:
        return [node for node in answer.result(ANSWER_SECONDS) if node["Alive"]]
    except TimeoutError as exc:
        raise ClusterError(f"the cluster has gone: it has not answered for {ANSWER_SECONDS:g} s") from exc
    except Exception as exc:
        raise ClusterError(f"the cluster has gone: {said(exc)}") from exc


def may_grow(ray: Any) -> bool:
    """Whether an autoscaler may add nodes to the cluster; of which kinds, it tells nobody."""
    return any(node.get("Labels", {}).get(NODE_GROUP) for node in alive(ray))


def check_fits(ray: Any, resources: Resources) -> None:
    """Refuse a cluster no node of which has room for a worker, for which Ray would wait, and which cannot grow.

    Raises
    ------
    ClusterError
    """
    nodes = [node["Resources"] for node in alive(ray)]
    if not any(resources.fit(there) for there in nodes) and not may_grow(ray):
        names = sorted({name for there in nodes for name in there if ":" not in name and name != "object_store_memory"})
        most = ", ".join(f"{name} {max(there.get(name, 0) for there in nodes):g}" for name in names)
        raise ClusterError(f"no node of the cluster has {resources} for a worker: the most that one has is {most}")


def check_room(ray: Any, resources: Resources, count: int) -> None:
    """Refuse a cluster that has no room for `count` workers, whatever else is done there, and cannot grow.

    Raises
    ------
    ClusterError
    """
    there = sum(resources.times_in(node["Resources"]) for node in alive(ray))
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

    nodes = [node for node in alive(ray) if resources.fit(node["Resources"])]
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


def on_head(ray: Any, function: Callable[..., T], *arguments: Any) -> T:
    """What `function` gives on the head of the cluster.

    Raises
    ------
    ClusterError
        It has what was raised there.
    """
    task = ray.remote(num_cpus=0, max_retries=0, resources={HEAD: 0.001})(function)
    try:
        found: T = ray.get(task.remote(*arguments), timeout=NODE_SECONDS)
        return found
    except Exception as exc:
        raise ClusterError(f"the head of the cluster cannot do it: {said(exc)}") from exc
