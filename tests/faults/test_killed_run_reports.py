"""Reports of runs that were killed or stopped: made afterwards, of what is kept, until the run has ended and after."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_stopped_runs import EMBED, PATIENCE, ROWS, finished, lines, started, text, until_embedding
from tests.unit.benchmark.reading import Read, read
from tests.unit.cli.letters import install


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    install(tmp_path / "plugins")
    made = tmp_path / "work"
    made.mkdir()
    rows = ({"id": f"n{i}", "text": text(i)} for i in range(ROWS))
    (made / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def killed(folder: Path, *more: str) -> None:
    process = started(folder, *EMBED, *more)
    until_embedding(folder, process)
    deadline = time.monotonic() + PATIENCE
    while not unrecorded(folder, process):
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def unrecorded(folder: Path, process: subprocess.Popen[str]) -> bool:
    """Whether a run, which stands still from now on, has kept what it was like, and has done more since."""
    assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    kept = folder / "out.parquet.journal" / "recording.json"
    if not kept.exists():
        return False
    known = json.loads(kept.read_text())["outcomes"].get("embedded", 0)
    return sum(len(json.loads(line).get("rows", [])) for line in lines(folder) if line.endswith("}")) > known


def page(folder: Path) -> Read:
    return read(folder / "run.html")


@pytest.mark.parametrize("kills", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_rows_of_a_killed_run_are_those_of_its_journal_and_the_rest_is_at_least(folder: Path, kills: int) -> None:
    for _ in range(kills):
        killed(folder)
    done = sum(len(json.loads(line).get("rows", [])) for line in lines(folder) if line.endswith("}"))
    finished(folder, "report", "out.parquet", "-o", "run.html")
    found = page(folder)
    assert f"{done:,} texts have got their vector." in found.sections["short"]
    assert "It took at least" in found.sections["short"]
    finished(folder, *EMBED, "--report", "run.html", "--price", "1000000")
    manifest = json.loads((folder / "out.parquet.run.json").read_text())
    counts = manifest["counts"]
    assert counts["unrecorded"] > 0
    assert (
        counts["duplicates"]
        == ROWS - len({text(i) for i in range(ROWS)})
        == manifest["recording"]["outcomes"]["duplicate"]
    )
    assert counts["embedded"] + counts["unrecorded"] + counts["duplicates"] == counts["rows"] == ROWS
    assert counts["tokens"] is None
    assert f"Of {counts['unrecorded']:,} texts nothing is known but the vectors" in page(folder).sections["short"]


def test_what_the_first_batches_were_like_is_kept_before_the_first_seconds_are_over(folder: Path) -> None:
    process = started(folder, *EMBED)
    until_embedding(folder, process)
    deadline, kept = time.monotonic() + PATIENCE, folder / "out.parquet.journal" / "recording.json"
    while not kept.exists() or not (found := json.loads(kept.read_text()))["outcomes"].get("embedded"):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not found["complete"]
    assert found["seconds"] < 5
    finished(folder, "report", "out.parquet", "-o", "run.html")
    assert ", too little for a rate." in page(folder).sections["short"]


@pytest.mark.parametrize(
    "name",
    [
        "out.parquet",
        pytest.param("out.parquet.run.json", marks=pytest.mark.soak),
        pytest.param("out.parquet.journal", marks=pytest.mark.soak),
        "./out.parquet.journal/",
    ],
)
def test_the_report_of_a_killed_run_is_made_of_its_journal(folder: Path, name: str) -> None:
    killed(folder)
    said = finished(folder, "report", name, "-o", "run.html")
    assert said == "wrote run.html: the run of out.parquet has not ended\n"
    found = page(folder)
    assert "The run has not ended" in found.sections["short"]
    assert "texts have got their vector" in found.sections["short"]
    assert "the output is not written yet" in found.sections["map"]
    assert ["model", "letters:32"] in found.tables["How it was made"]
    assert ["inputs", "in.jsonl"] in found.tables["How it was made"]


def test_a_run_that_was_killed_twice_and_came_to_its_end_has_one_report(folder: Path) -> None:
    for _ in range(2):
        killed(folder)
    finished(folder, *EMBED, "--report", "run.html")
    found = page(folder)
    assert f"{ROWS:,} of {ROWS:,} rows have their vector, and none failed." in found.sections["short"]
    assert "It was stopped and gone on with twice." in found.sections["short"]
    assert len(found.tables["Calls"]) == 4
    assert len(found.figures["throughput"][0]["layout"]["shapes"]) == 2


def test_what_was_made_is_told_of_by_its_manifest_while_it_is_made_anew(folder: Path) -> None:
    finished(folder, *EMBED)
    killed(folder, "--restart")
    assert "has not ended" not in finished(folder, "report", "out.parquet.run.json", "-o", "run.html")
    assert f"{ROWS:,} of {ROWS:,} rows" in page(folder).sections["short"]
    assert "has not ended" in finished(folder, "report", "out.parquet", "-o", "run.html")


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.soak)]
)
def test_a_run_that_is_stopped_leaves_its_report(folder: Path, number: signal.Signals, code: int) -> None:
    process = started(folder, *EMBED, "--report", "run.html")
    until_embedding(folder, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    reason = "The run has not ended: it was stopped by Ctrl-C, or a signal. The same command goes on."
    assert reason in page(folder).sections["short"]
    finished(folder, "report", "out.parquet", "-o", "later.html")
    assert "at least" not in read(folder / "later.html").sections["short"]
    finished(folder, *EMBED, "--report", "run.html")
    assert "It was stopped and gone on with once." in page(folder).sections["short"]


@pytest.mark.usefixtures("interrupts")
def test_a_run_that_goes_on_and_is_stopped_while_its_model_is_loaded_has_the_report_of_what_was_done_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(folder)
    loading = folder.parent / "loading"
    monkeypatch.setenv("LETTERS_LOADING", str(loading))
    process = started(folder, *EMBED, "--report", "run.html")
    deadline = time.monotonic() + PATIENCE
    while not loading.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert "nothing more was done" in err
    assert "goes on where out.parquet was stopped before" in err
    found = page(folder)
    assert "The run has not ended" in found.sections["short"]
    assert "texts have got their vector" in found.sections["short"]
