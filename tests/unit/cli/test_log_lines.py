"""With ``--log-format json`` every line on standard error is JSON, whatever goes wrong and whenever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving import serving
from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import install


def lines(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.txt", "-o", "out.npy"), 1, "nowhere.txt: No such file or directory"),
        (("in.txt", "-o", "out.parquet", "--model", "nobody:8"), 2, "nobody"),
        (("in.txt", "-o", "out.csv"), 2, "out.csv is none of .parquet, .jsonl, .npy"),
        (("in.txt", "-o", "out.npy", "--engine", "steam"), 2, "--engine 'steam' is none of"),
        (("in.txt", "-o", "out.npy", "--watch"), 2, "--watch draws on standard error"),
        (("in.txt",), 2, "Missing option"),
        (("in.txt", "-o", "out.npy", "--max-errors", "few"), 2, "Invalid value for '--max-errors'"),
        (("in.txt", "-o", "out.npy", "--no-such-option"), 2, "--no-such-option"),
    ],
)
def test_an_error_is_a_line_of_json(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    Path("in.txt").write_text("one\n")
    for asked in (("--log-format", "json"), ("--log-format=json",)):
        done = run("embed", *arguments, *asked)
        last = lines(done.err)[-1]
        assert done.code == code
        assert (last["level"], last["logger"]) == ("error", "vjaccel.cli")
        assert said in last["message"]


def test_a_traceback_that_was_asked_for_is_in_its_record(run: Run) -> None:
    done = run("embed", "nowhere.txt", "-o", "out.npy", "--log-format", "json", "--debug")
    assert "Traceback" in lines(done.err)[-1]["exception"]


def test_bad_lines_that_were_passed_over_among_rows_are_a_record_of_the_run(run: Run) -> None:
    Path("in.jsonl").write_text('{"text": "one"}\nno json\n')
    command = ("embed", "in.jsonl", "-o", "-", "--model", "letters:8", "--skip-bad-lines")
    assert run(*command).err == "vjaccel: passed over 1 bad line\n"
    found = lines(run(*command, "--log-format", "json").err)
    assert (found[-1]["level"], found[-1]["message"]) == ("warning", "passed over 1 bad line")
    assert {line["run"] for line in found} == {found[0]["run"]} != {None}


def test_where_a_service_is_and_what_other_libraries_warn_of_are_records(tmp_path: Path) -> None:
    install(tmp_path / "plugins")
    other = "import atexit, logging\natexit.register(logging.getLogger('other').warning, 'this is old')\n"
    (tmp_path / "plugins" / "sitecustomize.py").write_text(other)
    with serving(tmp_path, "--model", "letters:8", "--log-format", "json") as served:
        served.process.terminate()
        (found,) = lines(served.process.communicate(timeout=60)[1])
    assert (found["logger"], found["level"], found["message"]) == ("other", "warning", "this is old")


@pytest.mark.parametrize("output", ["out.npy", "lance:notes"])
def test_the_line_with_which_a_run_begins_has_how_many_rows_there_are(run: Run, output: str) -> None:
    if output.startswith("lance:"):
        pytest.importorskip("lance")
    Path("in.txt").write_text("one\ntwo\none\n")
    found = lines(run("embed", "in.txt", "-o", output, "--model", "letters:8", "--log-format", "json").err)
    (begins,) = [line for line in found if line["message"].startswith("the run begins")]
    assert begins["total"] == 3
