"""Which cases of the suite `make test` leaves to `make soak`: of what crosses metrics with dtypes and the like, most.

The backends that take no time for it are held to all of it in `make test`. JAX compiles each case anew, memory that may not
be written to is one more type to Numba, and the strict library looks at every call: there each metric, each dtype and each
whatever else has its test, the rest as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

SLOW = ("TestJax", "TestNumpyReadOnly", "TestStrict")
USUAL = {"dtype": "float32", "scan": "float16"}
"""What is not the first one. A scan in tf32 no CPU has."""

Axis = tuple[tuple[str, Any], ...]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    usual: dict[tuple[str, tuple[str, ...]], Axis] = {}
    for item in items:
        if not isinstance(item, pytest.Function) or item.cls is None or item.cls.__name__ not in SLOW:
            continue
        unusual = 0
        for axis in axes(item):
            names = tuple(name for name, _ in axis)
            first = tuple((name, USUAL.get(name, value) if len(axis) == 1 else value) for name, value in axis)
            unusual += usual.setdefault((item.nodeid.partition("[")[0], names), first) != axis
        if unusual > 1:
            item.add_marker(pytest.mark.soak)


def axes(item: pytest.Function) -> list[Axis]:
    """What each of a test's parametrizations has given it."""
    found = []
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        found.append(tuple((name.strip(), item.callspec.params[name.strip()]) for name in names))
    return found
