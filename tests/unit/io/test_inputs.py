"""Inputs: what is read twice is the same twice, and is held a batch at a time."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from vjaccel.io import Inputs


def test_batches_are_of_the_size_asked_for_across_files(tmp_path: Path) -> None:
    names = []
    for i, rows in enumerate((3, 0, 9, 1)):
        path = tmp_path / f"{i}.txt"
        path.write_text("".join(f"{i}-{j}\n" for j in range(rows)))
        names.append(str(path))
    with Inputs(names) as inputs:
        batches = list(inputs.batches(5))
    assert inputs.rows == 13
    assert [len(rows) for rows in batches] == [5, 5, 3]
    assert [rows.columns.num_rows for rows in batches] == [5, 5, 3]
    assert [i for rows in batches for i in rows.ids] == [str(i) for i in range(13)]
    assert [text for rows in batches for text in rows.texts][2:5] == ["0-2", "2-0", "2-1"]


def test_a_file_that_changes_between_the_readings_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    with Inputs([str(path)]) as inputs:
        path.write_text("a\nb\n")
        with pytest.raises(vj.FileFormatError, match=r"in\.txt has changed while it was read"):
            list(inputs.batches(10))


def test_a_byte_order_mark_is_no_part_of_the_first_text(tmp_path: Path) -> None:
    for name, content in (("in.txt", "a\n"), ("in.jsonl", '{"text": "a"}\n'), ("in.csv", "text\na\n")):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
    with Inputs([str(tmp_path / name) for name in ("in.txt", "in.jsonl", "in.csv")]) as inputs:
        assert [text for rows in inputs.batches(10) for text in rows.texts] == ["a", "a", "a"]


def test_what_standard_input_was_kept_in_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    with Inputs(["-"]) as inputs:
        assert len(os.listdir(tmp_path)) == 1
        assert [rows.texts for rows in inputs.batches(10)] == [["a", "b"]]
    assert os.listdir(tmp_path) == []


def test_it_is_removed_too_when_it_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{\n")))
    with pytest.raises(vj.FileFormatError, match="standard input, line 1: it is not JSON"):
        Inputs(["-"])
    assert os.listdir(tmp_path) == []


def made_input(folder: Path, name: str) -> Path:
    """Ten thousand rows, with what makes it hard to find one in the middle."""
    texts = [
        f"\ufeff{i}" if i % 4096 == 0 else f"{i}\n,{i}" if name == "in.csv" else f"text {i}" for i in range(10_000)
    ]
    path = folder / name
    if name == "in.parquet":
        pq.write_table(pa.table({"text": texts}), path, row_group_size=1000)
        return path
    if name == "in.csv":
        # A header that takes two lines, and a record that is no row.
        content = '"a\nb",text\n' + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)) + "only one\n"
    elif name.startswith("in.txt"):
        content = "".join(f"{text}\n" for text in texts)
    else:
        content = "".join(json.dumps({"text": text}) + "\n\n" * (i % 3 == 0) for i, text in enumerate(texts)).replace(
            "}{", "}\n{"
        )
    with gzip.open(path, "wb") if name.endswith(".gz") else path.open("wb") as file:
        file.write(content.encode())
    return path


@pytest.mark.parametrize("name", ["in.txt", "in.txt.gz", "in.jsonl", "in.csv", "in.parquet"])
def test_some_rows_in_the_middle_are_those_of_the_whole(tmp_path: Path, name: str) -> None:
    first = tmp_path / "first.txt"
    first.write_text("one\ntwo\n")
    path = made_input(tmp_path, name)
    with Inputs([str(path), str(first), str(path)], skip_bad_lines=True) as read:
        inputs = pickle.loads(pickle.dumps(read))  # as another process has it
        assert inputs.rows == 20_002
        whole = [(text, row) for rows in inputs.batches(4096) for text, row in zip(rows.texts, rows.ids, strict=True)]
        assert len(whole) == 20_002
        for start, stop in (
            (0, 3),
            (4095, 4099),
            (4096, 8200),
            (8192, 8193),
            (9_999, 10_003),
            (14_100, 20_002),
            (5, 5),
        ):
            found = list(inputs.batches(1000, start, stop))
            assert [pair for rows in found for pair in zip(rows.texts, rows.ids, strict=True)] == whole[start:stop]
            assert all(len(rows) <= 1000 for rows in found)


def test_a_machine_that_has_not_the_files_says_which(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    with Inputs([str(path)]) as inputs:
        inputs.check_here()
        path.write_text("a\nb\n")
        with pytest.raises(vj.FileFormatError, match=r"in\.txt is another file: it has 4 bytes, not 2"):
            inputs.check_here()
        path.unlink()
        with pytest.raises(vj.FileFormatError, match=r"in\.txt cannot be read: No such file or directory"):
            inputs.check_here()
