"""`vjaccel embed - -o -`: a line for a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vjaccel as vj
from tests.unit.cli.letters import install, letters

ROOT = Path(__file__).parents[2]
LIVE = ("embed", "-", "-o", "-", "--model", "letters:8")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    install(tmp_path / "plugins")
    return os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}"}


def started(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *arguments], text=True, env=environment, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_each_line_is_answered_before_the_next_is_sent(environment: dict[str, str]) -> None:
    with started(environment, *LIVE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("first", "second", "", "FAIL", "last"):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert row["text"] == text
            if text == "FAIL":
                assert row["embedding"] is None
                assert row["error"]["code"] == "EMBEDDING_GENERATION_FAILED"
            else:
                assert row["embedding"] == pytest.approx(letters(8, [text])[0].tolist())
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, "", "")


def test_rows_of_json_keep_their_fields(environment: dict[str, str]) -> None:
    rows = [{"id": 1, "text": "a", "more": [1, None]}, {"id": 2, "text": "b"}]
    process = started(environment, *LIVE)
    out, err = process.communicate("".join(json.dumps(row) + "\n" for row in rows), timeout=30)
    assert (process.returncode, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [{k: v for k, v in row.items() if k != "embedding"} for row in found] == rows


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param('{"text": "a"}\nno json\n', "standard input, line 2: it is not JSON", id="a bad line"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_bad_lines_are_named_and_nothing_is_nothing(environment: dict[str, str], sent: str, said: str) -> None:
    process = started(environment, *LIVE)
    _, err = process.communicate(sent, timeout=30)
    assert said in err
    assert process.returncode == (1 if said else 0)
    assert "Traceback" not in err


def test_a_reader_that_goes_away_ends_the_command(environment: dict[str, str]) -> None:
    with started(environment, *LIVE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("a\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write("b\n")
        process.stdin.flush()
        process.wait(timeout=30)
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("arguments", [("--restart",), ("--json",), ("more.txt",)])
def test_what_cannot_be_had_with_it_is_refused(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    process = started(environment, *LIVE, *arguments)
    _, err = process.communicate("", timeout=30)
    assert process.returncode == 2
    assert "keeps nothing" in err


def test_lines_are_rows_of_a_collection_while_more_are_awaited(environment: dict[str, str], tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with started(environment, "embed", "-", "-o", f"lance:{notes}", "--model", "letters:8") as process:
        assert process.stdin is not None
        for count, row in enumerate([{"id": "a", "text": "one"}, {"id": "b", "text": "two"}], 1):
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            deadline = time.monotonic() + 60
            while not vj.Collection.exists(notes) or len(vj.Collection.open(notes)) < count:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        out, err = process.communicate(json.dumps({"id": "a", "text": "three"}) + "\n", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "3 rows stored" in out
    with vj.Collection.open(notes) as found:
        there = found.get(["a", "b"])
    assert [about["text"] for about in there.metadata] == ["three", "two"]
    assert there.vectors.tolist() == pytest.approx(letters(8, ["three", "two"]))


def test_empty_lines_before_the_first_text_are_rows_too(environment: dict[str, str]) -> None:
    process = started(environment, *LIVE)
    out, err = process.communicate("\n\nhello\nworld\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["", "", "hello", "world"]


@pytest.mark.parametrize("option", [("--price", "1"), ("--overwrite",)], ids=lambda option: option[0])
def test_what_has_no_meaning_line_by_line_is_refused(environment: dict[str, str], option: tuple[str, ...]) -> None:
    process = started(environment, *LIVE, *option)
    out, err = process.communicate("a\n", timeout=30)
    assert (process.returncode, out) == (2, "")
    assert f"{option[0]} cannot be asked" in err
