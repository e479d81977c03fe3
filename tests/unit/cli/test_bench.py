"""`vjaccel bench`: wrong use is found before anything is measured, and what is shown can be read."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.conformance.plugins import installed
from tests.unit.benchmark.dishonest import ENTRIES, MARK
from tests.unit.cli.conftest import Run
from vjaccel.benchmark import results
from vjaccel.benchmark.cases import cases
from vjaccel.cli.bench_tables import show

PEERS = ("faiss", "torch", "scikit-learn", "sentence-transformers")
MACHINE = results.Machine("A CPU", 8, 4, 1 << 34, "A system", "3.12.1", (0.003, 0.003), 0.01)


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path) -> Iterator[None]:
    with installed(tmp_path / "bench-plugins", "dishonest", ENTRIES):
        yield


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the backend `hanging` makes as soon as it is measured."""
    path = tmp_path / "measured"
    monkeypatch.setenv(MARK, str(path))
    return path


def a_run(
    factor: float = 1.0, *, only: str | None = None, refused: str | None = None, **changes: object
) -> results.Run:
    """A run of everything on a small machine, made up; NumPy takes 3 ms, everybody else `factor` of that."""
    names = [only] if only else ["numpy:cpu", "torch:gpu:0", *PEERS]
    subjects = tuple(
        results.Subject(n, "backend" if ":" in n else "peer", "cpu", "A CPU", "ok", None, 0.1, None, None, None)
        for n in names
    )
    measurements = tuple(
        results.Measurement(
            name, case.id, origin, 0.1, tuple((0.003 if name == "numpy:cpu" else 0.003 * factor) * x for x in (1, 1.01)),
            1e-8, refused if name == "faiss" else None,
        )
        for case in cases("default")
        for name in names
        for origin in (("device", "host") if "gpu" in name else ("host",))
    )  # fmt: skip
    run = results.Run(
        "0.1.0", "2026-01-01T00:00:00Z", 12.0, None, "vjaccel bench", MACHINE, {}, subjects, tuple(cases("default")),
        measurements, (), (),
    )  # fmt: skip
    return replace(run, **changes)  # type: ignore[arg-type]  # its fields


def shown(run: results.Run) -> str:
    file = io.StringIO()
    show(run, Console(file=file, width=80, highlight=False))
    return file.getvalue()


def test_the_figures_are_json_on_standard_output_and_in_the_file_and_load_again(run: Run) -> None:
    done = run(
        "bench",
        "--ops",
        "normalize",
        "--backends",
        "honest",
        "--sizes",
        "small",
        "--budget",
        "6",
        "--json",
        "-o",
        "a.json",
    )
    assert (done.code, done.err) == (0, "")
    found = results.loads(done.out)
    assert json.loads(done.out)["schema"] == results.SCHEMA
    assert [subject.name for subject in found.subjects] == ["honest:cpu"]
    assert found.measurements
    assert all(m.refused is None for m in found.measurements)
    assert found.command.startswith("vjaccel bench --ops normalize")
    assert results.load("a.json") == found


def test_a_report_has_its_figures_beside_it(run: Run) -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("vjaccel.benchmark.report")
    done = run(
        "bench", "--ops", "normalize", "--backends", "honest", "--sizes", "small", "--budget", "5", "-o", "report.html"
    )
    assert (done.code, done.err) == (0, "")
    assert "wrote report.html" in done.out
    assert "<html" in Path("report.html").read_text(encoding="utf-8")
    assert results.load("report.json").subjects


def test_two_runs_make_a_report_too(run: Run) -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("vjaccel.benchmark.report")
    results.save(a_run(1.0), "a.json")
    results.save(a_run(0.25), "b.json")
    assert run("bench", "--compare", "a.json", "b.json", "-o", "both.html").code == 0
    assert "<html" in Path("both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "given",
    [["--ops", "topk"], ["--backends", "all"], ["--sizes", "default"], ["--embed"], ["--model", "folder"], ["--budget", "120"]],
    ids=lambda given: given[0],
)  # fmt: skip
def test_what_is_measured_is_not_to_be_said_where_nothing_is(run: Run, given: list[str]) -> None:
    done = run("bench", "--compare", "a.json", "b.json", *given)
    said = f"{given[0]} says what is measured, and --compare measures nothing: leave one of them out"
    assert (done.code, done.err) == (2, f"vjaccel: {said}\n")


