"""`vjaccel embed --shards`: the output is a folder of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def rows(run: Run) -> None:
    made = ({"text": "FAIL" if i == 7 else f"word {i}", "n": i} for i in range(25))
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))


PARTS = ("embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:8", "--shards", "--shard-rows", "10")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_folder_of_files_has_the_rows_of_the_one_file(run: Run, precision: str) -> None:
    assert run(*PARTS, "--precision", precision).code == 3
    whole = ("embed", "in.jsonl", "-o", "whole.parquet", "--model", "letters:8", "--precision", precision)
    assert run(*whole).code == 3
    assert [path.name for path in sorted(Path("out.parquet").iterdir())] == [
        "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"
    ]  # fmt: skip
    assert [pq.read_metadata(path).num_rows for path in sorted(Path("out.parquet").iterdir())] == [10, 10, 5]
    assert pq.read_table("out.parquet").equals(pq.read_table("whole.parquet"))
    assert sorted(path.name for path in Path().iterdir()) == [
        "in.jsonl", "out.parquet", "out.parquet.errors.jsonl", "out.parquet.run.json",
        "whole.parquet", "whole.parquet.errors.jsonl", "whole.parquet.run.json",
    ]  # fmt: skip


@pytest.mark.parametrize("output", ["out.jsonl", "out.npy"])
def test_other_formats_are_cut_alike(run: Run, output: str) -> None:
    arguments = [output if one == "out.parquet" else one for one in PARTS]
    assert run(*arguments).code == 3
    parts = sorted(Path(output).iterdir())
    if output == "out.npy":
        assert [np.load(path).shape for path in parts] == [(10, 8), (10, 8), (5, 8)]
    else:
        found = [json.loads(line) for path in parts for line in path.read_text().splitlines()]
        assert [row["n"] for row in found] == list(range(25))


def test_a_finished_folder_is_not_made_again_and_its_failed_rows_can_be(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*PARTS)
    assert "is finished already" in run(*PARTS).out
    monkeypatch.setenv("LETTERS_FORGIVE", "1")
    assert run(*PARTS, "--retry-failed").code == 0
    assert pq.read_table("out.parquet")["embedding"].null_count == 0
    assert len(list(Path("out.parquet").iterdir())) == 3


def test_an_input_without_rows_is_a_folder_with_one_file(run: Run) -> None:
    Path("in.jsonl").write_text("")
    assert run(*PARTS).code == 0
    assert pq.read_table("out.parquet").num_rows == 0


def test_a_folder_with_anything_else_in_it_is_left_alone(run: Run) -> None:
    Path("out.parquet").mkdir()
    Path("out.parquet/mine.txt").write_text("mine")
    done = run(*PARTS, "--overwrite")
    assert (done.code, done.err) == (
        1, "vjaccel: cannot write out.parquet: it is a folder with mine.txt in it, which no run has written\n"
    )  # fmt: skip
    assert Path("out.parquet/mine.txt").read_text() == "mine"


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(run: Run) -> None:
    whole = PARTS[:-3]
    run(*whole)
    assert "it is a file, and --shards makes a folder" in run(*PARTS).err
    Path("out.parquet").unlink()
    run(*PARTS)
    assert run(*whole).err == "vjaccel: cannot write out.parquet: it is a folder\n"


def test_what_is_no_file_cannot_be_cut(run: Run) -> None:
    done = run("embed", "in.jsonl", "-o", "lance:notes", "--model", "letters:8", "--shards")
    assert (done.code, done.err) == (2, "vjaccel: --shards is for an output that is files: leave it out\n")
