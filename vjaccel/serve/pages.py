"""The metrics of several replicas as one page: each sample is said to be of a replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Pages", "merged"]

LATE = 10.0
"""Seconds after which a replica that has told nothing is gone."""


class Pages:
    """What each replica has last told of itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pages: dict[str, tuple[float, bytes]] = {}

    def put(self, replica: str, page: bytes) -> None:
        """Keep the page of a replica, in the place of its last one."""
        self._pages[replica] = self._clock(), page

    def all(self) -> dict[str, bytes]:
        """The pages of the replicas that are there."""
        now = self._clock()
        self._pages = {name: kept for name, kept in self._pages.items() if now - kept[0] <= LATE}
        return {name: page for name, (_, page) in self._pages.items()}


def merged(pages: Mapping[str, bytes]) -> bytes:
    """One page, in Prometheus' text of version 0.0.4, whose samples have the label ``replica``."""
    registry = CollectorRegistry()
    registry.register(_Labelled(pages))
    found: bytes = generate_latest(registry)
    return found


class _Labelled:
    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for replica, page in sorted(self._pages.items()):
            for metric in text_string_to_metric_families(page.decode()):
                own = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                own.samples += [
                    sample._replace(labels=sample.labels | {"replica": replica}) for sample in metric.samples
                ]
        return iter(families.values())
