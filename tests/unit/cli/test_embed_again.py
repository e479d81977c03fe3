"""`vjaccel embed` a second time: finished runs, other runs' outputs, failed rows tried again, and the manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import letters
from vjaccel.embedding.journal import Journal
from vjaccel.io import stored_vectors

LETTERS = ("--model", "letters:16")


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return [{"id": f"n{i}", "text": "FAIL" if i in (3, 5) else f"text {i % 40}"} for i in range(60)]


def write(rows: list[dict[str, Any]]) -> None:
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def manifest(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{output}.run.json").read_text())
    return found


def test_a_finished_run_says_so_and_does_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    write([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}])
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).code == 0
    before = Path("out.parquet").stat().st_mtime_ns
    for option in ((), ("--resume",), ("--json",)):
        done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, *option)
        assert (done.code, done.err) == (0, "")
        assert "finished" in done.out
    assert Path("out.parquet").stat().st_mtime_ns == before
    assert (tmp_path / "asked").read_text() == "x\ny\n"


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        pytest.param(("--model", "letters:8"), 'identity model was "16", now "8"', id="model"),
        pytest.param((*LETTERS, "--prompt", "say: "), 'identity prompt was "", now "say: "', id="prompt"),
        pytest.param((*LETTERS, "--text-field", "id"), 'text_field was "text", now "id"', id="option"),
        pytest.param(LETTERS, "what is in in.jsonl as jsonl has changed", id="input"),
    ],
)
def test_another_run_does_not_replace_an_output_until_it_is_told_to(
    run: Run, arguments: tuple[str, ...], changed: str
) -> None:
    write([{"id": "a", "text": "x"}])
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).code == 0
    if arguments == LETTERS:
        write([{"id": "a", "text": "changed"}])
    done = run("embed", "in.jsonl", "-o", "out.parquet", *arguments)
    assert done.code == 1
    assert done.err.startswith(f"vjaccel: out.parquet is another run's: {changed}")
    assert "--restart" in done.err
    assert run("embed", "in.jsonl", "-o", "out.parquet", *arguments, "--restart").code == 0
    assert run("embed", "in.jsonl", "-o", "out.parquet", *arguments).out.startswith("out.parquet is finished already")


@pytest.mark.parametrize(
    "arguments",
    [("--model", "local:/nowhere"), (*LETTERS, "--restart"), (*LETTERS, "--engine", "ray", "--address", "127.0.0.1:1")],
    ids=["no model", "anew", "no cluster"],
)
def test_an_output_that_another_run_writes_is_refused_before_anything_is_loaded(
    run: Run, arguments: tuple[str, ...]
) -> None:
    write([{"id": "a", "text": "x"}])
    with Journal(Path("out.parquet.journal"), {}, 1):
        done = run("embed", "in.jsonl", "-o", "out.parquet", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err == "vjaccel: another run is writing out.parquet.journal: wait for it, or stop it\n"


def test_a_file_that_nobody_knows_of_is_replaced_only_when_that_is_said(run: Run) -> None:
    write([{"id": "a", "text": "x"}])
    Path("out.parquet").write_text("precious")
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS)
    assert (done.code, Path("out.parquet").read_text()) == (1, "precious")
    assert "--overwrite" in done.err
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--overwrite").code == 0
    assert pq.read_table("out.parquet").num_rows == 1


def test_the_manifest_counts_every_row_by_what_became_of_it(run: Run, rows: list[dict[str, Any]]) -> None:
    write([*rows, {"id": "n", "text": 7}])
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--json")
    assert done.code == 3
    found = manifest("out.parquet")
    assert found["counts"] == {
        "rows": 61, "bad_lines": 0, "with_vector": 58, "resumed": 0, "embedded": 40, "cached": 0, "unrecorded": 0,
        "tokens": None, "truncated": None, "tokens_lost": None, "duplicates": 19, "empty": 0,
        "failures": {"EMBEDDING_GENERATION_FAILED": 2, "INVALID_TEXT": 1},
    }  # fmt: skip
    assert found["errors"] == "out.parquet.errors.jsonl"
    assert found["made_by"]["identity"]["model"] == "16"
    assert found["statistics"]["embedded"] == 40
    report = json.loads(done.out)
    assert (report["failures"], report["duplicates"]) == (found["counts"]["failures"], 19)


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.npy"])
def test_failed_rows_are_tried_again_and_complete_the_output(
    run: Run, rows: list[dict[str, Any]], output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(rows)
    assert run("embed", "in.jsonl", "-o", output, *LETTERS).code == 3
    finished = run("embed", "in.jsonl", "-o", output, *LETTERS)
    assert (finished.code, "--retry-failed" in finished.out) == (0, True)
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    monkeypatch.setenv("LETTERS_FORGIVE", "1")
    done = run("embed", "in.jsonl", "-o", output, *LETTERS, "--retry-failed")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "asked").read_text() == "FAIL\n"
    vectors, ok = zip(*stored_vectors(Path(output)), strict=True)
    assert np.concatenate(ok).all()
    np.testing.assert_allclose(np.concatenate(vectors), letters(16, [row["text"] for row in rows]), atol=1e-7)
    assert not Path(f"{output}.errors.jsonl").exists()
    assert manifest(output)["counts"]["failures"] == {}


def test_failed_rows_that_fail_again_are_said_again(run: Run, rows: list[dict[str, Any]]) -> None:
    write(rows)
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).code == 3
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--retry-failed")
    assert (done.code, "2 texts failed" in done.out) == (3, True)
    assert manifest("out.parquet")["counts"]["resumed"] == 58


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(("b.txt", "a.txt"), id="in another order"),
        pytest.param(("a.txt", "b.txt", "b.txt"), id="one twice"),
        pytest.param(("a.txt", "b.txt", "--input-format", "jsonl"), id="read as another format"),
    ],
)
def test_the_same_files_read_otherwise_are_another_run(run: Run, second: tuple[str, ...]) -> None:
    Path("a.txt").write_text('{"text": "one"}\n')
    Path("b.txt").write_text('{"text": "two"}\n')
    assert run("embed", "a.txt", "b.txt", "-o", "out.npy", *LETTERS).code == 0
    done = run("embed", *second, "-o", "out.npy", *LETTERS)
    assert (done.code, "is another run's: the inputs were 1: a.txt as txt, 2: b.txt as txt, now 1: " in done.err) == (
        1,
        True,
    )


def test_overwriting_does_not_do_a_finished_run_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write([{"id": "a", "text": "x"}])
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--overwrite").code == 0
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--overwrite").code == 0
    assert not (tmp_path / "asked").exists()
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--restart").code == 0
    assert (tmp_path / "asked").exists()


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.npy"])
def test_a_run_in_which_every_row_fails_has_an_output_whose_rows_can_be_tried_again(
    run: Run, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([{"id": "a", "text": "FAIL"}, {"id": "b", "text": 7}])
    assert run("embed", "in.jsonl", "-o", output, *LETTERS).code == 3
    monkeypatch.setenv("LETTERS_FORGIVE", "1")
    done = run("embed", "in.jsonl", "-o", output, *LETTERS, "--retry-failed")
    assert (done.code, manifest(output)["counts"]["failures"]) == (3, {"INVALID_TEXT": 1})
    ((vectors, ok),) = stored_vectors(Path(output))
    assert ok.tolist() == [True, False]
    np.testing.assert_allclose(vectors[0], letters(16, ["FAIL"])[0], atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
def test_where_no_text_can_be_embedded_and_no_width_is_known_each_failed_row_is_named(run: Run, precision: str) -> None:
    write([{"id": "a", "text": "FAIL"}, {"id": "b", "text": 7}, {"id": "c", "text": "FAIL"}])
    done = run("embed", "in.jsonl", "-o", "out.parquet", "--model", "untold:16", "--precision", precision)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "ValueError: this text is refused: see out.parquet.errors.jsonl" in done.err
    errors = [json.loads(line) for line in Path("out.parquet.errors.jsonl").read_text().splitlines()]
    assert [(error["index"], error["id"], error["code"]) for error in errors] == [
        (0, "a", "EMBEDDING_GENERATION_FAILED"),
        (1, "b", "INVALID_TEXT"),
        (2, "c", "EMBEDDING_GENERATION_FAILED"),
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "out.parquet.errors.jsonl"]


def test_what_a_killed_run_left_of_its_files_goes_and_what_others_are_writing_stays(run: Run) -> None:
    write([{"id": "a", "text": "x"}])
    own = [".a[1].parquet.77.partial", ".a[1].parquet.errors.jsonl.77.partial", ".a[1].parquet.run.json.77.partial"]
    others = [".a[1].parquet.jsonl.77.partial", ".a1.parquet.77.partial", ".a[1].parquet.mine.partial"]
    for name in own + others:
        Path(name).write_text("")
    assert run("embed", "in.jsonl", "-o", "a[1].parquet", *LETTERS).code == 0
    there = {path.name for path in Path().iterdir()}
    assert (there & set(own), there & set(others)) == (set(), set(others))


def test_what_is_left_of_a_journal_whose_run_was_killed_at_its_end_goes(run: Run) -> None:
    write([{"id": "a", "text": "x"}])
    run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS)
    before = sorted(Path().iterdir())
    left = Path(".out.parquet.journal.removed")
    left.mkdir()
    (left / "vectors").write_bytes(bytes(8))
    assert "is finished already" in run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).out
    assert sorted(Path().iterdir()) == before


def test_a_width_that_only_vectors_tell_is_kept_where_a_run_has_none(run: Run) -> None:
    write([{"id": "a", "text": "one"}, {"id": "b", "text": "FAIL"}])
    command = ("embed", "in.jsonl", "-o", "out.parquet", "--model", "untold:16")
    assert "the first vector will tell their width" in run(*command, "--dry-run").out
    assert run(*command).code == 3
    assert "vectors of width 16" in run(*command, "--retry-failed").out
    assert manifest("out.parquet")["made_by"]["identity"]["dimensions"] == 16
    assert run("search", "out.parquet", "one", "-k", "1").code == 0


def test_there_are_no_failed_rows_of_a_run_that_was_not(run: Run) -> None:
    write([{"id": "a", "text": "x"}])
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--retry-failed")
    assert done.code == 2
    assert "there is no run that wrote out.parquet" in done.err


def test_too_many_errors_stop_the_run_and_what_is_done_is_kept(run: Run, rows: list[dict[str, Any]]) -> None:
    write([*rows, *({"id": "f", "text": f"FAIL {i}"} for i in range(50))])
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--max-errors", "5")
    assert done.code == 1
    assert "texts have failed, and max_errors is 5" in done.err
    named = [int(row) for row in re.findall(r"(\d+) \(EMBEDDING", done.err.partition("; the first: ")[2])]
    assert len(named) == 5
    assert set(named) <= {3, *range(60, 110)}, "rows of the input, some of which were not embedded"
    assert not Path("out.parquet").exists()
    again = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS)
    assert again.code == 3
    assert "going on with out.parquet" in again.err
    assert manifest("out.parquet")["counts"]["resumed"] > 0


@pytest.mark.parametrize("other", ["--resume", "--retry-failed"])
def test_beginning_anew_and_going_on_are_not_asked_together(run: Run, other: str) -> None:
    write([{"id": "a", "text": "x"}])
    done = run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS, "--restart", other)
    assert done.code == 2
    assert "give one of them" in done.err


def test_what_the_files_tell_is_said_before_a_model_is_loaded(run: Run) -> None:
    write([{"id": "a", "text": "x"}])
    Path("other.parquet").write_text("precious")
    assert run("embed", "in.jsonl", "-o", "out.parquet", *LETTERS).code == 0
    write([{"id": "a", "text": "y"}])
    nowhere = ("--model", "local:nowhere")
    assert "out.parquet is another run's" in run("embed", "in.jsonl", "-o", "out.parquet", *nowhere).err
    assert "--overwrite" in run("embed", "in.jsonl", "-o", "other.parquet", *nowhere).err
    assert "no run that wrote new.npy" in run("embed", "in.jsonl", "-o", "new.npy", "--retry-failed", *nowhere).err
    assert "nowhere" in run("embed", "in.jsonl", "-o", "new.npy", *nowhere).err


def test_a_dry_run_leaves_out_what_an_earlier_run_has_settled(run: Run, rows: list[dict[str, Any]]) -> None:
    write(rows)
    command = ("embed", "in.jsonl", "-o", "out.parquet", *LETTERS)
    assert run(*command, "--max-errors", "0").code == 1
    journal = Path("out.parquet.journal/journal.jsonl")
    begun = journal.read_bytes()
    report = json.loads(run(*command, "--dry-run", "--json").out)
    assert (journal.read_bytes(), report["rows"]) == (begun, 60)
    assert 0 < report["settled"] <= 41
    with Journal(Path("out.parquet.journal"), json.loads(Path("out.parquet.journal/run.json").read_text()), 60):
        journal.write_bytes(begun + b'{"rows":[')
        while_another_runs = json.loads(run(*command, "--dry-run", "--json").out)
    assert (while_another_runs, journal.read_bytes()) == (report, begun + b'{"rows":[')
    assert "rows are settled by an earlier run" in run(*command, "--dry-run").out
    assert run(*command).code == 3
    said = run(*command, "--dry-run").out
    assert said.startswith("would embed 0 texts")
    assert "41 of 60 rows are settled" in said
    assert run(*command, "--dry-run", "--retry-failed").out.startswith("would embed 1 texts")
    assert run(*command, "--dry-run", "--restart").out.startswith("would embed 41 texts")


def test_a_finished_output_that_is_no_longer_whole_is_not_taken_for_finished(run: Run) -> None:
    Path("in.txt").write_text("one\ntwo\n")
    command = ("embed", "in.txt", "-o", "out.jsonl", "--model", "letters:16")
    assert run(*command).code == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_text("x")
    done = run(*command)
    assert (done.code, "out.jsonl is not as its run wrote it" in done.err, "--restart" in done.err) == (1, True, True)
    assert Path("out.jsonl").read_text() == "x"
    assert run(*command, "--overwrite").code == 0
    assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-", "--resume"), "no run over it can be resumed"),
        (("in.txt", "--cache", "memory"), "a cache in memory ends with the command"),
        (("",), "an input has no name"),
    ],
    ids=["resumed standard input", "cache in memory", "no name"],
)
def test_what_is_of_no_use_is_refused_with_what_is(run: Run, arguments: tuple[str, ...], said: str) -> None:
    Path("in.txt").write_text("one\n")
    done = run("embed", *arguments, "-o", "out.jsonl", "--model", "letters:16")
    assert (done.code, said in done.err) == (2, True)


def test_texts_that_the_cache_had_are_not_said_to_be_embedded(run: Run) -> None:
    Path("in.txt").write_text("one\ntwo\n")
    command = ("embed", "in.txt", "--model", "letters:16", "--cache", "cache")
    assert "embedded 2 texts in" in run(*command, "-o", "a.jsonl").out
    again = run(*command, "-o", "b.jsonl").out
    assert "embedded" not in again
    assert "the cache had 2 texts, and 0 not" in again
