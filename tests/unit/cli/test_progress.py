"""The progress bar, in a real terminal (a pseudo-terminal of the width given)."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.letters import install
from vjaccel.observe import RunBar, Seen

ROOT = Path(__file__).parents[3]


def in_terminal(folder: Path, columns: int, *arguments: str, **more: str) -> str:
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"PYTHONPATH": f"{folder / 'plugins'}:{ROOT}"} | more,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end has closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("columns", [40, 120])
def test_a_terminal_shows_a_bar_that_reaches_its_end_in_one_line(tmp_path: Path, columns: int) -> None:
    install(tmp_path / "plugins")
    (tmp_path / "in.txt").write_text("".join(f"text {i}\n" for i in range(9000)))
    shown = in_terminal(tmp_path, columns, "embed", "in.txt", "-o", "out.parquet", "--model", "letters:64")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for line in re.split(r"[\r\n]+", plain) if line]
    assert any("9000/9000" in line for line in lines)
    assert any("texts/s" in line for line in lines)
    assert max(len(line) for line in lines if "9000/9000" in line) <= columns
    assert ("texts/s" in next(line for line in lines if "9000/9000" in line)) == (columns == 120)


def test_without_a_terminal_there_is_no_bar(tmp_path: Path) -> None:
    install(tmp_path / "plugins")
    (tmp_path / "in.txt").write_text("a\n")
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.npy", "--model", "letters:8"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}"},
    )  # fmt: skip
    assert done.stderr == ""


def test_a_benchmark_shows_in_a_terminal_what_it_is_at_and_takes_the_bar_away(tmp_path: Path) -> None:
    options = ("--ops", "normalize", "--sizes", "small", "--backends", "numpy", "--budget", "8", "-o", "here.json")
    shown = in_terminal(tmp_path, 100, "bench", *options)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"0:00:0\d \S*.*normalize", plain), plain
    assert (tmp_path / "here.json").is_file()


def test_without_a_terminal_a_line_is_said_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    with RunBar(clock=lambda: now[0]) as bar:
        for second in range(1, 31):
            now[0] += 1
            bar.embedded(Seen(second * 100, total=4000, tokens=second * 2000, seconds=second, price=0.5))
    assert capsys.readouterr().err.splitlines() == [
        "vjaccel: embedding: 1,000 of 4,000 texts, 100 texts/s, 2,000 tokens/s, cost 0.0100, 30 s left",
        "vjaccel: embedding: 2,000 of 4,000 texts, 100 texts/s, 2,000 tokens/s, cost 0.0200, 20 s left",
        "vjaccel: embedding: 3,000 of 4,000 texts, 100 texts/s, 2,000 tokens/s, cost 0.0300, 10 s left",
    ]
