"""Runs that are stopped, killed or run out of disk: nothing half-written stands under the output's name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.letters import install

ROOT = Path(__file__).parents[2]
PATIENCE = 60


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    install(tmp_path / "plugins")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "slow.txt").write_text("SLOW\n" * 20_000)
    (folder / "quick.txt").write_text("".join(f"quick brown fox {i * i}\n" for i in range(20_000)))
    return folder


def started(work: Path, *arguments: str, file_kilobytes: int | str = "unlimited") -> subprocess.Popen[str]:
    limited = f'ulimit -f {file_kilobytes}; exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", limited, "bash", sys.executable, "-m", "vjaccel", *arguments], cwd=work, text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{work.parent / 'plugins'}:{ROOT}"},
    )  # fmt: skip


def until_writing(work: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(path.suffix == ".partial" for path in work.iterdir()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("output", ["out.parquet", "out.npy"])
def test_a_run_that_is_stopped_leaves_no_file(work: Path, number: signal.Signals, code: int, output: str) -> None:
    (work / output).write_text("an earlier run's")
    process = started(work, "embed", "quick.txt", "slow.txt", "-o", output, "--model", "letters:64")
    until_writing(work, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert sorted(path.name for path in work.iterdir()) == sorted([output, "quick.txt", "slow.txt"])
    assert (work / output).read_text() == "an earlier run's"


def test_a_run_that_is_killed_leaves_nothing_under_the_outputs_name(work: Path) -> None:
    process = started(work, "embed", "quick.txt", "slow.txt", "-o", "out.parquet", "--model", "letters:64")
    until_writing(work, process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert not (work / "out.parquet").exists()


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.npy"])
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_no_file(work: Path, output: str) -> None:
    process = started(work, "embed", "quick.txt", "-o", output, "--model", "letters:64", file_kilobytes=256)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err == f"vjaccel: cannot write {output}: File too large\n"
    assert sorted(path.name for path in work.iterdir()) == ["quick.txt", "slow.txt"]


def test_a_reader_that_goes_away_is_no_traceback(work: Path) -> None:
    (work / "few.txt").write_text("".join(f"text {i}\n" for i in range(3000)))
    with started(work, "embed", "few.txt", "-o", "out.parquet", "--model", "letters:64") as process:
        process.communicate(timeout=PATIENCE)
    with started(work, "search", "out.parquet", "text", "-k", "3000", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"id"')
        process.stdout.close()
        assert process.stderr.read() == ""
