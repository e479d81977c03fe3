"""`vjaccel collection` on a collection over several datasets: every command as on one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_collection import WIDTH, vectors, written

pytest.importorskip("lance", reason="the extra store is not installed")


def made(run: Run) -> None:
    run("collection", "create", "notes", "--dim", str(WIDTH), "--metric", "dot", "--shards", "3")
    run("collection", "import", "notes", written("in.parquet"))


def test_it_is_made_filled_looked_at_and_searched_as_one(run: Run) -> None:
    said = run("collection", "create", "notes", "--dim", str(WIDTH), "--shards", "3").out
    assert said.strip() == "notes: 0 rows of width 8, cosine, over 3 shards"
    report = json.loads(run("collection", "import", "notes", written("in.parquet"), "--json").out)
    assert (report["added"], report["rows"], report["failed"]) == (30, 30, 0)
    assert json.loads(run("collection", "import", "notes", "in.parquet", "--json").out)["there"] == 30
    run("collection", "import", "one", "in.parquet")
    like = ("--like", "n7", "-k", "5", "--where", "year > 2003", "--json")
    assert run("collection", "search", "notes", *like).out == run("collection", "search", "one", *like).out
    info = json.loads(run("collection", "info", "notes", "--json").out)
    assert (info["rows"], sum(info["shards"].values()), list(info["shards"])) == (30, 30, ["0", "1", "2"])
    assert info["resharding"] is False
    run("collection", "compact", "notes")
    run("collection", "export", "notes", "-o", "out.parquet")
    assert json.loads(run("collection", "import", "again", "out.parquet", "--json").out)["added"] == 30


def test_shards_are_added(run: Run) -> None:
    made(run)
    said = run("collection", "reshard", "notes", "--shards", "5").out
    with vj.ShardedCollection.open("notes") as found:
        assert [state.number for state in found.shards()] == [0, 1, 2, 3, 4]
        moved = sum(state.rows or 0 for state in found.shards()[3:])
        np.testing.assert_array_equal(found.get(["n7", "n0"]).vectors, vectors(30)[[7, 0]])
    assert said.strip() == f"notes: {moved} rows moved; 30 rows over 5 shards"
    assert "0 rows moved" in run("collection", "reshard", "notes", "--shards", "5").out


def test_texts_are_embedded_into_it_and_a_second_time_nothing_is(run: Run) -> None:
    Path("in.txt").write_text("aaa\nabc\nzzz\n")
    run("embed", "in.txt", "-o", "out.parquet", "--model", "letters:26")
    report = json.loads(run("collection", "import", "notes", "out.parquet", "--shards", "3", "--json").out)
    assert (report["added"], report["failed"]) == (3, 0)
    assert len(json.loads(run("collection", "info", "notes", "--json").out)["shards"]) == 3
    assert json.loads(run("collection", "search", "notes", "cb", "-k", "1", "--json").out)["metadata"]["text"] == "abc"
    Path("more.jsonl").write_text('{"id": "x", "text": "qqq"}\n{"id": "y", "text": "rrr"}\n')
    for stored in (2, 0):
        done = run("embed", "more.jsonl", "-o", "lance:notes", "--model", "letters:26", "--json")
        assert json.loads(done.out)["stored"] == stored
    with vj.ShardedCollection.open("notes") as found:
        assert len(found) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("create", "notes", "--dim", "8", "--metric", "dot", "--shards", "4"),
            "shards=4 contradicts the collection at",
        ),
        (("create", "notes", "--dim", "8"), "is a sharded collection: open it with"),
        (("reshard", "notes", "--shards", "2"), "there are 3 shards, and they can only become more, not 2"),
        (("reshard", "one", "--shards", "2"), "one is one dataset: make a sharded collection with"),
        (("reshard", "none", "--shards", "2"), "there is no collection at none"),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(run: Run, arguments: tuple[str, ...], said: str) -> None:
    made(run)
    run("collection", "create", "one", "--dim", "8")
    done = run("collection", *arguments)
    assert (done.code, done.err.count("\n")) in ((1, 1), (2, 1))
    assert said in done.err
