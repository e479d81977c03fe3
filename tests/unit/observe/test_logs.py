"""What is logged: nothing by a library that nobody has asked, sentences or lines of JSON by a command, no text of anybody."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.cli.letters import install
from vjaccel.observe import JsonFormatter

ROOT = Path(__file__).parents[3]
SECRET = "a text that is nobody's business"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not (folder / "plugins").exists():
        install(folder / "plugins")
    return subprocess.run(
        [sys.executable, "-m", "vjaccel", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{folder / 'plugins'}:{ROOT}"},
    )  # fmt: skip


def lines(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


def test_a_library_prints_nothing_even_where_it_has_something_to_warn_of() -> None:
    script = (
        "import logging, numpy as np, vjaccel as vj\n"
        "vj.Embedder(lambda texts: np.ones((len(texts), 2))).embed(['a', None], on_error='collect')\n"
        "vj.normalize([[1.0, 2.0]]); vj.backends()\n"
        "logging.getLogger('vjaccel.embedding').warning('an endpoint is down')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_with_json_each_line_is_a_record_with_the_run_and_its_fields(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in ("a", "b", "a", "FAIL")))
    done = command(
        tmp_path, "embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:8", "--log-format", "json"
    )  # fmt: skip
    assert done.returncode == 3
    found = lines(done.stderr)
    assert len({line["run"] for line in found}) == 1
    assert all(datetime.fromisoformat(line["time"]).utcoffset() is not None for line in found)
    assert {line["logger"] for line in found} == {"vjaccel.cli", "vjaccel.embedding"}
    begins = next(line for line in found if "begins" in line["message"])
    assert (begins["level"], begins["model"]) == ("info", "letters:8")
    over = next(line for line in found if "is over" in line["message"])
    assert (over["embedded"], over["failed"], over["failures"]) == (2, 1, {"EMBEDDING_GENERATION_FAILED": 1})
    manifest = json.loads((tmp_path / "out.parquet.run.json").read_text())
    assert manifest["recording"]["id"] == over["run"]


def test_a_levels_records_are_those_from_it_on(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    arguments = ("embed", "in.txt", "--model", "letters:8", "--log-format", "json")
    quiet = command(tmp_path, *arguments, "-o", "quiet.npy", "--log-level", "warning")
    assert quiet.stderr == ""
    loud = lines(command(tmp_path, *arguments, "-o", "loud.npy", "--log-level", "debug").stderr)
    batch = next(line for line in loud if line["message"] == "a batch of 1 texts is done")
    assert (batch["level"], batch["texts"], batch["retries"]) == ("debug", 1, 0)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_text_is_in_the_log_at_any_level(tmp_path: Path, log_format: str) -> None:
    (tmp_path / "in.txt").write_text(f"{SECRET}\n{SECRET} FAIL\n")
    done = command(
        tmp_path, "embed", "in.txt", "-o", "out.npy", "--model", "letters:8", "--log-format", log_format, "--log-level", "debug"
    )  # fmt: skip
    assert done.returncode == 3
    assert "text 1 has failed: EMBEDDING_GENERATION_FAILED" in done.stderr
    assert "nobody" not in done.stderr


def test_an_unknown_format_or_level_is_refused(tmp_path: Path) -> None:
    for arguments in (("--log-format", "xml"), ("--log-level", "loud")):
        done = command(tmp_path, "embed", "in.txt", "-o", "out.npy", *arguments)
        assert done.returncode == 2
        assert arguments[1] in done.stderr


def test_a_warning_of_a_command_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    (tmp_path / "file").write_text("no folder")
    done = command(
        tmp_path, "embed", "in.txt", "-o", "out.npy", "--model", "letters:8", "--cache", "file/cache", "--log-format", "json"
    )  # fmt: skip
    assert done.returncode == 0
    assert any(line["level"] == "warning" and "cache" in line["message"] for line in lines(done.stderr))


def test_who_sets_logging_up_hears_of_the_runs(caplog: pytest.LogCaptureFixture) -> None:
    def broken(texts: list[str]) -> np.ndarray:
        raise KeyboardInterrupt

    with caplog.at_level(logging.INFO, "vjaccel.embedding"):
        result = vj.Embedder(lambda texts: np.ones((len(texts), 2))).embed(["a", "b"])
        with pytest.raises(KeyboardInterrupt):
            vj.Embedder(broken).embed(["a"])
    said = [(record.getMessage().split(",")[0], record.__dict__["fields"]["run"]) for record in caplog.records]
    assert [sentence for sentence, _ in said] == [
        "the run begins", "the run is over", "the run begins", "the run is stopped"
    ]  # fmt: skip
    assert said[0][1] == said[1][1] == result.recording.id != said[2][1]


def test_a_traceback_and_what_is_no_json_are_written_all_the_same() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("vjaccel.x", logging.ERROR, "", 1, "it failed", None, sys.exc_info())
    record.__dict__["fields"] = {"path": Path("a/b"), "é": 1}
    found = json.loads(JsonFormatter("run7").format(record))
    assert (found["run"], found["path"], found["é"], found["level"]) == ("run7", "a/b", 1, "error")
    assert "ValueError: wrong" in found["exception"]
