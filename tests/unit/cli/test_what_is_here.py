"""`vjaccel backends` and `vjaccel doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import json
from collections.abc import Callable

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


def test_doctor_finds_the_machine_the_backends_the_model_and_the_caches(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a GPU that a library does not use would be said to be so
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
    for command in ("embed", "search", "backends", "doctor", "bench", "monitor"):
        assert command in run("--help").out
        assert "Usage: vjaccel" in run(command, "--help").out


def _about_the_gpu(run: Run) -> list[tuple[bool | None, str]]:
    rows = json.loads(run("doctor", "--json").out)
    return [(row["ok"], row["found"]) for row in rows if row["subject"] == "GPU"]


def test_doctor_says_loudly_which_library_does_not_use_the_gpu_that_is_there(
    run: Run, nvidia_smi: Callable[..., None]
) -> None:
    nvidia_smi("NVIDIA H100 80GB HBM3, 81559 MiB")
    first, *others = _about_the_gpu(run)
    assert first == (True, "NVIDIA H100 80GB HBM3, 81559 MiB")
    blind = [row for row in vj.backends() if row.name in ("jax", "torch") and row.devices == ("cpu",)]
    assert len(others) == len(blind)
    for (ok, found), row in zip(others, blind, strict=True):
        assert ok is False
        assert found.startswith(f"NOT USED by {row.name}: ")
        assert "pip install" in found


def test_doctor_does_not_shout_of_a_gpu_that_the_user_hides(
    run: Run, nvidia_smi: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi("A card, 81559 MiB")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    ((ok, found),) = _about_the_gpu(run)
    assert (ok, "hidden" in found) == (None, True)


@pytest.mark.parametrize(
    ("line", "code", "seen"), [("NVIDIA-SMI has failed", 9, "NVIDIA-SMI has failed"), ("", 0, "no GPU")]
)
def test_doctor_says_what_a_driver_without_a_gpu_says(
    run: Run, nvidia_smi: Callable[..., None], line: str, code: int, seen: str
) -> None:
    nvidia_smi(line, code=code)
    ((ok, found),) = _about_the_gpu(run)
    assert (ok, seen in found) == (None, True)
