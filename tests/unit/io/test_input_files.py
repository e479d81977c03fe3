"""Inputs in an object store, and Lance datasets: their rows are those of the same file on a disk."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from tests.objects import Objects, object_store
from vjaccel.io import Inputs
from vjaccel.io.input_files import StoredObject

ROWS = 3000


@pytest.fixture(scope="module")
def store() -> Iterator[Objects]:
    with pytest.MonkeyPatch.context() as patch, object_store() as objects:
        for name, value in objects.environment.items():
            patch.setenv(name, value)
        yield objects


def table() -> pa.Table:
    return pa.table({"id": [f"n{i}" for i in range(ROWS)], "text": [f"text {i}" for i in range(ROWS)]})


def contents(name: str) -> bytes:
    rows = table().to_pylist()
    if name.startswith("in.parquet"):
        pq.write_table(table(), out := io.BytesIO(), row_group_size=500)
        return out.getvalue()
    if name.startswith("in.csv"):
        lines = "id,text\n" + "".join(f'{row["id"]},"{row["text"]}"\n' for row in rows)
    elif name.startswith("in.jsonl"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        lines = "".join(f"{row['text']}\n" for row in rows)
    return gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode()


def rows_of(inputs: Inputs, *place: int) -> list[tuple[str, str]]:
    return [pair for rows in inputs.batches(256, *place) for pair in zip(rows.ids, rows.texts, strict=True)]


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl", "in.csv", "in.txt", "in.jsonl.gz"])
def test_rows_of_an_object_are_those_of_the_file(store: Objects, tmp_path: Path, name: str) -> None:
    store[f"bucket/a folder/{name}"] = contents(name)
    (tmp_path / name).write_bytes(contents(name))
    with Inputs([str(tmp_path / name)]) as here, Inputs([f"s3://bucket/a%20folder/{name}"]) as there:
        assert there.schema == here.schema
        assert there.rows == ROWS
        assert rows_of(there) == rows_of(here)
        assert list(there.digests().values()) == list(here.digests().values())
        again = pickle.loads(pickle.dumps(there))
        again.check_here()
        assert rows_of(again, 1700, 1800) == rows_of(here, 1700, 1800)


def test_of_a_large_parquet_object_no_more_is_fetched_than_is_needed(store: Objects) -> None:
    texts = pa.table({"text": [f"{i:01000}" for i in range(20_000)]})
    pq.write_table(texts, out := io.BytesIO(), row_group_size=1000, compression="none", use_dictionary=False)
    store["bucket/large.parquet"] = out.getvalue()
    with Inputs(["s3://bucket/large.parquet"]) as inputs:
        store.ranges.clear()
        assert [text for _, text in rows_of(inputs, 15_100, 15_102)] == [f"{i:01000}" for i in (15_100, 15_101)]
    bounds = [wanted.removeprefix("bytes=").split("-") for wanted in store.ranges]
    assert sum(int(last) - int(first) + 1 for first, last in bounds) < len(out.getvalue()) // 4


def test_what_is_read_of_a_packed_object_is_closed_with_it(store: Objects) -> None:
    store["bucket/in.txt.gz"] = contents("in.txt.gz")
    with StoredObject("s3://bucket/in.txt.gz").unpacked() as opened:
        packed = opened.fileobj  # type: ignore[attr-defined]  # as gzip has it
        assert opened.readline() == b"text 0\n"
        assert not packed.closed
    assert packed.closed


def test_an_object_that_another_has_replaced_is_an_error(store: Objects) -> None:
    store["bucket/changing.txt"] = b"first\n"
    with Inputs(["s3://bucket/changing.txt"]) as inputs:
        copy = pickle.loads(pickle.dumps(inputs))
        store["bucket/changing.txt"] = b"other\n"
        with pytest.raises(vj.FileFormatError, match=r"^s3://bucket/changing\.txt has changed while it was read"):
            rows_of(inputs)
        with pytest.raises(vj.FileFormatError, match=r"^s3://bucket/changing\.txt is another object than it was$"):
            copy.check_here()
        del store["bucket/changing.txt"]
        with pytest.raises(vj.FileFormatError, match=r"^s3://bucket/changing\.txt cannot be read: No such file"):
            copy.check_here()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("s3://bucket/nothing.txt", "No such file or directory: 's3://bucket/nothing.txt'"),
        ("s3://key:secret@bucket/in.txt", "^the address of in.txt has a secret, which would be written beside the output"),
        ("nowhere://bucket/in.txt", "^nowhere://bucket/in.txt is no address that pyarrow can read: Unrecognized"),
        ("s3://bucket/what.bin", "^s3://bucket/what.bin is none of .txt, .jsonl"),
        ("lance:/nowhere", "^there is no Lance dataset at /nowhere: "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_address_is_said(store: Objects, name: str, said: str) -> None:
    store["bucket/what.bin"] = b"what"
    with pytest.raises((vj.VjaccelError, OSError), match=said) as caught:
        Inputs([name])
    assert "key:secret" not in str(caught.value)


def test_a_file_address_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a file.txt").write_text("text\n")
    with Inputs([(tmp_path / "a file.txt").as_uri()]) as inputs:
        assert rows_of(inputs) == [("0", "text")]


def test_rows_of_a_lance_dataset_are_those_of_its_version(tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    where = str(tmp_path / "in.lance")
    for start in range(0, ROWS, 1000):
        lance.write_dataset(table().slice(start, 1000), where, mode="append" if start else "create")
    lance.dataset(where).delete("id = 'n7'")
    wanted = [(row["id"], row["text"]) for row in table().to_pylist() if row["id"] != "n7"]
    with Inputs([where]) as inputs, Inputs([f"lance:{where}"]) as same:
        before = inputs.digests()
        assert list(same.digests().values()) == list(before.values())
        assert inputs.schema == table().schema
        lance.dataset(where).delete("id = 'n8'")
        again = pickle.loads(pickle.dumps(inputs))
        again.check_here()
        assert rows_of(again) == wanted
        assert rows_of(again, 1500, 1700) == wanted[1500:1700]
    with Inputs([where]) as changed:
        assert changed.rows == ROWS - 2
        assert changed.digests() != before
