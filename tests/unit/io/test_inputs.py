"""Inputs: what is read twice is the same twice, and is held a batch at a time."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path

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
