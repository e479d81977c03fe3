"""`vjaccel embed` of inputs in an object store and of Lance datasets: what it does with files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.objects import object_store
from tests.unit.cli.conftest import Run

LETTERS = ("--model", "letters:8")
ROWS = [{"id": f"n{i}", "text": f"text {i}"} for i in range(200)]


def test_the_output_of_objects_and_datasets_is_that_of_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lance = pytest.importorskip("lance")
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    lance.write_dataset(pa.Table.from_pylist(ROWS), "in.lance")
    with object_store() as objects:
        for name, value in objects.environment.items():
            monkeypatch.setenv(name, value)
        objects["bucket/in.jsonl"] = Path("in.jsonl").read_bytes()
        for name, given in {"file": "in.jsonl", "object": "s3://bucket/in.jsonl", "dataset": "lance:in.lance"}.items():
            assert run("embed", given, "-o", f"{name}.parquet", *LETTERS).code == 0
        assert "is finished already" in run("embed", "s3://bucket/in.jsonl", "-o", "object.parquet", *LETTERS).out
        shown = run("embed", "s3://bucket/in.jsonl", "-o", "-", *LETTERS).out
        assert "AWS" not in Path("object.parquet.run.json").read_text()
    wanted = pq.read_table("file.parquet")
    assert pq.read_table("object.parquet").equals(wanted)
    assert pq.read_table("dataset.parquet").equals(wanted)
    assert len(shown.splitlines()) == len(ROWS)


def test_a_dataset_that_has_changed_is_another_input(run: Run) -> None:
    lance = pytest.importorskip("lance")
    lance.write_dataset(pa.Table.from_pylist(ROWS), "in.lance")
    assert run("embed", "in.lance", "-o", "out.parquet", *LETTERS).code == 0
    lance.dataset("in.lance").delete("id = 'n7'")
    done = run("embed", "in.lance", "-o", "out.parquet", *LETTERS)
    assert done.code == 1
    assert "out.parquet is another run's: what is in in.lance as lance has changed" in done.err


def test_files_are_not_written_to_a_store(run: Run) -> None:
    Path("in.txt").write_text("text\n")
    done = run("embed", "in.txt", "-o", "s3://bucket/out.parquet", *LETTERS)
    assert done.code == 2
    assert done.err.startswith("vjaccel: s3://bucket/out.parquet is in an object store, and files are written to disks")
