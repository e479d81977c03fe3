"""The report of one run: what it says, and that nothing in it reaches outside or is taken for markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up import HOSTILE, cpu_run, gpu_run
from reading import read

from vjaccel.benchmark.report import write_report
from vjaccel.errors import MissingExtra, OutputError

SECTIONS = ["short", "speedup", "refused", "throughput", "roofline", "costs", "embedding", "recall", "noise", "machine"]
REPORTS = ["cpu.html", "gpu.html", "hostile.html", "comparison.html"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_refers_to_nothing_outside_itself(reports: Path, name: str) -> None:
    found = read(reports / name)
    assert [x for x in found.references if not x.startswith("href=#")] == []
    assert not found.tags & {"link", "img", "iframe", "object", "base", "form"}
    page = re.sub(
        r'(<script type="text/plain" id="plotly">).*?</script>', "", (reports / name).read_text(encoding="utf-8")
    )
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_a_small_file(reports: Path, name: str) -> None:
    assert (reports / name).stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["cpu.html", "gpu.html"])
def test_a_report_has_every_section(reports: Path, name: str) -> None:
    assert list(read(reports / name).sections) == SECTIONS


@pytest.mark.parametrize("section", ["speedup", "throughput", "roofline", "costs", "embedding", "recall", "noise"])
@pytest.mark.parametrize("name", ["cpu.html", "gpu.html"])
def test_every_plot_has_a_table_with_it(reports: Path, name: str, section: str) -> None:
    page = (reports / name).read_text(encoding="utf-8")
    part = page.partition(f'<section id="{section}">')[2].partition("</section>")[0]
    assert part.count('class="plot"') >= 1
    assert part.count("<table") >= 1


def test_markup_from_outside_stays_text(reports: Path) -> None:
    found = read(reports / "hostile.html")
    assert not found.tags & {"img", "b"}
    assert HOSTILE in found.sections["refused"]
    assert HOSTILE in {row[1] for row in found.tables["Machine"]}
    assert [HOSTILE, HOSTILE] in found.tables["Versions"]


def test_markup_from_outside_is_escaped_for_plotly_too(reports: Path) -> None:
    figures = read(reports / "hostile.html").figures
    texts = json.dumps(
        [trace.get("hovertext") for plots in figures.values() for plot in plots for trace in plot["data"]]
    )
    assert "&lt;img src=x" in texts
    assert "<img" not in texts


def test_a_refused_figure_is_listed_with_its_reason_and_is_in_no_speedup(reports: Path) -> None:
    found = read(reports / "gpu.html")
    refused = found.tables["Refused figures"][1:]
    assert [(row[0], row[3]) for row in refused] == [
        ("cupy:gpu:0", "a wrong answer: 2 of 1000 neighbours are not the nearest")
    ]
    speedups = found.tables["Speed-up over NumPy; the fastest beyond the noise is marked"]
    cases = {row[0]: row[3].rpartition(" ")[2] for row in speedups}
    assert (cases["topk: torch:gpu:0"], cases["topk: cupy:gpu:0"]) == ("9", "8")


def test_a_refused_figure_is_in_no_plot(tmp_path: Path) -> None:
    run = cpu_run()
    refused = tuple(replace(m, refused="wrong") if m.subject == "faiss" else m for m in run.measurements)
    write_report(replace(run, measurements=refused, recall=()), tmp_path / "a.html")
    figures = read(tmp_path / "a.html").figures
    names = {
        trace.get("meta")
        for name in ("speedup", "throughput", "roofline")
        for f in figures[name]
        for trace in f["data"]
    }
    assert "torch:cpu" in names
    assert "faiss" not in names


def test_a_subject_that_crashed_is_listed_with_its_reason(reports: Path) -> None:
    rows = read(reports / "cpu.html").tables["Subjects that failed, or gave a wrong answer"]
    assert rows[1:] == [["usearch", "crashed", "the process ended with signal 11 in topk"]]


def test_without_a_gpu_the_report_says_that_none_was_measured(reports: Path) -> None:
    found = read(reports / "cpu.html")
    assert "No GPU was measured" in found.sections["short"]
    assert "No GPU was measured" in found.sections["throughput"]
    assert "From which size on a GPU pays" not in found.tables


def test_with_a_gpu_the_report_says_from_which_size_on_it_pays(reports: Path) -> None:
    found = read(reports / "gpu.html")
    assert "No GPU was measured" not in found.sections["short"]
    rows = found.tables["From which size on a GPU pays"][1:]
    assert {row[1] for row in rows} >= {"torch:gpu:0", "torch:gpu:0, from host"}


def test_each_device_has_its_roof_and_each_kernel_its_dot(reports: Path) -> None:
    found = read(reports / "gpu.html")
    roofs = found.tables["What each device can do, as measured"][1:]
    assert [row[0] for row in roofs] == ["cpu (Made-up Server Processor)", "gpu:0 (Made-up Accelerator 80 GB)"]
    dots = [
        x for plot in found.figures["roofline"] for trace in plot["data"] if "meta" in trace for x in trace["x"] if x
    ]
    assert len(dots) == len(found.tables["Every kernel under its roof"]) - 1 > 100


def test_embedding_is_shown_by_device_dtype_and_batch(reports: Path) -> None:
    rows = read(reports / "gpu.html").tables["all-MiniLM-L6-v2, by tokens a batch"][1:]
    assert {(row[0], row[1]) for row in rows} >= {("torch:cpu float32", "1024"), ("torch:gpu:0 bfloat16", "16384")}


def test_the_machine_the_versions_and_the_command_are_there(reports: Path) -> None:
    found = read(reports / "gpu.html")
    assert ["command", "vjaccel bench --sizes default --embed"] in found.tables["Machine"]
    assert ["numpy", "2.4.6"] in found.tables["Versions"]


def test_noise_is_shown(reports: Path) -> None:
    found = read(reports / "cpu.html")
    assert "varied by 3.7 %" in found.sections["noise"]
    assert len(found.figures["noise"]) == 2
    assert found.tables["Every figure that counts"][0][2] == "spread"


def test_a_run_that_was_stopped_says_so(reports: Path) -> None:
    assert "stopped by its time budget" in read(reports / "gpu.html").sections["short"]


@pytest.mark.parametrize("keep", [0, 1])
def test_a_run_of_nothing_and_of_numpy_alone_have_a_report(tmp_path: Path, keep: int) -> None:
    run = cpu_run()
    alone = tuple(m for m in run.measurements if m.subject == "numpy:cpu")[:keep]
    bare = replace(run, subjects=run.subjects[:1], measurements=alone, embedding=(), recall=())
    write_report(bare, tmp_path / "a.html")
    found = read(tmp_path / "a.html")
    assert "nothing to compare" in found.sections["speedup"]
    assert "No embedding was measured" in found.sections["embedding"]


def test_one_round_and_a_clock_that_stands_still_have_a_report(tmp_path: Path) -> None:
    run = gpu_run()
    one = tuple(replace(m, seconds=m.seconds[:1]) for m in run.measurements)
    still = replace(run.machine, clock=(0.05, 0.05), clock_spread=0.0)
    write_report(replace(run, measurements=one, machine=still), tmp_path / "a.html")
    assert {row[2] for row in read(tmp_path / "a.html").tables["Every figure that counts"][1:]} == {"–"}  # noqa: RUF001


@pytest.mark.parametrize("place", ["nowhere/a.html", "."])
def test_a_place_that_cannot_be_written_is_an_error_that_leaves_nothing(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_report(gpu_run(), folder / place)
    assert list(tmp_path.rglob("*")) == [folder]


def test_without_plotly_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'vjaccel[report]'")):
        write_report(gpu_run(), tmp_path / "a.html")


def test_what_is_faster_only_within_the_noise_is_not_called_faster(reports: Path, tmp_path: Path) -> None:
    run = gpu_run()
    write_report(replace(run, machine=replace(run.machine, clock_spread=2.0)), tmp_path / "a.html")
    quiet, loud = (read(path).sections["short"] for path in (reports / "gpu.html", tmp_path / "a.html"))
    assert "normalize: torch:gpu:0 is" in quiet
    assert "The machine was not quiet: the same work varied by 200 %" in loud
    assert "normalize: nothing is faster than numpy:cpu by more than the noise" in loud
