"""`vjaccel search`: a file is searched by the model that made it, on the backend that the user names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import letters

TEXTS = ["aaa", "aab", "abc", "FAIL", "zzz", ""]


@pytest.fixture
def embedded(run: Run) -> str:
    Path("in.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    assert run("embed", "in.txt", "-o", "out.parquet", "--model", "letters:26").code == 3
    return "out.parquet"


def found(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("backend", [[], ["--backend", "numpy"], ["--backend", "torch:cpu"], ["--backend", "jax:cpu"]])
def test_json_lines_have_id_score_text_and_index_best_first(run: Run, embedded: str, backend: list[str]) -> None:
    done = run("search", embedded, "aa", "-k", "3", "--json", *backend)
    assert (done.code, done.err) == (0, "")
    rows = found(done.out)
    assert [list(row) for row in rows] == [["id", "score", "text", "index"]] * 3
    assert [(row["id"], row["text"], row["index"]) for row in rows] == [
        ("0", "aaa", 0),
        ("1", "aab", 1),
        ("2", "abc", 2),
    ]
    expected = letters(26, ["aaa", "aab", "abc"]) @ letters(26, ["aa"])[0]
    np.testing.assert_allclose([row["score"] for row in rows], expected, atol=1e-6)


def test_a_row_without_a_vector_is_never_found(run: Run, embedded: str) -> None:
    rows = found(run("search", embedded, "FIAL", "-k", "10", "--json").out)
    assert sorted(row["index"] for row in rows) == [0, 1, 2, 4, 5]


def test_the_table_shows_the_text_as_it_is(run: Run) -> None:
    Path("in.txt").write_text("[bold]markup[/bold] is :notes: text\n")
    run("embed", "in.txt", "-o", "out.parquet", "--model", "letters:26")
    assert "[bold]markup[/bold] is :notes: text" in run("search", "out.parquet", "markup").out


def test_rows_of_many_row_groups_are_found_in_their_order(run: Run) -> None:
    Path("in.jsonl").write_text(
        "".join(json.dumps({"id": i, "text": chr(97 + i % 26) * 3}) + "\n" for i in range(9000))
    )
    run("embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:26")
    rows = found(run("search", "out.parquet", "c", "-k", "400", "--json").out)
    assert [row["index"] for row in rows[:347]] == list(range(2, 9000, 26))
    assert all(row["id"] == str(row["index"]) and row["text"] == chr(97 + row["index"] % 26) * 3 for row in rows)


def test_another_model_is_refused(run: Run, embedded: str) -> None:
    done = run("search", embedded, "a", "--model", "letters:25")
    assert done.code == 1
    assert "letters:25 is another model" in done.err


def test_a_file_that_embed_did_not_write_is_refused(run: Run) -> None:
    pq.write_table(pa.table({"text": ["a"]}), "plain.parquet")
    done = run("search", "plain.parquet", "a")
    assert done.code == 1
    assert "does not say how its vectors were made" in done.err


@pytest.mark.parametrize(
    ("backend", "code", "said"),
    [("nunpy", 2, "did you mean 'numpy'?"), ("torch:gpu:7", 1, "has no device 'gpu:7' here"), ("cupy", 1, "cupy")],
)
def test_a_backend_that_cannot_be_used_is_an_error_not_another_one(
    run: Run, embedded: str, backend: str, code: int, said: str
) -> None:
    done = run("search", embedded, "a", "--backend", backend)
    assert done.code == code
    assert said in done.err
    assert done.out == ""


def test_an_empty_file_finds_nothing(run: Run) -> None:
    Path("in.txt").write_text("")
    run("embed", "in.txt", "-o", "out.parquet", "--model", "letters:26")
    done = run("search", "out.parquet", "a", "--json")
    assert (done.code, done.out) == (0, "")
