"""`vjaccel serve --engine ray`: what is asked of a service on a cluster, and how it is brought up there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from vjaccel import __version__
from vjaccel.cli.listening import free_place
from vjaccel.cli.stopping import Stopping
from vjaccel.cluster import Resources, Workers, check_room, connected, on_every_node, on_head, own_ray
from vjaccel.embedding.spread import options_of_one
from vjaccel.engines import check_version, known_model
from vjaccel.errors import InvalidInput
from vjaccel.observe.processes import FOLDER

if TYPE_CHECKING:
    from vjaccel.serve.app import Limits

__all__ = ["Spread", "serve_on_ray", "spread_of"]


class Spread(NamedTuple):
    """Where replicas are, how many, and what each takes."""

    address: str | None
    least: int
    most: int
    resources: Resources


def spread_of(engine: str, replicas: str | None, address: str | None, resources: str | None) -> Spread | None:
    """What a command line says of a cluster; None for this machine.

    Raises
    ------
    InvalidInput
    """
    if engine == "local":
        asked: Mapping[str, object] = {"--replicas": replicas, "--address": address, "--resources": resources}
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise InvalidInput(f"{given[0]} is for --engine ray")
        return None
    least, most = Workers.of(replicas or "1", "--replicas")
    if most is None:
        raise InvalidInput(f"--replicas {replicas} has no MAX: say how many there may be")
    if os.environ.get(FOLDER):
        raise InvalidInput(f"{FOLDER} is not for --engine ray, whose page has the metrics of all replicas: unset it")
    return Spread(address, least, most, Resources() if resources is None else Resources.of(resources))


def serve_on_ray(
    spread: Spread,
    options: dict[str, Any],
    names: list[str],
    limits: Limits,
    token: str | None,
    max_latency: float,
    drain: float,
    where: tuple[str, int],
    begun: Callable[[str, tuple[str, int]], object],
) -> None:
    """Serve by replicas on a cluster until a signal comes; one that comes before they are begun ends the command there.

    Parameters
    ----------
    where : tuple
        Host and port, of the head of the cluster.
    begun : callable
        Told the model's name and where it is when replicas take requests.

    Raises
    ------
    VjaccelError
    """
    if own_ray(spread.address):
        where = free_place(*where)  # before anything is begun
    amounts = spread.resources.amounts
    own = options_of_one(options, spread.most, amounts["CPU"], amounts.get("GPU", 0.0))
    with Stopping() as stopping, connected(spread.address, spread.resources) as ray:
        stopping.say = "stopped; nothing was served yet"
        # Ray must be quiet before it is imported.
        from vjaccel.serve.replicas import Replicas, check_unserved, serve_replicas

        check_unserved()
        check_room(ray, spread.resources, spread.least)
        if not own_ray(spread.address):
            where = on_head(ray, free_place, *where)
        versions = partial(on_every_node, ray, spread.resources, check_version, __version__)
        model = known_model(ray, own, spread.resources, versions).asked_as(options["model"])
        known = tuple(dict.fromkeys([*names, model.model, model.model.partition(":")[2]]))
        replicas = Replicas(
            own, known, limits, token, max_latency, spread.least, spread.most, spread.resources.options(), drain
        )
        stopping.say = "stopped"  # of a signal while the cluster is left
        with _stopping() as stopped:
            serve_replicas(replicas, *where, lambda: begun(known[0], where), stopped)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C or SIGTERM, which is no failure."""
    stopped = threading.Event()

    def signalled(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, signalled) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
