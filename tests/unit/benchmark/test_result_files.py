"""A run is kept as JSON, and only a whole one of this version is read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import cpu_run

from vjaccel.benchmark.results import SCHEMA, dumps, load, loads, save
from vjaccel.errors import FileFormatError, OutputError


def changed(**values: Any) -> str:
    """The JSON of a run with other values at the top; None takes one away."""
    whole = json.loads(dumps(cpu_run())) | values
    return json.dumps({k: v for k, v in whole.items() if v is not None or k == "stopped_by"})


def test_a_run_that_is_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    save(cpu_run(), tmp_path / "a.json")
    assert load(tmp_path / "a.json") == cpu_run()


def test_where_the_data_was_is_called_from() -> None:
    assert {m["from"] for m in json.loads(dumps(cpu_run()))["measurements"]} == {"host"}


def test_a_number_that_is_not_finite_is_unknown() -> None:
    run = cpu_run()
    wrong = replace(run, measurements=(replace(run.measurements[0], error=float("inf"), refused="wrong"),))
    assert loads(dumps(wrong)).measurements[0].error is None


def test_a_run_of_a_later_version_may_say_more() -> None:
    assert loads(changed(weather="fine")) == cpu_run()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not JSON"),
        ("[]", "it has no schema"),
        ('{"schema": 3}', "it has no schema"),
        (changed(schema="vjaccel-bench/2"), f"'vjaccel-bench/2', and this vjaccel reads '{SCHEMA}': measure again"),
        (changed(machine=None), "machine is missing"),
        (changed(seconds="long"), "seconds is not a number"),
        (changed(seconds=True), "seconds is not a number"),
        (changed(stopped_by="rain"), "stopped_by is 'rain', and may be 'budget', 'interrupt'"),
        (changed(subjects=[]), "it speaks of a subject 'numpy:cpu' that it does not list"),
        (changed(cases=[]), "that it does not list"),
        (changed(subjects=json.loads(changed())["subjects"] * 2), "stands there twice"),
        (changed().replace('"seconds": 118.2', '"seconds": NaN'), "NaN is no JSON number"),
        (changed().replace('"seconds": 118.2', '"seconds": 1e999'), "seconds is not a number"),
        (changed().replace('"rows": 1000,', '"rows": 1.5,'), "rows is not a number"),
    ],
)  # fmt: skip
def test_what_is_no_whole_run_of_this_version_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError) as caught:
        load(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_time_of_nothing_is_refused() -> None:
    run = cpu_run()
    idle = replace(run, measurements=(replace(run.measurements[0], seconds=(0.0,)),))
    with pytest.raises(FileFormatError, match="'numpy:cpu' has a time that is not above zero"):
        loads(dumps(idle))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"none\.json cannot be read: No such file"):
        load(tmp_path / "none.json")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="it is not UTF-8"):
        load(tmp_path / "a.json")


def test_a_file_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: there is no folder .*nowhere$"):
        save(cpu_run(), tmp_path / "nowhere" / "a.json")
