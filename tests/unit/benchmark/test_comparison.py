"""Two runs side by side: a change is marked only where it is larger than the noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import cpu_run, gpu_run
from reading import read

from vjaccel.benchmark.compare import changes, write_comparison
from vjaccel.benchmark.results import Run

SAME = "The same subject on both: what differs by more than the noise is marked"
BEST = "The fastest of each machine: what differs by more than the noise is marked"


def quicker(run: Run, factor: float) -> Run:
    """`run` with every round so many times as fast."""
    rows = tuple(replace(m, seconds=tuple(x / factor for x in m.seconds)) for m in run.measurements)
    return replace(run, measurements=rows)


@pytest.mark.parametrize(
    ("factor", "verdicts"), [(1.001, {"within the noise"}), (2.0, {"B faster"}), (0.5, {"B slower"})]
)
def test_only_a_change_larger_than_the_noise_is_marked(tmp_path: Path, factor: float, verdicts: set[str]) -> None:
    write_comparison(cpu_run(), quicker(cpu_run(), factor), tmp_path / "c.html")
    found = read(tmp_path / "c.html")
    rows = found.tables[SAME][1:]
    assert len(rows) > 50
    assert {row[-1] for row in rows} == verdicts
    assert len(found.marked.get(SAME, [])) == (0 if verdicts == {"within the noise"} else len(rows))


def test_a_change_that_the_clock_could_have_made_is_not_marked() -> None:
    steady, shaky = (replace(cpu_run(), machine=replace(cpu_run().machine, clock_spread=x)) for x in (0.0, 0.6))
    assert all(c.beyond for c in changes(steady, quicker(steady, 1.4)))
    assert not any(c.beyond for c in changes(shaky, quicker(shaky, 1.4)))


def test_one_round_is_never_marked(tmp_path: Path) -> None:
    run = cpu_run()
    once = replace(run, measurements=tuple(replace(m, seconds=m.seconds[:1]) for m in run.measurements))
    write_comparison(once, quicker(once, 9.0), tmp_path / "c.html")
    assert {row[-1] for row in read(tmp_path / "c.html").tables[SAME][1:]} == {"one round only"}


def test_a_refused_figure_is_compared_with_nothing(reports: Path) -> None:
    found = read(reports / "comparison.html")
    assert found.tables["Refused in A"][1][3] == "work was skipped: 3 of 10 neighbours"
    assert "not the nearest" in found.tables["Refused in B"][1][3]
    assert not any(
        "cupy:gpu:0" in row[2]
        for row in found.tables[BEST]
        if row[0].startswith("topk cosine float32 1 × 1k")  # noqa: RUF001  # the sign that it shows
    )


def test_a_machine_without_a_gpu_meets_one_with_it_by_the_fastest_of_each(reports: Path) -> None:
    rows = read(reports / "comparison.html").tables[BEST][1:]
    assert len(rows) == len(cpu_run().cases)
    assert all(":gpu" in row[2] and ":gpu" not in row[1] for row in rows if "1M" in row[0])


def test_the_machines_stand_beside_each_other(reports: Path) -> None:
    rows = read(reports / "comparison.html").tables["Machines"]
    assert ["processor", "Made-up Processor at 3.0 GHz", "Made-up Server Processor"] in rows
    assert ["clock spread", "3.7 %", "4.3 %"] in rows


def test_what_only_one_run_has_is_listed(tmp_path: Path) -> None:
    fewer = replace(gpu_run(), cases=gpu_run().cases[1:])
    fewer = replace(fewer, measurements=tuple(m for m in fewer.measurements if m.case != gpu_run().cases[0].id))
    write_comparison(cpu_run(), fewer, tmp_path / "c.html")
    rows = read(tmp_path / "c.html").tables["In one of them alone"][1:]
    assert ["subject", "usearch", "A"] in rows
    assert ["subject", "torch:gpu:0", "B"] in rows
    assert [row[0] for row in rows].count("case") == 1


def test_two_runs_with_nothing_in_common_say_so(tmp_path: Path) -> None:
    a, b = cpu_run(), cpu_run()
    other = replace(b, measurements=(), embedding=(), recall=())
    write_comparison(a, other, tmp_path / "c.html")
    assert "no case in common" in read(tmp_path / "c.html").sections["short"]
