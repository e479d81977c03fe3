"""A Ray cluster, for runs, services and collections on one. Ray itself is imported when it is first needed."""

from vjaccel.cluster.connecting import connected, silent
from vjaccel.cluster.nodes import HEAD, check_fits, check_room, may_grow, on_every_node
from vjaccel.cluster.resources import Resources, Workers
from vjaccel.cluster.saying import said

__all__ = [
    "HEAD",
    "Resources",
    "Workers",
    "check_fits",
    "check_room",
    "connected",
    "may_grow",
    "on_every_node",
    "said",
    "silent",
]
