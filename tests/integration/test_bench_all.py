"""A benchmark that is not told whom to measure."""

from __future__ import annotations

import pytest

import vjaccel as vj
from vjaccel.benchmark.run import Plan, measure


def test_all_backends_that_work_here_and_peers_are_to_be_measured() -> None:
    run = measure(Plan(operations=("normalize",), sizes="small", turns=1, budget=0.01))
    (note,) = (note for note in run.notes if note.startswith("Not started, since half the budget was used up before: "))
    named = {run.subjects[0].name.partition(":")[0], *note.partition(": ")[2].removesuffix(".").split(", ")}
    assert named > {row.name for row in vj.backends() if row.usable} > {"numpy"}


@pytest.mark.soak
def test_all_backends_are_those_that_work_here_and_peers_stand_beside_them() -> None:
    run = measure(Plan(operations=("normalize",), sizes="small", turns=1, budget=300))
    measured = {m.subject for m in run.measurements if m.seconds}
    # Every backend of this library shows `cpu`, and a GPU where there is one.
    works = {f"{row.name}:{device}" for row in vj.backends() if row.usable for device in row.devices}
    assert works
    assert works <= measured
    assert {one.name for one in run.subjects if one.state == "ok"} > works
