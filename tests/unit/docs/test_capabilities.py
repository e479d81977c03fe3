"""The table in docs/backends.md is what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import vjaccel as vj

DOCS = Path(__file__).parents[3] / "docs"
CAPABILITIES = runpy.run_path(str(DOCS / "capabilities.py"))


def test_the_table_is_up_to_date() -> None:
    text = (DOCS / "backends.md").read_text(encoding="utf-8")
    assert CAPABILITIES["page"](text) == text, "run: python docs/capabilities.py"


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_the_table_says_what_a_backend_that_works_here_says(name: str) -> None:
    pytest.importorskip(name)
    column = CAPABILITIES["NAMES"].index(name) + 2
    rows = {
        row.split("|")[1].strip(): row.split("|")[column].strip() for row in CAPABILITIES["table"]().splitlines()[2:]
    }
    able = vj.get_backend(f"{name}:cpu").capabilities
    for property_name in CAPABILITIES["PROPERTIES"]:
        assert rows[property_name] in ("with x64", "yes" if getattr(able, property_name) else "no")
