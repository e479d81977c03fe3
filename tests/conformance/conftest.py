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
USUAL = {"dtype": "float32", "scan": "float16", "share": 0.5, "rows": 5, "dim": 130}
"""What is not the first one, which no CPU has (a scan in tf32) or with which little is left to be wrong."""
WHOLE = ("test_the_ids_are_the_oracles_at_every_magnitude",)
"""Of which all cases stay: a metric that overflows says nothing of another."""

Axis = tuple[Any, Any]
"""What a parametrization gives a test, and what it gives usually."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or item.cls is None or item.cls.__name__ not in SLOW:
            continue
        unusual = sum(given != usual for given, usual in axes(item))
        if unusual > 1 and item.originalname not in WHOLE:
            item.add_marker(pytest.mark.soak)


def axes(item: pytest.Function) -> list[Axis]:
    """Those of a test."""
    found: list[Axis] = []
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
        names = [name.strip() for name in names]
        values = [getattr(value, "values", (value,) if len(names) == 1 else value) for value in mark.args[1]]
        usual = tuple(values[0])
        if len(names) == 1 and names[0] in USUAL and (USUAL[names[0]],) in [tuple(value) for value in values]:
            usual = (USUAL[names[0]],)
        found.append((tuple(item.callspec.params[name] for name in names), usual))
    return found
