"""What is wrong is said in one sentence, before anything is computed, and leaves no file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Run

LETTERS = ("--model", "letters:16")

FILES = {
    "words.txt": b"a\nb\n",
    "latin.txt": "fine\nna\u00efve\n".encode("latin-1"),
    "broken.jsonl": b'{"text": "a"}\n\n{"text": \n',
    "named.jsonl": b'{"id": "a", "text": "a"}\n',
    "list.jsonl": b'{"text": "a"}\n[1]\n',
    "half.jsonl": b'{"text": "\\ud800"}\n',
    "other.jsonl": b'{"body": "a", "title": "b"}\n',
    "vectors.jsonl": b'{"text": "a", "embedding": [1]}\n',
    "wide.csv": b"id,text\n1,a\n2,b,c\n",
    "twice.csv": b"text,text\na,b\n",
    "latin.csv": "text\nna\u00efve\n".encode("latin-1"),
    "latin-header.csv": "text,na\u00efve\na,b\n".encode("latin-1"),
    "header.csv": b"id,body\n",
    "plain.txt.gz": b"a\n",
    "out.parquet.errors.jsonl": b'{"text": "a"}\n',
    "open.csv": b'text\n"a\n',
    "notes": b"a\n",
    "cut.txt.gz": b"\x1f\x8b\x08\x00",
    "no.parquet": b"PAR1 no",
}

CASES = [
    (["missing.txt"], 1, "missing.txt: No such file or directory"),
    (["notes"], 1, "notes is none of .txt, .jsonl, .ndjson, .csv, .parquet"),
    (["folder.npy"], 1, "folder.npy is a folder; name its files"),
    (["latin.txt"], 1, "latin.txt, line 2: it is not UTF-8 at byte 3 (0xef)"),
    (["latin.csv"], 1, "latin.csv, line 2: it is not UTF-8 at byte 3 (0xef)"),
    (["broken.jsonl"], 1, "broken.jsonl, line 3: it is not JSON"),
    (["list.jsonl"], 1, "list.jsonl, line 2: it is not a JSON object but list"),
    (["half.jsonl"], 1, "half.jsonl, line 1: it has half of a surrogate pair"),
    (["other.jsonl"], 1, "there is no field 'text'; the input has 'body', 'title'"),
    (["words.txt", "--id-field", "key"], 1, "there is no field 'key'; the input has 'text'"),
    (["vectors.jsonl"], 1, "the input has a field 'embedding'"),
    (["wide.csv"], 1, "wide.csv, line 3: it has 3 values and the header 2"),
    (["latin-header.csv"], 1, "latin-header.csv, line 1: it is not UTF-8 at byte 8 (0xef)"),
    (["header.csv"], 1, "there is no field 'text'; the input has 'id', 'body'"),
    (["plain.txt.gz"], 1, "plain.txt.gz cannot be read as txt"),
    (["out.parquet.errors.jsonl"], 2, "out.parquet.errors.jsonl is one of the inputs"),
    (["twice.csv"], 1, "twice.csv, line 1: two columns have one name: text, text"),
    (["open.csv"], 1, "open.csv, line 2: it is not csv"),
    (["cut.txt.gz"], 1, "cut.txt.gz cannot be read as txt"),
    (["no.parquet"], 1, "no.parquet cannot be read as parquet"),
    (["numbers.parquet"], 1, "numbers.parquet: the field 'text' is int64, not text"),
    (["words.txt", "-o", "out.csv"], 2, "out.csv is none of .parquet, .jsonl, .npy"),
    (["words.txt", "-o", ".parquet"], 2, "the output '.parquet' has no name: say it whole, as in out.parquet"),
    (["words.txt", "-o", ""], 2, "the output '.' has no name"),
    (
        ["words.txt", "--model", "openai:m", "--base-url", "ftp://x"],
        2,
        "'ftp://x' is of ftp, and services are asked by",
    ),
    (["words.txt", "-o", "nowhere/out.npy"], 1, "cannot write nowhere/out.npy: there is no folder"),
    (["words.txt", "-o", "folder.npy"], 1, "cannot write folder.npy: it is a folder"),
    (["numbers.parquet", "-o", "numbers.parquet"], 2, "numbers.parquet is one of the inputs"),
    (["words.txt", "--model", "lettres:16"], 2, "did you mean 'letters'?"),
    (["words.txt", "--model", "MiniLM"], 2, "did you mean 'local:MiniLM'?"),
    (["named.jsonl", "lists.parquet"], 1, "the columns of the inputs do not fit"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_it_is_one_clear_sentence_and_no_file_stays(run: Run, arguments: list[str], code: int, said: str) -> None:
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    Path("folder.npy").mkdir()
    pq.write_table(pa.table({"text": [1, 2]}), "numbers.parquet")
    pq.write_table(pa.table({"text": ["a"], "id": [[1]]}), "lists.parquet")
    before = sorted(path.name for path in Path().iterdir())
    output = [] if "-o" in arguments else ["-o", "out.parquet"]
    model = [] if "--model" in arguments else LETTERS
    done = run("embed", *arguments, *output, *model)
    assert done.code == code
    assert done.err.startswith("vjaccel: ")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize(
    ("name", "rows", "bad"), [("broken.jsonl", 1, 1), ("latin.txt", 1, 1), ("wide.csv", 1, 1), ("latin.csv", 0, 1)]
)
def test_bad_lines_are_passed_over_and_counted_if_asked(run: Run, name: str, rows: int, bad: int) -> None:
    Path(name).write_bytes(FILES[name])
    done = run("embed", name, "-o", "out.parquet", "--skip-bad-lines", *LETTERS)
    assert done.code == 0
    assert f"passed over {bad} bad line" in done.out
    assert pq.read_table("out.parquet").num_rows == rows


@pytest.mark.parametrize(
    "arguments", [["embed"], ["embed", "a.txt"], ["search", "f", "q", "-k", "0"], ["embed", "a", "-o", "b", "--workers", "0"],
                  ["embde"], ["embed", "a", "-o", "b", "--nope"]]
)  # fmt: skip
def test_a_wrong_command_line_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback_wherever_it_stands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        run("embed", "missing.txt", "-o", "out.npy", *LETTERS, "--debug")
    with pytest.raises(FileNotFoundError):
        run("--debug", "embed", "missing.txt", "-o", "out.npy", *LETTERS)


def test_what_stands_behind_two_dashes_is_no_option(run: Run) -> None:
    Path("--debug.txt").write_text("a\n")
    assert run("embed", "-o", "out.npy", *LETTERS, "--", "--debug.txt").code == 0


def test_a_broken_header_is_not_passed_over(run: Run) -> None:
    Path("latin-header.csv").write_bytes(FILES["latin-header.csv"])
    done = run("embed", "latin-header.csv", "-o", "out.parquet", "--skip-bad-lines", *LETTERS)
    assert done.code == 1
    assert "latin-header.csv, line 1" in done.err


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing.parquet", "missing.parquet: No such file"), ("folder", "folder: Is a directory"),
     ("words.txt", "words.txt cannot be searched, only parquet files can")],
)  # fmt: skip
def test_what_cannot_be_searched_is_said_in_a_sentence(run: Run, name: str, said: str) -> None:
    Path("folder").mkdir()
    Path("words.txt").write_bytes(FILES["words.txt"])
    done = run("search", name, "a")
    assert done.code == 1
    assert said in done.err
    assert done.err.count("\n") == 1
