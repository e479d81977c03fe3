"""Reading what a monitor serves, as Prometheus does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["answered", "page", "until", "value"]

PATIENCE = 30.0


def page(url: str | None) -> str:
    """The metrics, as text."""
    with urlopen(f"{url}/metrics", timeout=PATIENCE) as reply:
        return str(reply.read().decode())


def value(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def answered(url: str | None, path: str) -> tuple[int, dict[str, Any]]:
    """A status, and what is said as JSON."""
    try:
        with urlopen(f"{url}{path}", timeout=PATIENCE) as reply:
            return reply.status, json.loads(reply.read())
    except HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read())


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
