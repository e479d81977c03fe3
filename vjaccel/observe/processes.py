"""One page for several processes: prometheus-client puts their metrics together in a folder."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from vjaccel.errors import InvalidInput

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["FOLDER", "bury", "died_with_this_process", "page", "shared_folder"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable in which prometheus-client is told of it."""


def shared_folder() -> Path | None:
    """The folder, where there is to be one.

    Raises
    ------
    InvalidInput
        It is not there.
    """
    named = os.environ.get(FOLDER)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise InvalidInput(f"{FOLDER} is {named}, where there is no folder: make it, empty, before the first process")
    return folder


def page(own: CollectorRegistry, folder: Path | None) -> CollectorRegistry:
    """What a page is made of: this process' metrics, or those of all that share the folder."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    if folder is None:
        registry.register(_Plain(own))
    else:
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


class _Plain:
    """A registry's metrics without the times at which each was made, which fill half a page and tell nothing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def bury(folder: Path) -> None:
    """Take away the gauges of processes that are gone, be it that they were killed; what they have counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    pids = {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}
    for pid in pids:
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def died_with_this_process() -> None:
    """Have the gauges of this process taken away when it ends, for pages that others serve."""
    from prometheus_client.multiprocess import mark_process_dead

    own = os.getpid()

    def ended() -> None:
        if os.getpid() == own:  # and not a fork of it
            mark_process_dead(own)  # type: ignore[no-untyped-call]

    atexit.register(ended)
