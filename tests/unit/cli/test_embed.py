"""`vjaccel embed`: rows and columns kept, vectors beside them, and what is said about it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import letters

LETTERS = ("--model", "letters:16")


def written(name: str, *rows: dict[str, Any] | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return name


def vectors(name: str) -> list[list[float] | None]:
    return pq.read_table(name)["embedding"].to_pylist()


def test_every_column_stands_beside_the_vector_in_the_order_of_the_input(run: Run) -> None:
    rows = [{"id": f"n{i}", "text": f"text number {i}", "year": 1990 + i, "tags": ["a", str(i)]} for i in range(10_000)]
    done = run("embed", written("in.jsonl", *rows), "-o", "out.parquet", *LETTERS)
    assert (done.code, done.err) == (0, "")
    table = pq.read_table("out.parquet")
    assert table.column_names == ["id", "text", "year", "tags", "embedding"]
    assert table.drop_columns("embedding").to_pylist() == rows
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    expected = letters(16, [row["text"] for row in rows])
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected)


def test_parquet_keeps_types_nulls_and_row_groups_stream(run: Run) -> None:
    table = pa.table(
        {
            "text": pa.array([f"t{i}" for i in range(9000)], pa.large_string()),
            "when": pa.array(range(9000), pa.timestamp("ms")),
            "n": pa.array([None if i % 3 else i for i in range(9000)], pa.int16()),
        }
    )
    pq.write_table(table, "in.parquet", row_group_size=1000)
    assert run("embed", "in.parquet", "-o", "out.parquet", *LETTERS).code == 0
    file = pq.ParquetFile("out.parquet")
    assert file.num_row_groups > 1
    found = file.read()
    assert found.select(table.column_names).equals(table)
    assert found["id"].to_pylist() == [str(i) for i in range(9000)]


def test_a_text_that_is_none_costs_its_own_row_and_exit_code_3(run: Run) -> None:
    rows = [{"id": "a", "text": "fine"}, {"id": "b", "text": 7}, {"id": "c", "text": "FAIL"}, {"id": "d"}, {"text": ""}]
    done = run("embed", written("in.jsonl", *rows), "-o", "out.parquet", *LETTERS)
    assert done.code == 3
    assert [vector is None for vector in vectors("out.parquet")] == [False, True, True, True, False]
    errors = [json.loads(line) for line in Path("out.parquet.errors.jsonl").read_text().splitlines()]
    assert [(e["index"], e["id"], e["code"]) for e in errors] == [
        (1, "b", "INVALID_TEXT"),
        (2, "c", "EMBEDDING_GENERATION_FAILED"),
        (3, "d", "INVALID_TEXT"),
    ]
    assert "this text is refused" in errors[1]["message"]
    assert "3 texts failed (INVALID_TEXT 2, EMBEDDING_GENERATION_FAILED 1): see out.parquet.errors.jsonl" in done.out
    assert pq.read_table("out.parquet")["text"].to_pylist() == ["fine", "7", "FAIL", None, ""]


def test_a_run_without_failures_takes_the_errors_of_an_earlier_one_away(run: Run) -> None:
    assert run("embed", written("in.txt", "FAIL"), "-o", "out.npy", *LETTERS).code == 3
    assert Path("out.npy.errors.jsonl").exists()
    assert run("embed", written("in.txt", "fine"), "-o", "out.npy", *LETTERS, "--restart").code == 0
    assert not Path("out.npy.errors.jsonl").exists()


def test_jsonl_has_the_rows_with_vectors_that_read_back_the_same(run: Run) -> None:
    rows = [{"id": "1", "text": "größer"}, {"id": "2", "text": "FAIL"}]
    assert run("embed", written("in.jsonl", *rows), "-o", "out.jsonl", *LETTERS).code == 3
    found = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [{k: v for k, v in row.items() if k != "embedding"} for row in found] == rows
    assert found[1]["embedding"] is None
    np.testing.assert_array_equal(np.array(found[0]["embedding"], np.float32), letters(16, ["größer"])[0])


def test_npy_has_a_row_for_each_text_and_nan_where_it_failed(run: Run) -> None:
    assert run("embed", written("in.txt", "one", "FAIL", "two"), "-o", "out.npy", *LETTERS).code == 3
    found = np.load("out.npy")
    assert (found.shape, found.dtype) == ((3, 16), np.float32)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], letters(16, ["one", "two"]))


def test_csv_values_stay_text_and_may_span_lines(run: Run) -> None:
    records = [["id", "note", "n"], ["007", 'two\nlines, "quoted"', "1"], ["008", "x" * 300_000, ""]]
    with open("in.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(records)
    assert run("embed", "in.csv", "-o", "out.parquet", "--text-field", "note", *LETTERS).code == 0
    found = pq.read_table("out.parquet").drop_columns("embedding")
    assert [list(row.values()) for row in found.to_pylist()] == records[1:]


def test_several_files_are_one_after_another_with_all_their_columns(run: Run) -> None:
    Path("b.txt.gz").write_bytes(gzip.compress(b"second\nthird\n"))
    first = written("a.jsonl", {"text": "first", "extra": 1.5})
    assert run("embed", first, "b.txt.gz", "-o", "out.parquet", *LETTERS).code == 0
    rows = pq.read_table("out.parquet", columns=["id", "text", "extra"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("0", "first", 1.5), ("1", "second", None), ("2", "third", None)]


@pytest.mark.parametrize(("given", "kind"), [(b'  {"text": "a"}\n', "jsonl"), (b"a\n", "txt")])
def test_standard_input_is_read_as_what_it_begins_with(
    run: Run, monkeypatch: pytest.MonkeyPatch, given: bytes, kind: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert run("embed", "-", "-o", "out.parquet", *LETTERS).code == 0
    assert pq.read_table("out.parquet")["text"].to_pylist() == ["a"], kind


def test_the_format_can_be_said(run: Run) -> None:
    assert (
        run("embed", written("notes", '{"text": "a"}'), "-o", "o.parquet", "--input-format", "txt", *LETTERS).code == 0
    )
    assert pq.read_table("o.parquet")["text"].to_pylist() == ['{"text": "a"}']


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "empty.csv"])
@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.npy"])
def test_an_empty_file_gives_an_empty_valid_output(run: Run, name: str, output: str) -> None:
    done = run("embed", written(name), "-o", output, *LETTERS)
    assert (done.code, done.err) == (0, "")
    if output.endswith("parquet"):
        assert pq.read_schema(output).field("embedding").type == pa.list_(pa.float32(), 16)
        assert pq.read_table(output).num_rows == 0
    elif output.endswith("npy"):
        assert np.load(output).shape == (0, 16)
    else:
        assert Path(output).read_bytes() == b""


def test_json_says_what_was_measured_and_nothing_else(run: Run) -> None:
    done = run("embed", written("in.txt", "a b", "FAIL"), "-o", "out.parquet", "--json", *LETTERS)
    assert done.code == 3
    report = json.loads(done.out)
    assert (report["rows"], report["failed"], report["bad_lines"]) == (2, 1, 0)
    assert report["errors"] == "out.parquet.errors.jsonl"
    assert report["identity"] == {
        "provider": "letters", "model": "16", "digest": None, "dimensions": 16, "prompt": "", "normalized": True,
        "revision": None, "dtype": None, "truncate": "end", "precision": "float32", "endpoint": None, "engine": None,
    }  # fmt: skip
    assert report["statistics"]["embedded"] == 1
    assert report["statistics"]["tokens"] is None
    assert report["statistics"]["texts_per_second"] > 0


def test_a_dry_run_counts_and_writes_nothing(run: Run) -> None:
    rows = [{"text": "one two"}, {"text": None, "more": 1}]
    done = run("embed", written("in.jsonl", *rows), "-o", "out.parquet", "--dry-run", *LETTERS)
    assert done.code == 0
    assert "would embed 1 texts" in done.out
    assert "1 rows have no text" in done.out
    assert "columns: id, text, more, embedding" in done.out
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl"]


def test_a_dry_run_says_what_comes_twice_what_the_cache_has_and_what_it_would_cost(run: Run) -> None:
    texts = ["one", "two", "one", "three"]
    assert run("embed", written("some.txt", *texts[:2]), "-o", "some.npy", "--cache", "kept", *LETTERS).code == 0
    options = ("-o", "out.npy", "--cache", "kept", "--price", "1000", "--dry-run", *LETTERS)
    done = run("embed", written("in.txt", *texts), *options)
    assert done.out.splitlines()[:3] == [
        "would embed 1 texts in 1 batches: at most 7 tokens (the bytes in UTF-8; nobody can count them here)",
        "cost: at most 0.0070",
        "1 rows have the text of an earlier one; the cache has 2 texts",
    ]
    report = json.loads(run("embed", "in.txt", *options, "--json").out)
    assert (report["cached"], report["duplicates"], report["tokens"], report["tokens_at_most"]) == (2, 1, None, 7)
    assert not Path("out.npy").exists()


def test_a_dry_run_counts_with_the_models_tokenizer(run: Run) -> None:
    done = run("embed", written("in.txt", "melt butter", "a floor plan"), "-o", "out.npy", "--dry-run", "--price", "2")
    assert done.out.splitlines()[:2] == [
        "would embed 2 texts in 1 batches: 9 tokens, the longest text 5",
        "cost: 0.0000",
    ]


def test_a_dry_run_tells_a_text_that_is_too_long_from_one_that_is_none(run: Run) -> None:
    texts = ("melt butter", "melt butter " * 300)
    done = run("embed", written("in.txt", *texts), "-o", "out.npy", "--dry-run", "--truncate", "error")
    assert "would embed 1 texts" in done.out
    assert "1 texts are longer than the model takes, and would fail" in done.out
    assert "no text" not in done.out


@pytest.mark.filterwarnings("default::vjaccel.embedding.cache.protocol.CacheWarning")
def test_a_warning_is_a_sentence(run: Run) -> None:
    done = run("embed", written("in.txt", "a"), "-o", "out.npy", "--cache", "/dev/null/cache", *LETTERS)
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("vjaccel: the cache in /dev/null/cache cannot be used, and the run goes on without: ")


def test_a_second_run_with_a_cache_embeds_nothing_and_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run("embed", written("in.txt", "one", "two"), "-o", "a.npy", "--cache", "kept", *LETTERS).code == 0
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    done = run("embed", "in.txt", "-o", "b.npy", "--cache", "kept", *LETTERS)
    assert (done.code, "the cache had 2 texts" in done.out) == (0, True)
    assert not (tmp_path / "asked").exists()
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))


def test_the_prompt_stands_before_every_text_and_in_the_file(run: Run) -> None:
    assert run("embed", written("in.txt", "b"), "-o", "out.parquet", "--prompt", "aa ", *LETTERS).code == 0
    np.testing.assert_array_equal(np.array(vectors("out.parquet"), np.float32), letters(16, ["aa b"]))
    said = json.loads(pq.read_schema("out.parquet").metadata[b"vjaccel"])
    assert said["identity"]["prompt"] == "aa "
    assert (said["text_field"], said["id_field"]) == ("text", "id")


def test_a_column_of_several_kinds_becomes_text_and_loses_nothing(run: Run) -> None:
    values: list[Any] = [1, "one", [1, 2], {"a": None}, None, 2**70, 2.5, {}]
    rows = [{"text": "t", "any": value} for value in values]
    assert run("embed", written("in.jsonl", *rows), "-o", "out.parquet", *LETTERS).code == 0
    found = pq.read_table("out.parquet")["any"].to_pylist()
    assert [x if x is None or x == "one" else json.loads(x) for x in found] == values


def test_jsonl_has_each_row_as_its_input_has_it(run: Run) -> None:
    rows: list[Any] = [
        {"id": 7, "text": "a", "n": 1},
        {"id": "x", "text": "b", "n": {"deep": [1, "two", None]}},
        {"id": 2.5, "text": 3, "other": None},
        {},
    ]
    pq.write_table(pa.table({"id": ["p"], "text": ["c"], "when": [None]}), "in.parquet")
    assert run("embed", written("in.jsonl", *rows), "in.parquet", "-o", "out.jsonl", *LETTERS).code == 3
    found = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [{name: value for name, value in row.items() if name != "embedding"} for row in found[:4]] == rows
    assert (found[4]["id"], found[4]["text"]) == ("p", "c")
    assert [row["embedding"] is None for row in found] == [False, False, True, True, False]


@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.jsonl"])
def test_a_width_that_only_the_first_vector_tells_may_come_after_many_failures(run: Run, output: str) -> None:
    texts = ["FAIL"] * 5000 + ["good"] * 5000
    done = run("embed", written("in.txt", *texts), "-o", output, "--model", "untold:16", "--json")
    assert (done.code, json.loads(done.out)["failed"]) == (3, 5000)
    assert json.loads(done.out)["identity"]["dimensions"] == 16
    if output.endswith("npy"):
        found = np.load(output)
        assert found.shape == (10_000, 16)
        assert np.isnan(found[:5000]).all()
        assert not np.isnan(found[5000:]).any()
    if output.endswith("parquet"):
        assert [vector is None for vector in vectors(output)] == [True] * 5000 + [False] * 5000
        assert json.loads(run("search", output, "good", "-k", "1", "--json").out)["index"] == 5000


def test_a_width_that_nothing_tells_is_said_with_the_first_failure(run: Run) -> None:
    done = run("embed", written("in.txt", "FAIL"), "-o", "out.parquet", "--model", "untold:16")
    assert done.code == 1
    assert "no text could be embedded" in done.err
    assert "this text is refused" in done.err
    assert not Path("out.parquet").exists()


def test_a_nan_in_a_column_is_null_in_jsonl(run: Run) -> None:
    pq.write_table(pa.table({"text": ["a"], "x": [float("nan")], "y": [[1.0, float("inf")]]}), "in.parquet")
    assert run("embed", "in.parquet", "-o", "out.jsonl", *LETTERS).code == 0
    row = json.loads(Path("out.jsonl").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (row["x"], row["y"]) == (None, [1.0, None])
