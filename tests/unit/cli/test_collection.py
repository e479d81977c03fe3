"""`vjaccel collection`: filled from files, looked at, searched, written out."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from tests.unit.cli.conftest import Run

WIDTH = 8


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"n{i}", "year": 2000 + i, "tags": ["a", "b"][: i % 3]} for i in range(count)]


def written(name: str, count: int = 30) -> str:
    """A file of as many rows, in the format of its name."""
    if name.endswith(".npy"):
        np.save(name, vectors(count))
        Path(name).with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count)))
    elif name.endswith(".jsonl"):
        found = [row | {"embedding": v.tolist()} for row, v in zip(rows(count), vectors(count), strict=True)]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in found))
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors(count).reshape(-1)), WIDTH)
        pq.write_table(pa.Table.from_pylist(rows(count)).append_column("embedding", column), name)
    return name


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl", "in.npy"])
def test_a_file_of_vectors_becomes_a_collection_with_all_its_fields(run: Run, name: str) -> None:
    report = json.loads(run("collection", "import", "notes", written(name), "--json").out)
    assert (report["added"], report["rows"], report["failed"]) == (30, 30, 0)
    with vj.Collection.open("notes") as found:
        there = found.get(["n7", "n0"])
    np.testing.assert_array_equal(there.vectors, vectors(30)[[7, 0]])
    assert there.metadata[0] == {"year": 2007, "tags": ["a"]}


def test_rows_without_ids_are_numbered_over_all_files(run: Run) -> None:
    for name, value in (("a.jsonl", 1.0), ("b.jsonl", 2.0)):
        Path(name).write_text("".join(json.dumps({"embedding": [value, i]}) + "\n" for i in range(3)))
    for replace in ((), ("--replace",)):  # a second time nothing is new, or replaced
        report = json.loads(run("collection", "import", "notes", "a.jsonl", "b.jsonl", *replace, "--json").out)
        assert (report["rows"], report["replaced"], report["failed"]) == (6, 0, 0)
    with vj.Collection.open("notes") as found:
        np.testing.assert_array_equal(found.get(["0", "2", "3", "5"]).vectors, [[1, 0], [1, 2], [2, 0], [2, 2]])


@pytest.mark.parametrize("lines", [29, 31])
def test_a_pair_that_is_none_is_refused_before_a_row_of_any_file_is_put_in(run: Run, lines: int) -> None:
    written("half.npy")
    Path("half.jsonl").write_text("".join(json.dumps({"id": f"h{i}"}) + "\n\n" for i in range(lines)))
    done = run("collection", "import", "notes", written("in.parquet"), "half.npy")
    assert (done.code, done.err) == (
        1,
        f"vjaccel: half.npy has 30 rows, and half.jsonl {lines}: they are no pair\n",
    )
    assert not Path("notes").exists()


@pytest.mark.parametrize("first", ["text", "", ["a", "b"], 7, [float("inf"), 1.0, 2.0]])
def test_what_stands_for_a_vector_and_is_none_does_not_give_the_width(run: Run, first: Any) -> None:
    rows = [{"id": "bad", "embedding": first}, {"id": "good", "embedding": [1.0, 2.0]}]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = json.loads(run("collection", "import", "notes", "in.jsonl", "--json").out)
    assert (report["added"], report["failed"]) == (1, 1)
    with vj.Collection.open("notes") as found:
        assert found.dim == 2


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.npy"])
def test_what_is_written_out_comes_in_again_the_same(run: Run, name: str) -> None:
    run("collection", "import", "notes", written("in.parquet"))
    done = run("collection", "export", "notes", "-o", name)
    assert (done.code, done.out) == (0, f"wrote {name}: 30 rows, vectors of width 8\n")
    report = json.loads(run("collection", "import", "notes", name, "--json").out)
    assert (report["there"], report["added"], report["replaced"]) == (30, 0, 0)
    assert json.loads(run("collection", "import", "others", name, "--json").out)["added"] == 30


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.npy"])
def test_times_and_numbers_that_are_none_come_in_again_the_same(run: Run, name: str) -> None:
    at, zone = datetime(2024, 2, 29, 12, 30, 1, 5), timezone(timedelta(hours=2))
    about = [
        {"at": at, "zoned": at.replace(tzinfo=zone), "days": [at, at + timedelta(1)], "n": float("nan")},
        {"at": datetime(2024, 3, 1), "n": float("inf"), "name": "b"},
        {"n": 1.5},
    ]
    with vj.Collection.open("notes", WIDTH, create=True) as made:
        made.insert(["a", "b", "c"], vectors(3), about)
    run("collection", "export", "notes", "-o", name)
    report = json.loads(run("collection", "import", "notes", name, "--json").out)
    assert (report["there"], report["failures"]) == (3, {})
    with vj.Collection.open("notes") as found:
        found.delete(["a"])
        assert json.loads(run("collection", "import", "notes", name, "--json").out)["added"] == 1
        again = found.get(["a"]).metadata[0]
    assert (again["at"], again["zoned"], again["days"]) == (at, at.replace(tzinfo=zone), [at, at + timedelta(1)])


def test_only_the_rows_that_are_asked_for_are_written_out(run: Run) -> None:
    run("collection", "import", "notes", written("in.parquet"))
    assert run("collection", "export", "notes", "-o", "out.jsonl", "--where", "year > 2027").code == 0
    assert [json.loads(line)["id"] for line in Path("out.jsonl").read_text().splitlines()] == ["n28", "n29"]


def test_a_row_that_is_there_otherwise_is_an_error_or_replaced(run: Run) -> None:
    run("collection", "import", "notes", written("in.jsonl"))
    changed = [json.loads(line) for line in Path("in.jsonl").read_text().splitlines()]
    changed[3]["year"] = 1900
    changed[4]["embedding"][0] += 1
    changed[5]["embedding"] = None
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    done = run("collection", "import", "notes", "in.jsonl")
    assert done.code == 3
    assert "2 rows" not in done.err
    assert "3 rows were not taken (ALREADY_EXISTS 2, NIL_VECTOR 1): see notes.errors.jsonl" in done.out
    errors = [json.loads(line) for line in Path("notes.errors.jsonl").read_text().splitlines()]
    assert [(error["index"], error["id"]) for error in errors] == [(3, "n3"), (4, "n4"), (5, "n5")]
    report = json.loads(run("collection", "import", "notes", "in.jsonl", "--replace", "--json").out)
    assert (report["replaced"], report["there"], report["failures"]) == (2, 27, {"NIL_VECTOR": 1})
    with vj.Collection.open("notes") as found:
        assert found.get(["n3"]).metadata[0]["year"] == 1900


def test_what_a_collection_has_no_kind_for_is_kept_as_text(run: Run) -> None:
    row = {"id": 7, "embedding": [1.0, 2.0], "deep": {"a": [1, None]}, "none": None, "mixed": [1, {"b": 2}]}
    Path("in.jsonl").write_text(json.dumps(row) + "\n")
    assert run("collection", "import", "notes", "in.jsonl").code == 0
    with vj.Collection.open("notes") as found:
        assert found.get(["7"]).metadata == ({"deep": '{"a": [1, null]}', "mixed": '[1, {"b": 2}]'},)


def test_it_is_made_looked_at_searched_and_compacted(run: Run) -> None:
    assert run("collection", "create", "notes", "--dim", "8", "--metric", "dot").code == 0
    run("collection", "import", "notes", written("in.parquet"))
    report = json.loads(run("collection", "info", "notes", "--json").out)
    assert (report["rows"], report["dim"], report["metric"]) == (30, 8, "dot")
    assert report["columns"] == {"year": "int", "tags": "list of text"}
    said = run("collection", "info", "notes").out
    assert "tags: list of text" in said
    done = run("collection", "search", "notes", "--like", "n3", "-k", "4", "--where", "year > 2010", "--json")
    found = [json.loads(line) for line in done.out.splitlines()]
    scores = vectors(30) @ vectors(30)[3]
    assert [row["id"] for row in found] == [f"n{i}" for i in np.argsort(-scores) if i > 10][:4]
    assert "year: 20" in run("collection", "search", "notes", "--like", "n3").out
    assert run("collection", "compact", "notes").out == "notes: 30 rows\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("info", "nowhere"), 2, "there is no collection at nowhere"),
        (("search", "notes", "--like", "n1", "--device", "cpu"), 2, "--device is of the model that embeds a query"),
        (("search", "notes", "--like", "nobody"), 2, "there is no row with the id 'nobody' in notes"),
        (("search", "notes", "--like", "n1", "--where", "yaer > 1"), 2, "the columns are id, year, tags"),
        (("import", "notes", "in.txt"), 1, "in.txt is none of .parquet, .jsonl, .npy"),
        (("import", "notes", "missing.npy"), 1, "missing.npy: No such file or directory"),
        (("import", "notes", "plain.jsonl"), 1, "plain.jsonl has no field 'embedding'; it has 'text'"),
        (("import", "notes", "half.npy"), 1, "half.npy has 30 rows, and half.jsonl 1: they are no pair"),
        (("import", "notes", "in.parquet", "--metric", "dot"), 2, "metric='dot' contradicts the collection"),
        (("export", "notes", "-o", "in.parquet"), 2, "in.parquet is there: --overwrite would replace it"),
        (("export", "notes", "-o", "out.csv"), 2, "out.csv is none of .parquet, .jsonl, .npy"),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    run("collection", "import", "notes", written("in.parquet"))
    Path("in.txt").write_text("a\n")
    Path("plain.jsonl").write_text('{"text": "a"}\n')
    written("half.npy")
    Path("half.jsonl").write_text('{"id": "a"}\n')
    done = run("collection", *arguments)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert done.err.startswith("vjaccel: ")
    assert said in done.err


def test_what_a_model_embedded_is_searched_by_a_text(run: Run) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", "out.parquet", "--model", "letters:26")
    run("embed", "in.txt", "-o", "lance:live", "--model", "letters:26")
    run("collection", "import", "filed", "out.parquet")
    run("collection", "export", "live", "-o", "back.parquet")
    for place in ("live", "filed"):
        assert json.loads(run("collection", "info", place, "--json").out)["model"] == "letters:26"
        found = json.loads(run("collection", "search", place, "cb", "-k", "1", "--json").out)
        assert found["metadata"]["text"] == "abc"
    assert json.loads(run("search", "back.parquet", "cb", "-k", "1", "--json").out)["text"] == "abc"


def test_vectors_of_several_models_are_not_put_together(run: Run) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    for name, model in (("a.parquet", "letters:26"), ("b.parquet", "untold:26")):
        run("embed", "in.txt", "-o", name, "--model", model)
    done = run("collection", "import", "notes", "a.parquet", "b.parquet")
    assert (done.code, done.err) == (2, "vjaccel: the files are of several models, and a collection has one\n")
    run("collection", "import", "notes", "a.parquet")
    for command in (("collection", "import", "notes", "b.parquet"), ("embed", "in.txt", "-o", "lance:notes")):
        model = ("--model", "untold:26") if command[0] == "embed" else ()
        done = run(*command, *model)
        assert done.code == 2
        assert "the vectors of the collection at notes are of another model: provider 'letters' and not" in done.err


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.npy"])
@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_codes_are_not_taken_for_vectors(run: Run, name: str, precision: str) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", name, "--model", "letters:32", "--precision", precision)
    done = run("collection", "import", "notes", name)
    assert done.code == 2
    assert f"{name} has {precision} codes, and a collection has float32 vectors: embed without --precision" in done.err
    assert not Path("notes").exists()


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out.npy"])
def test_every_output_of_a_run_says_which_model_made_it(run: Run, name: str) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", name, "--model", "letters:26")
    run("collection", "import", "notes", name)
    assert json.loads(run("collection", "info", "notes", "--json").out)["model"] == "letters:26"


def test_a_file_that_names_no_model_joins_one_that_is_known_only_where_that_is_said(run: Run) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", "named.parquet", "--model", "letters:8")
    written("bare.npy")
    done = run("collection", "import", "notes", "named.parquet", "bare.npy")
    assert (done.code, done.err) == (
        2,
        "vjaccel: bare.npy does not say which model its vectors are of, and other files do: --same-model says that it is the "
        "same\n",
    )
    run("collection", "import", "notes", "named.parquet")
    done = run("collection", "import", "notes", "bare.npy")
    assert done.code == 2
    assert "bare.npy does not say which model its vectors are of, and the collection at notes does: --same" in done.err
    done = run("collection", "import", "notes", "bare.npy", "--same-model", "--json")
    assert json.loads(done.out)["added"] == 30
    both = run("collection", "import", "others", "bare.npy", "named.parquet", "--same-model", "--json")
    assert json.loads(both.out)["added"] == 33
    assert json.loads(run("collection", "info", "others", "--json").out)["model"] == "letters:8"


def test_what_is_written_over_a_runs_output_is_not_taken_for_that(run: Run) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", "out.npy", "--model", "letters:26")
    run("collection", "import", "notes", written("in.parquet"))
    assert run("collection", "export", "notes", "-o", "out.npy", "--overwrite").code == 0
    run("collection", "import", "others", "out.npy")
    assert json.loads(run("collection", "info", "others", "--json").out)["model"] is None


def test_a_collection_whose_texts_are_under_another_key_is_written_out_and_searched(run: Run) -> None:
    Path("in.jsonl").write_text('{"id": "a", "gloss": "abc"}\n{"id": "z", "gloss": "zzz"}\n')
    run("embed", "in.jsonl", "--text-field", "gloss", "-o", "lance:notes", "--model", "letters:26")
    assert run("collection", "export", "notes", "-o", "out.parquet").code == 0
    found = json.loads(run("search", "out.parquet", "zz", "-k", "1", "--json").out)
    assert (found["id"], found["text"]) == ("z", "")


def test_a_collection_without_a_model_is_searched_by_its_own_rows_alone(run: Run) -> None:
    run("collection", "import", "notes", written("in.parquet"))
    assert "search with --like" in run("collection", "search", "notes", "words").err
    assert "say what to look for" in run("collection", "search", "notes").err
    assert "say what to look for" in run("collection", "search", "notes", "words", "--like", "n1").err


def test_a_runs_npy_takes_its_ids_from_what_it_was_embedded_from_and_from_nothing_else(run: Run) -> None:
    Path("out.jsonl").write_text('{"id": "a", "text": "abc"}\n{"id": "z", "text": "zzz"}\n')
    run("embed", "out.jsonl", "-o", "out.npy", "--model", "letters:26")
    assert run("collection", "import", "notes", "out.npy").code == 0
    with vj.Collection.open("notes") as found:
        assert found.get(["z"]).metadata == ({"text": "zzz"},)
    Path("out.jsonl").write_text('{"id": "x", "text": "other"}\n{"id": "y", "text": "rows"}\n')
    done = run("collection", "import", "others", "out.npy")
    assert (done.code, done.err) == (
        2,
        "vjaccel: out.jsonl is not what out.npy was embedded from, as out.npy.run.json says, so that it has not the ids of "
        "these vectors: move one of them away\n",
    )
    assert not Path("others").exists()
    Path("out.jsonl").unlink()
    assert run("collection", "import", "others", "out.npy").code == 0
    with vj.Collection.open("others") as found:
        assert found.get(["0", "1"]).metadata == ({}, {})


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_what_an_empty_collection_was_written_to_makes_an_empty_one(run: Run, name: str) -> None:
    run("collection", "create", "empty", "--dim", "3")
    assert run("collection", "export", "empty", "-o", name).code == 0
    done = run("collection", "import", "notes", name)
    assert (done.code, done.out) == (0, "notes: 0 rows added, 0 replaced, 0 were there; it has 0\n")
    assert json.loads(run("collection", "info", "notes", "--json").out)["dim"] == 3
    assert run("collection", "import", "notes", name).code == 0


def test_a_file_without_a_vector_makes_no_collection_and_says_why(run: Run) -> None:
    run("collection", "create", "empty", "--dim", "3")
    run("collection", "export", "empty", "-o", "out.jsonl")
    done = run("collection", "import", "notes", "out.jsonl")
    assert (done.code, done.err) == (
        2,
        "vjaccel: no row has a vector, which would say how wide those of a new collection at notes are: make it with "
        "`vjaccel collection create`\n",
    )
    assert run("collection", "import", "empty", "out.jsonl").code == 0


@pytest.mark.parametrize("command", [("search", "nowhere", "--like", "a"), ("info", "nowhere"), ("compact", "nowhere")])
def test_a_command_says_what_makes_a_collection_that_is_not_there(run: Run, command: tuple[str, ...]) -> None:
    done = run("collection", *command)
    assert (done.code, done.err) == (
        2,
        "vjaccel: there is no collection at nowhere; `vjaccel collection create` makes one\n",
    )
