"""`vjaccel backends` and `vjaccel doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import json

import pytest

import vjaccel as vj
from tests.unit.cli.conftest import Run


def test_backends_lists_every_registered_one_and_ends_well(run: Run) -> None:
    done = run("backends")
    assert (done.code, done.err) == (0, "")
    for row in vj.backends():
        assert row.name in done.out
        assert (row.version or "not installed") in done.out


def test_backends_as_json_has_the_fields_of_the_rows(run: Run) -> None:
    rows = json.loads(run("backends", "--json").out)
    assert {row["name"]: row["usable"] for row in rows} == {row.name: row.usable for row in vj.backends()}
    assert set(rows[0]) == {"name", "version", "devices", "usable", "reason", "install"}


def test_doctor_finds_the_machine_the_backends_the_model_and_the_caches(run: Run) -> None:
    done = run("doctor")
    assert done.code == 0
    for subject in ("vjaccel", "machine", "libraries", "backend numpy", "model", "kernel cache", "hub cache"):
        assert subject in done.out
    assert "!!" not in done.out


def test_doctor_shows_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("VJACCEL_BACKEND", "numpy")
    findings = {row["subject"]: row["found"] for row in json.loads(run("doctor", "--json").out)}
    assert findings["HF_TOKEN"] == "(set, not shown)"  # what is shown instead of one
    assert findings["VJACCEL_BACKEND"] == "numpy"


def test_the_version_and_the_help_are_said(run: Run) -> None:
    assert run("--version").out == f"vjaccel {vj.__version__}\n"
    for command in ("embed", "search", "backends", "doctor"):
        assert command in run("--help").out
        assert "Usage: vjaccel" in run(command, "--help").out
