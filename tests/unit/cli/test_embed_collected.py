"""`vjaccel embed -o lance:DIR`: texts become rows of a collection, and the same command brings it up to date."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import letters
from vjaccel.engines import kept_vectors
from vjaccel.io import Inputs

INTO = ("-o", "lance:notes", "--model", "letters:16")


def write(rows: list[dict[str, Any]], name: str = "in.jsonl") -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [{"id": f"n{i}", "text": f"text {i}", "year": 2000 + i, "more": {"a": i}} for i in range(count)]


def embedded(run: Run, *arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run("embed", *arguments, *INTO, "--json").out)
    return report


def test_rows_are_stored_with_their_vectors_and_fields(run: Run) -> None:
    write(rows())
    done = run("embed", "in.jsonl", *INTO)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == (
        "lance:notes: 40 rows stored, 0 with the same text brought up to date, 0 were there"
    )
    with vj.Collection.open("notes") as found:
        assert (len(found), found.dim) == (40, 16)
        there = found.get(["n3"])
    np.testing.assert_array_equal(there.vectors, letters(16, ["text 3"]))
    assert there.metadata == ({"text": "text 3", "year": 2003, "more": '{"a": 3}'},)


def test_the_same_command_embeds_only_what_has_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(rows())
    embedded(run, "in.jsonl")
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    changed = rows(42)
    changed[1]["text"] = "another"
    changed[2]["year"] = 1900
    del changed[3]["more"]
    write(changed)
    report = embedded(run, "in.jsonl")
    assert (report["rows"], report["stored"], report["updated"], report["there"]) == (42, 3, 2, 37)
    assert sorted((tmp_path / "asked").read_text().splitlines()) == ["another", "text 40", "text 41"]
    with vj.Collection.open("notes") as found:
        there = found.get(["n1", "n2", "n3"])
    np.testing.assert_array_equal(there.vectors, letters(16, ["another", "text 2", "text 3"]))
    assert [about.get("year") for about in there.metadata] == [2001, 1900, 2003]
    assert "more" not in there.metadata[2]
    assert embedded(run, "in.jsonl")["there"] == 42


def test_rows_without_ids_are_known_by_their_texts(run: Run) -> None:
    Path("a.txt").write_text("one\ntwo\none\n")
    Path("b.txt").write_text("three\ntwo\n")
    first, second = embedded(run, "a.txt"), embedded(run, "b.txt")
    assert (first["stored"], first["there"]) == (2, 1)
    assert (second["stored"], second["there"]) == (1, 1)
    with vj.Collection.open("notes") as found:
        texts = sorted(about["text"] for batch in found.iter_batches() for about in batch.metadata)
    assert texts == ["one", "three", "two"]


def test_a_row_that_fails_is_named_and_the_same_command_tries_it_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([*rows(3), {"id": "n1", "text": "again"}, {"id": "bad", "text": "FAIL"}, {"id": "none", "text": None}])
    done = run("embed", "in.jsonl", *INTO)
    assert done.code == 3
    errors = [json.loads(line) for line in Path("notes.errors.jsonl").read_text().splitlines()]
    assert sorted((error["index"], error["id"], error["code"]) for error in errors) == [
        (3, "n1", "DUPLICATE_ID"),
        (4, "bad", "EMBEDDING_GENERATION_FAILED"),
        (5, "none", "INVALID_TEXT"),
    ]
    monkeypatch.setenv("LETTERS_FORGIVE", "1")
    report = embedded(run, "in.jsonl")
    assert (report["stored"], report["there"], report["failures"]) == (1, 3, {"DUPLICATE_ID": 1, "INVALID_TEXT": 1})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ID", "'ID' is taken"),
        ("vector", "'vector' is taken"),
        ("_x", "'_x' is taken"),
        ("a.b", "'a.b' has a dot"),
        ("Year", "'Year' is 'year' but for case"),
    ],
)
def test_a_column_that_no_collection_takes_is_refused_before_anything_is_embedded(
    run: Run, name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    write([*rows(3), {**rows(4)[3], name: 1}])
    done = run("embed", "in.jsonl", *INTO)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err
    assert not (tmp_path / "asked").exists()
    assert not Path("notes").exists()


def test_the_column_id_is_no_field_where_the_ids_are_in_another(run: Run) -> None:
    write([{"key": "a", "id": 1, "text": "x"}])
    done = run("embed", "in.jsonl", *INTO, "--id-field", "key")
    assert (done.code, "'id' is taken" in done.err) == (2, True)


def test_rows_that_cannot_be_stored_are_not_embedded(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    bad = [
        {"id": "kind", "text": "one", "year": "unknown"},
        {"id": "", "text": "two"},
        {"id": "big", "text": "three", "n": 1 << 70},
    ]
    write([*rows(2), *bad])
    for stored in (2, 0):
        report = embedded(run, "in.jsonl")
        assert (report["stored"], report["failures"]) == (stored, {"INVALID_METADATA": 2, "INVALID_VECTOR_ID": 1})
    errors = [json.loads(line) for line in Path("notes.errors.jsonl").read_text().splitlines()]
    assert [(error["index"], error["code"]) for error in errors] == [
        (2, "INVALID_METADATA"),
        (3, "INVALID_VECTOR_ID"),
        (4, "INVALID_METADATA"),
    ]
    assert sorted((tmp_path / "asked").read_text().splitlines()) == ["text 0", "text 1"]


def test_rows_without_ids_that_differ_in_another_field_are_all_there(run: Run) -> None:
    write(
        [{"text": "yes", "label": "a"}, {"text": "yes", "label": "b"}, {"label": "a", "text": "yes"}, {"text": "yes"}]
    )
    first, second = embedded(run, "in.jsonl"), embedded(run, "in.jsonl")
    assert (first["stored"], first["there"]) == (3, 1)
    assert (second["stored"], second["updated"], second["there"]) == (0, 0, 4)
    with vj.Collection.open("notes") as found:
        labels = [about.get("label", "") for batch in found.iter_batches() for about in batch.metadata]
    assert sorted(labels) == ["", "a", "b"]


def test_too_many_rows_that_cannot_be_stored_or_embedded_stop_the_run_and_are_named(run: Run) -> None:
    write([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}, {"id": "", "text": "z"}, {"id": "b", "text": "FAIL"}])
    done = run("embed", "in.jsonl", *INTO, "--max-errors", "1")
    assert done.code == 1
    assert "2 texts have failed, and max_errors is 1" in done.err
    assert "the first: 1 'a' (DUPLICATE_ID), 2 (INVALID_VECTOR_ID)" in done.err
    assert len(Path("notes.errors.jsonl").read_text().splitlines()) == 2
    write([{"id": "a", "text": "x"}, {"id": "b", "text": "FAIL"}, {"id": "c", "text": "FAIL 2"}])
    embedded(run, "in.jsonl")
    done = run("embed", "in.jsonl", *INTO, "--max-errors", "1")
    assert "the first: 1 'b' (EMBEDDING_GENERATION_FAILED), 2 'c' (EMBEDDING_GENERATION_FAILED)" in done.err


def test_a_number_that_is_none_is_the_same_the_next_time(run: Run) -> None:
    Path("in.jsonl").write_text('{"id": "a", "text": "x", "n": NaN}\n{"id": "b", "text": "y", "n": 1.5}\n')
    assert embedded(run, "in.jsonl")["stored"] == 2
    report = embedded(run, "in.jsonl")
    assert (report["updated"], report["there"]) == (0, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--precision", "int8"), "a collection has float32 vectors"),
        (("--restart",), "--restart is for files"),
        (("-o", "lance:"), "the output 'lance:' names no collection"),
        (("--model", "letters:8"), "dim=8 contradicts the collection at notes"),
        (("--model", "letters:8", "--dry-run"), "dim=8 contradicts the collection at notes"),
    ],
)
def test_what_cannot_be_asked_is_said(run: Run, options: tuple[str, ...], said: str) -> None:
    write(rows(2))
    embedded(run, "in.jsonl")
    done = run("embed", "in.jsonl", *INTO, *options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err


@pytest.mark.parametrize(
    ("early", "late", "stored"), [(1, 1.5, (1.0, 1.5)), ([1], [1.5, 2], ([1.0], [1.5, 2.0])), (1, 2, (1, 2))]
)
@pytest.mark.parametrize("ids", [True, False])
def test_whole_numbers_give_way_to_floats_that_come_later_in_the_input(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ids: bool, early: Any, late: Any, stored: Any
) -> None:
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    write(
        [
            {**({"id": f"n{i}"} if ids else {}), "text": f"text {i}", "price": early if i < 1500 else late}
            for i in range(3000)
        ]
    )
    report = embedded(run, "in.jsonl")
    assert (report["stored"], report["failed"]) == (3000, 0)
    report = embedded(run, "in.jsonl")
    assert (report["stored"], report["updated"], report["there"]) == (0, 0, 3000)
    assert len((tmp_path / "asked").read_text().splitlines()) == 3000
    with vj.Collection.open("notes") as found:
        prices = [about["price"] for batch in found.iter_batches() for about in batch.metadata]
    assert sorted(map(str, prices)) == sorted(str(price) for price in stored * 1500)


def test_floats_for_a_column_of_whole_numbers_are_refused_before_they_are_embedded(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(rows(3))
    embedded(run, "in.jsonl")
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    write([{"id": "a", "text": "one", "year": 1.5}, {"id": "b", "text": "two", "year": 2}], "more.jsonl")
    report = embedded(run, "more.jsonl")
    assert (report["stored"], report["failures"]) == (1, {"INVALID_METADATA": 1})
    assert (tmp_path / "asked").read_text() == "two\n"


def test_a_dry_run_counts_what_would_be_embedded_and_changes_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))

    def counted(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("embed", "in.jsonl", *INTO, "--dry-run", "--json", *arguments).out)
        return found

    names = ("rows", "settled", "duplicates", "no_text", "refused", "tokens_at_most")
    write([*rows(4), {"id": "same", "text": "text 1"}])
    first = counted("--price", "1000")
    assert [first[name] for name in names] == [5, 0, 1, 0, 0, 4 * (len("text 1") + 2)]
    assert first["cost"] > 0
    assert not Path("notes").exists()
    assert not (tmp_path / "asked").exists()
    embedded(run, "in.jsonl")
    changed = [*rows(5), {"id": "same", "text": "text 1"}, {"id": "n1", "text": "x"}, {"id": "none", "text": None}]
    changed[1]["year"] = 1900  # is brought up to date without being embedded
    write([*changed, {"id": "kind", "text": "y", "year": "unknown"}])
    with vj.Collection.open("notes") as found:
        before = found.version
    again = counted()
    assert [again[name] for name in names] == [9, 5, 0, 1, 2, len("text 4") + 2]
    assert again["failures"] == {"DUPLICATE_ID": 1, "INVALID_METADATA": 1}
    with vj.Collection.open("notes") as found:
        assert (found.version, found.get(["n1"]).metadata[0]["year"]) == (before, 2001)
    said = run("embed", "in.jsonl", *INTO, "--dry-run").out
    assert said.startswith("would embed 1 texts")
    assert "5 of 9 rows are settled" in said
    assert "2 rows cannot be stored (DUPLICATE_ID 1, INVALID_METADATA 1)" in said
    assert not Path("notes.errors.jsonl").exists()


@pytest.mark.parametrize("place", ["new/folder/notes", "notes"])
def test_bad_rows_are_named_beside_a_collection_whose_folder_is_not_there_yet(run: Run, place: str) -> None:
    write([{"id": "", "text": "one"}, {"id": "a", "text": "two"}])
    done = run("embed", "in.jsonl", "-o", f"lance:{place}", "--model", "untold:16")
    assert (done.code, done.err) == (3, "")
    (error,) = Path(f"{place}.errors.jsonl").read_text().splitlines()
    assert json.loads(error)["code"] == "INVALID_VECTOR_ID"
    with vj.Collection.open(place) as found:
        assert len(found) == 1


def test_a_folder_that_cannot_be_made_is_said_so(run: Run) -> None:
    Path("file").write_text("")
    write([{"id": "", "text": "one"}])
    done = run("embed", "in.jsonl", "-o", "lance:file/notes", "--model", "untold:16")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "vjaccel: cannot write" in done.err


def test_one_run_over_files_at_a_time_writes_a_collection_and_nothing_is_left_of_it(run: Run) -> None:
    write(rows())
    Path("notes.journal").mkdir()
    with Path("notes.journal/journal.jsonl").open("wb") as lines:
        fcntl.flock(lines, fcntl.LOCK_EX)
        done = run("embed", "in.jsonl", *INTO)
        assert (done.code, "another run is writing notes.journal" in done.err) == (1, True)
    assert embedded(run, "in.jsonl")["stored"] == 40
    assert sorted(path.name for path in Path().iterdir()) == ["in.jsonl", "notes"]


def test_a_folder_that_is_not_there_is_made_for_a_collection_and_its_errors(run: Run) -> None:
    write([*rows(2), {"id": "bad", "text": None}])
    done = run("embed", "in.jsonl", "--model", "letters:16", "-o", "lance:deep/er/notes")
    assert done.code == 3
    assert Path("deep/er/notes.errors.jsonl").exists()


def test_what_a_stopped_run_had_embedded_is_stored_and_serves_for_the_same_text_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write([*rows(3), {"id": "twice", "text": "text 1"}])

    def stopped() -> None:
        with (
            Inputs(["in.jsonl"]) as inputs,
            vj.Embedder("letters:16") as embedder,
            kept_vectors(inputs, embedder, Path("notes"), print) as kept,
        ):
            kept.keep([1, 2], letters(16, ["text 1", "text 2"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    monkeypatch.setenv("LETTERS_LOG", str(tmp_path / "asked"))
    report = embedded(run, "in.jsonl")
    assert (report["stored"], report["resumed"]) == (1, 3)
    assert (tmp_path / "asked").read_text().splitlines() == ["text 0"]
    assert not Path("notes.journal").exists()
    with vj.Collection.open("notes") as found:
        np.testing.assert_array_equal(found.get(["n2", "twice"]).vectors, letters(16, ["text 2", "text 1"]))
