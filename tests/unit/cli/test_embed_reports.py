"""`vjaccel embed --report` and `vjaccel report`: found out before the run, made of what it keeps, clear where it cannot."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.benchmark.reading import Read, read
from tests.unit.cli.conftest import Run
from vjaccel.telemetry import Happened, TextsSettled, listening, running

LETTERS = ("--model", "letters:16")
HOSTILE = "<img src=x onerror=alert(1)>"


def written(name: str, count: int = 60, failing: int = 0) -> str:
    rows = [{"id": f"n{i}", "text": f"text number {i}"} for i in range(count)]
    rows += [{"id": f"bad{i}", "text": f"FAIL {i}"} for i in range(failing)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def shown(found: Read) -> list[str]:
    return [h for plot in found.figures.get("map", []) for trace in plot["data"] for h in trace["hovertext"] if h]


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.npy"])
def test_a_run_leaves_its_report_with_a_map_of_its_rows(run: Run, output: str) -> None:
    done = run("embed", written("in.jsonl", failing=3), "-o", output, *LETTERS, "--report", "run.html")
    assert (done.code, done.err) == (3, "")
    assert "what the run was like: run.html" in done.out
    found = read(Path("run.html"))
    assert "60 of 63 rows have their vector, and 3 failed: EMBEDDING_GENERATION_FAILED 3." in found.sections["short"]
    assert found.tables["What became of the rows"][1:] == [["in all", "63"], ["with a vector", "60"]]
    assert ["inputs", "in.jsonl"] in found.tables["How it was made"]
    assert found.tables["Examples"][1][1] == "row 60, id bad0"
    assert len(shown(found)) == 60
    assert any("n7<br>text number 7" in text for text in shown(found))


def test_the_report_is_named_in_json_too(run: Run) -> None:
    done = run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS, "--report", "run.html", "--json")
    assert json.loads(done.out)["report"] == "run.html"


def test_of_a_finished_run_the_report_is_made_again(run: Run) -> None:
    run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS)
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--report", "run.html", "--price", "2")
    assert (done.code, done.err) == (0, "")
    assert "60 of 60 rows have their vector, and none failed." in read(Path("run.html")).sections["short"]


def test_failed_rows_that_were_tried_again_are_told_of_as_they_stand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("embed", written("in.jsonl", failing=3), "-o", "out.parquet", *LETTERS)
    monkeypatch.setenv("LETTERS_FORGIVE", "yes")
    run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--retry-failed", "--report", "run.html")
    found = read(Path("run.html"))
    assert "63 of 63 rows have their vector, and none failed." in found.sections["short"]
    assert found.sections["failures"].strip().endswith("No text failed.")
    assert [row[1] for row in found.tables["Calls"][1:]] == ["began the run", "tried the texts again that had failed"]
    assert "Texts that had failed were tried again once." in found.sections["short"]
    assert "stopped" not in found.sections["short"]


def repeating() -> str:
    """60 rows of 40 texts, of which two fail, one of them twice."""
    texts = [f"text number {i % 38}" for i in range(57)] + ["FAIL a", "FAIL b", "FAIL a"]
    Path("in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return "in.jsonl"


def outcomes() -> dict[str, int]:
    found: dict[str, int] = json.loads(Path("out.parquet.run.json").read_text())["recording"]["outcomes"]
    return found


def test_rows_with_the_text_of_an_earlier_one_are_told_of_once_by_whichever_call(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: Counter[str] = Counter()
    expected: set[int] = set()

    def hear(what: Happened) -> None:
        if isinstance(what.event, TextsSettled):
            heard[what.event.outcome] += what.event.texts
            expected.update(one.rows[0] for one in running() if one.rows is not None)

    with listening(hear):
        run("embed", repeating(), "-o", "out.parquet", *LETTERS, "--report", "run.html")
    assert heard == outcomes() == {"embedded": 38, "duplicate": 20, "failed": 2}
    assert expected == {60}
    assert ["duplicate", "20"] in [row[:2] for row in read(Path("run.html")).tables["In all"]]
    heard.clear()
    monkeypatch.setenv("LETTERS_FORGIVE", "yes")
    with listening(hear):
        run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--retry-failed")
    assert heard == {"embedded": 2}
    assert outcomes() == {"embedded": 40, "duplicate": 20, "failed": 0}
    counts = json.loads(Path("out.parquet.run.json").read_text())["counts"]
    assert (counts["rows"], counts["with_vector"], counts["unrecorded"], counts["duplicates"]) == (60, 60, 0, 20)


def test_rows_into_a_collection_have_a_report(run: Run) -> None:
    pytest.importorskip("lance")
    done = run("embed", written("in.jsonl", failing=2), "-o", "lance:notes", *LETTERS, "--report", "run.html")
    assert (done.code, done.err) == (3, "")
    found = read(Path("run.html"))
    assert "60 texts have got their vector, and 2 failed" in found.sections["short"]
    assert ["output", "lance:notes"] in found.tables["How it was made"]
    assert any("n7<br>text number 7" in text for text in shown(found))
    again = run("embed", "in.jsonl", "-o", "lance:notes", *LETTERS, "--report", "again.html")
    assert again.code == 3
    assert "There is no map" in read(Path("again.html")).sections["map"]


def test_lines_that_are_given_out_at_once_have_a_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path(written("in.jsonl", failing=1)).read_bytes()
    Path("piped").write_bytes(content)
    with open("piped", "rb") as piped:
        before = os.dup(0)
        os.dup2(piped.fileno(), 0)
        try:
            done = run("embed", "-", "-o", "-", *LETTERS, "--report", "run.html")
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert done.code == 3
    found = read(Path("run.html"))
    assert "60 texts have got their vector, and 1 failed" in found.sections["short"]
    assert any("n7<br>text number 7" in text for text in shown(found))


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_an_output_of_codes_has_no_map(run: Run, precision: str) -> None:
    run("embed", written("in.jsonl"), "-o", "out.npy", *LETTERS, "--precision", precision, "--report", "run.html")
    assert f"the output holds {precision} codes" in read(Path("run.html")).sections["map"]


def test_a_map_is_of_a_sample_of_many_rows_and_the_same_each_time(run: Run) -> None:
    run("embed", written("in.jsonl", 5000), "-o", "out.parquet", *LETTERS, "--report", "run.html")
    run("report", "out.parquet", "-o", "again.html")
    first, again = (read(Path(name)) for name in ("run.html", "again.html"))
    assert len(shown(first)) == 2000
    assert shown(first) == shown(again)
    assert "2,000 of 5,000 rows, taken at random" in first.sections["map"]


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ("nowhere/run.html", "cannot write nowhere/run.html: there is no folder {here}/nowhere"),
        (".", "cannot write .: it is a folder"),
        ("/proc/run.html", "cannot write /proc/run.html: No such file or directory"),
        ("x" * 300, f"cannot write {'x' * 300}: File name too long"),
        ("/dev/null", "cannot write /dev/null: it is no file but a device, a pipe or a socket"),
        ("out.parquet.journal", "the report would be written over out.parquet.journal: give it another name"),
        ("in.jsonl", "the report would be written over in.jsonl: give it another name"),
        ("./out.parquet", "the report would be written over out.parquet: give it another name"),
        ("out.parquet.run.json", "the report would be written over out.parquet.run.json: give it another name"),
    ],
    ids=[
        "no folder",
        "a folder",
        "no disk",
        "a long name",
        "a device",
        "the journal",
        "the input",
        "the output",
        "the manifest",
    ],
)
def test_a_report_that_cannot_be_written_is_found_before_the_model_is_loaded(run: Run, report: str, says: str) -> None:
    content = Path(written("in.jsonl")).read_bytes()
    done = run("embed", "in.jsonl", "-o", "out.parquet", "--model", "local:there-is-no-such-model", "--report", report)
    assert done.code in (1, 2)
    assert done.err == f"vjaccel: {says.format(here=Path.cwd())}\n"
    assert Path("in.jsonl").read_bytes() == content
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl"]


def test_a_run_all_of_whose_texts_failed_has_a_report_that_says_why(run: Run) -> None:
    done = run(
        "embed", written("in.jsonl", 0, failing=7), "-o", "o.jsonl", "--model", "untold:8", "--report", "run.html"
    )
    assert done.code == 1
    assert "no text could be embedded" in done.err
    found = read(Path("run.html"))
    assert "EMBEDDING_GENERATION_FAILED 7" in found.sections["short"]
    assert "this text is refused" in found.tables["Examples"][1][2]


def test_a_report_made_afterwards_is_not_written_over_an_input(run: Run) -> None:
    run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS)
    content = Path("in.jsonl").read_bytes()
    done = run("report", "out.parquet", "-o", "in.jsonl")
    assert (done.code, done.err) == (2, "vjaccel: the report would be written over in.jsonl: give it another name\n")
    assert Path("in.jsonl").read_bytes() == content


def test_a_report_is_written_through_a_link(run: Run) -> None:
    Path("kept").mkdir()
    Path("run.html").symlink_to(Path("kept") / "tonight.html")
    run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS, "--report", "run.html")
    assert Path("run.html").is_symlink()
    assert "60 of 60 rows" in read(Path("kept/tonight.html")).sections["short"]
    assert sorted(path.name for path in Path("kept").iterdir()) == ["tonight.html"]


@pytest.mark.parametrize("output", ["out.parquet", "lance:notes", "-"])
def test_what_a_report_needs_is_found_missing_before_the_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    written("in.jsonl")
    done = run("embed", "in.jsonl", "-o", output, "--model", "local:there-is-no-such-model", "--report", "run.html")
    assert done.code == 1
    assert "needs the extra 'report': pip install 'vjaccel[report]'" in done.err
    assert not Path("run.html").exists()


def test_of_a_dry_run_there_is_no_report(run: Run) -> None:
    done = run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS, "--dry-run", "--report", "run.html")
    assert done.code == 2
    assert "--dry-run embeds nothing of which there could be a report" in done.err


def test_a_run_that_fails_too_often_leaves_its_report(run: Run) -> None:
    written("in.jsonl", failing=50)
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--max-errors", "10", "--report", "run.html")
    assert done.code == 1
    assert "max_errors is 10" in done.err
    found = read(Path("run.html"))
    reason = "The run has not ended: it was stopped by an error: 11 texts have failed, and max_errors is 10 (EMBEDDING_"
    assert reason in found.sections["short"]
    assert "The same command goes on." in found.sections["short"]
    assert found.tables["By code"][1][0] == "EMBEDDING_GENERATION_FAILED"
    assert "the output is not written yet" in found.sections["map"]


def test_a_run_that_is_refused_leaves_the_report_that_is_there(run: Run) -> None:
    Path("run.html").write_text("an earlier one")
    run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS)
    done = run("embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:8", "--report", "run.html")
    assert done.code == 1
    assert Path("run.html").read_text() == "an earlier one"


def test_markup_in_ids_and_texts_and_messages_is_text(run: Run) -> None:
    rows = [{"id": f"{HOSTILE}{i}", "text": f"{HOSTILE} {i}"} for i in range(30)] + [{"id": HOSTILE, "text": None}]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--report", "run.html")
    found = read(Path("run.html"))
    assert not found.tags & {"img"}
    assert f"row 30, id {HOSTILE}" in found.tables["Examples"][1]
    assert all("&lt;img" in text and "<img" not in text for text in shown(found))


# vjaccel report


@pytest.fixture
def finished(run: Run) -> None:
    run("embed", written("in.jsonl"), "-o", "out.parquet", *LETTERS)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["out.parquet", "out.parquet.run.json", "./out.parquet", "out.parquet.journal"])
def test_the_report_of_a_finished_run_is_made_by_any_of_its_names(run: Run, name: str) -> None:
    done = run("report", name)
    assert (done.code, done.out, done.err) == (0, "wrote out.parquet.report.html\n", "")
    assert "60 of 60 rows have their vector" in read(Path("out.parquet.report.html")).sections["short"]


def test_a_map_of_vectors_alone_promises_no_texts(run: Run) -> None:
    run("embed", written("in.jsonl"), "-o", "out.npy", *LETTERS)
    run("report", "out.npy", "-o", "run.html")
    found = read(Path("run.html"))
    assert "A dot shows which row it is; its text is not kept beside the vectors." in found.sections["map"]
    assert found.tables["Near duplicates"][0][3] == "some of them"


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_that_is_no_run_is_said(run: Run, name: str) -> None:
    done = run("report", name)
    assert (done.code, done.err) == (
        2, f"vjaccel: {name} is a folder, and no run's name: name its output OUT, OUT.run.json or OUT.journal\n"
    )  # fmt: skip


@pytest.mark.usefixtures("finished")
def test_where_the_output_is_gone_there_is_a_report_without_a_map(run: Run) -> None:
    Path("out.parquet").unlink()
    assert run("report", "out.parquet.run.json", "-o", "run.html").code == 0
    assert "out.parquet is not there" in read(Path("run.html")).sections["map"]
    Path("out.parquet").write_bytes(b"no parquet")
    assert run("report", "out.parquet.run.json", "-o", "run.html").code == 0
    assert "out.parquet is no output of" in read(Path("run.html")).sections["map"]


def test_where_there_is_no_run_it_is_said(run: Run) -> None:
    done = run("report", "out.parquet")
    assert done.code == 2
    assert done.err == (
        "vjaccel: there is neither out.parquet.run.json nor out.parquet.journal, where a run would have said what it was "
        "like: give what one has written, its OUT of -o OUT, and not what it has read\n"
    )
    Path("out.parquet.journal").mkdir()
    done = run("report", "out.parquet.journal/")
    assert done.code == 2
    assert "nothing is known yet of the run that has out.parquet.journal" in done.err


def changed(**values: object) -> str:
    manifest = json.loads(Path("out.parquet.run.json").read_text())
    return json.dumps(manifest | values)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda: "{", "out.parquet.run.json is no JSON: "),
        (lambda: "[1]", "out.parquet.run.json is no manifest of a run: it holds a list"),
        (lambda: "{}", "out.parquet.run.json does not say what the run was like: vjaccel unknown, which"),
        (lambda: changed(vjaccel="9.0", recording={"form": 2}), "was written by vjaccel 9.0, and this is "),
        (lambda: changed(vjaccel="9.0", counts=3), "was written by vjaccel 9.0, and this is "),
        (lambda: changed(made_by={}), "which cannot read it"),
        (lambda: "\udcff", "out.parquet.run.json is no JSON: "),
    ],
    ids=["cut", "a list", "empty", "another recording", "other counts", "not how it was made", "no text"],
)
def test_a_manifest_that_cannot_be_read_is_said(run: Run, content: object, says: str) -> None:
    assert callable(content)
    Path("out.parquet.run.json").write_text(content(), encoding="utf-8", errors="surrogateescape")
    done = run("report", "out.parquet", "-o", "run.html")
    assert done.code == 1
    assert says in done.err
    assert done.err.count("\n") == 1
    assert not Path("run.html").exists()


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["nowhere/run.html", "out.parquet", "out.parquet.run.json"])
def test_a_page_that_cannot_be_written_is_said(run: Run, name: str) -> None:
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = run("report", "out.parquet", "-o", name)
    assert done.code in (1, 2)
    assert name in done.err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_a_recording_of_another_version_keeps_no_run_from_going_on(run: Run) -> None:
    written("in.jsonl", failing=50)
    run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--max-errors", "10")
    Path("out.parquet.journal/recording.json").write_text('{"form": 2}')
    assert "which cannot read it" in run("report", "out.parquet").err
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).code == 3
    assert run("report", "out.parquet").code == 0


def test_a_run_over_nothing_has_a_report(run: Run) -> None:
    Path("in.jsonl").write_text("")
    run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--report", "run.html")
    assert "0 of 0 rows have their vector" in read(Path("run.html")).sections["short"]
