"""docs/scale.md says what the file in benchmarks/results/scale says, and its formulas are those of the page."""

from __future__ import annotations

import runpy
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs"
SCALE = runpy.run_path(str(DOCS / "scale.py"))
FOUND: dict[str, Any] = SCALE["read"]()


def test_the_page_is_up_to_date() -> None:
    assert (DOCS / "scale.md").read_text(encoding="utf-8") == SCALE["page"](FOUND), "python docs/scale.py"


def test_a_run_that_took_longer_than_was_said_shows_by_how_much() -> None:
    found = deepcopy(FOUND)
    run = found["runs"][0]["runs"][0]
    run["measured"]["embedding"] = 3 * run["predicted"]["embedding"]
    page = SCALE["page"](found)
    assert "| 3.00 |" in page
    assert "off by 200% at most" in page


@pytest.mark.parametrize(
    ("tokens", "speed", "utilisation", "workers"),
    [(86_400, 1, 1, 1), (86_401, 1, 1, 2), (864_000_000, 1000, 1, 10), (864_000_000, 1000, 0.5, 20)],
)
def test_workers_for_a_day_are_the_tokens_by_what_one_makes_of_it(
    tokens: float, speed: float, utilisation: float, workers: int
) -> None:
    assert SCALE["workers_for"](tokens, speed, utilisation=utilisation) == workers
    assert SCALE["worker_hours"](tokens, speed, utilisation) == pytest.approx(tokens / speed / utilisation / 3600)


@pytest.mark.parametrize(("read", "merge", "runs"), [(20_000, 20_000, 7), (200_000, 200_000, 1)])
def test_runs_are_as_many_as_drivers_must_share_what_is_theirs_alone(read: float, merge: float, runs: int) -> None:
    assert SCALE["runs_for"](1_000_000_000, read, merge, hours=4) == runs