def test_one_backend_has_nothing_to_be_compared_with() -> None:
    text = shown(a_run(only="numpy:cpu"))
    assert "Only numpy:cpu was measured: there is nothing to compare with." in text
    assert "3.02 ms" in text


@pytest.mark.parametrize("output", ["no/such/folder/report.html", "no/such/folder/run.json"])
def test_a_report_that_cannot_be_written_is_found_before_the_run(run: Run, mark: Path, output: str) -> None:
    done = run("bench", "--backends", "hanging", "--ops", "normalize", "--sizes", "small", "-o", output)
    assert done.code == 1
    assert done.err == f"vjaccel: cannot write {output}: there is no folder {Path(output).parent.resolve()}\n"
    assert not mark.exists()


def test_figures_that_would_lie_on_a_folder_are_found_before_the_run(run: Run, mark: Path) -> None:
    Path("here.json").mkdir()
    done = run("bench", "--backends", "hanging", "--ops", "normalize", "--sizes", "small", "-o", "here.json")
    assert (done.code, done.err) == (1, "vjaccel: cannot write here.json: it is a folder\n")
    assert not mark.exists()


def test_a_report_without_its_library_is_found_before_the_run(
    run: Run, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = run("bench", "--backends", "hanging", "--ops", "normalize", "--sizes", "small", "-o", "report.html")
    assert done.code == 1
    assert done.err == "vjaccel: a report needs the extra 'report': pip install 'vjaccel[report]'\n"
    assert not mark.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--ops", "sort"], 2, "no operation 'sort' is measured; it is one of topk, "),
        (["--backends", "nosuch"], 2, "no backend is registered as 'nosuch'"),
        (["--backends", "numpy:tpu"], 2, "device 'tpu' is none of"),
        (["--budget", "0"], 2, "the budget is a number of seconds above zero"),
        (["-o", "report.pdf"], 2, "report.pdf is none of .html, .json, which can be written"),
        (["--json", "--compare", "a.json", "b.json"], 2, "--compare measures nothing"),
        (["--compare", "a.json", "b.json"], 1, "a.json"),
    ],
)
def test_wrong_use_is_one_sentence(run: Run, arguments: list[str], code: int, said: str) -> None:
    done = run("bench", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_figures_of_another_version_are_refused_in_one_sentence(run: Run) -> None:
    results.save(a_run(), "new.json")
    old = Path("new.json").read_text().replace(results.SCHEMA, "vjaccel-bench/0")
    Path("old.json").write_text(old)
    done = run("bench", "--compare", "new.json", "old.json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("vjaccel: old.json is of the version 'vjaccel-bench/0', and this vjaccel reads")
    assert done.err.count("\n") == 1


def test_two_runs_side_by_side_show_what_is_larger_than_the_noise(run: Run) -> None:
    results.save(a_run(1.0), "a.json")
    results.save(a_run(0.25), "b.json")
    done = run("bench", "--compare", "a.json", "b.json")
    assert done.code == 0
    assert "4.00x" in done.out
    assert "within the noise" in done.out  # NumPy, which takes as long in both


def test_the_tables_can_be_read_in_80_columns() -> None:
    text = shown(a_run(0.5))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "2.0x" in text
    assert "torch:gpu:0, from host" in text


def test_a_refused_figure_is_in_no_speed_up() -> None:
    text = shown(a_run(0.01, only="faiss", refused="its values are off by 1e-01"))
    assert "refused" in text
    assert not any(word.endswith("x") and word[0].isdigit() and word != "x" for word in text.split())


@pytest.mark.parametrize(("spread", "said"), [(0.34, True), (0.05, False)])
def test_an_unsteady_clock_is_said(spread: float, said: bool) -> None:
    text = shown(a_run(machine=replace(MACHINE, clock_spread=spread)))
    assert ("The machine was unsteady" in text) is said
    assert ("34%" in text) is said


def test_what_did_not_fit_is_said() -> None:
    missing = (results.Unmeasured("numpy:cpu", "topk-of-much", "the budget was used up"),)
    text = shown(a_run(unmeasured=missing, stopped_by="budget", notes=("a note for the reader",)))
    assert "Did not fit into the budget: topk-of-much, on 1 subject." in text
    assert "a note for the reader" in text
