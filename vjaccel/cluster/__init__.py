"""A Ray cluster, for runs, services and collections on one. Ray itself is imported when it is first needed."""

from vjaccel.cluster.connecting import connected, own_ray, silent
from vjaccel.cluster.nodes import HEAD, alive, check_fits, check_room, may_grow, on_every_node, on_head
from vjaccel.cluster.resources import Resources, Workers
from vjaccel.cluster.saying import said

__all__ = [
    "HEAD",
    "Resources",
    "Workers",
    "alive",
    "check_fits",
    "check_room",
    "connected",
    "may_grow",
    "on_every_node",
    "on_head",
    "own_ray",
    "said",
    "silent",
]
