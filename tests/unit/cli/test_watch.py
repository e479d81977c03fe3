"""`vjaccel embed --watch`, in real terminals of several widths, and where there is none."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults.server import FaultServer
from tests.unit.cli.letters import install
from tests.unit.cli.test_progress import ROOT, in_terminal
from vjaccel.observe import Seen, WatchView
from vjaccel.telemetry import BatchEnded, CircuitChanged, ConcurrencyChanged, Recording, tell


def texts(folder: Path, count: int) -> None:
    install(folder / "plugins")
    (folder / "in.txt").write_text("".join(f"text {i} {'SLOW' if i % 3 == 0 else ''}\n" for i in range(count)))


@pytest.mark.parametrize(
    "columns", [40, pytest.param(80, marks=pytest.mark.soak), pytest.param(120, marks=pytest.mark.soak)]
)
def test_a_terminal_shows_the_run_live_within_its_width(tmp_path: Path, columns: int) -> None:
    texts(tmp_path, 4000)
    arguments = ("embed", "in.txt", "-o", "out.parquet", "--model", "letters:64", "--watch")
    shown = in_terminal(tmp_path, columns, *arguments)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    drawn, _, after = plain.rpartition("embedded 4,000 texts")
    rows = [row.rstrip() for row in re.split(r"[\r\n]+", drawn)]
    assert max(map(len, rows)) <= columns
    for name in ("embedding", "rate", "waiting", "workers", "batches", "uses"):
        assert any(row.startswith(name) for row in rows), name
    assert "100%" in drawn
    assert "wrote out.parquet" in after
    assert shown.count("\x1b[?25h") == shown.count("\x1b[?25l") == 1  # the cursor is there again


def test_without_a_terminal_it_is_said_and_lines_are_written(tmp_path: Path) -> None:
    texts(tmp_path, 3)
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.npy", "--model", "letters:8", "--watch"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{ROOT}"},
    )  # fmt: skip
    assert done.stderr == "vjaccel: --watch needs a terminal: there is a line every 10 s instead\n"


def test_with_json_lines_it_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.npy", "--watch", "--log-format", "json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "give one of them" in done.stderr) == (2, True)


def drawn(view: WatchView, width: int, *, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    console = Console(file=file, width=width, force_terminal=False)
    view._console = console  # the view of one terminal, drawn for another
    console.print(view.drawn())
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def test_what_is_shown_is_what_was_recorded() -> None:
    now = [0.0]
    recording = Recording("letters:8", 4, clock=lambda: now[0])
    with WatchView("letters:8 -> out", Console(file=io.StringIO(), force_terminal=False), lambda: now[0]) as view:
        recording.read(5000)
        recording.prepared(4500)
        for second in range(1, 21):
            now[0] = float(second)
            recording.batch_began(512)
            recording.batch_ended(BatchEnded(100, 400, 500, 0.25, 1.0, 1, 512, failed=False), None)
            recording.settled("embedded", 100)
            view.embedded(Seen(second * 100, 5000, second * 400, float(second), 500, 2.0, recording))
        recording.settled("cached", 30)
        recording.failed(7, "RATE_LIMITED", "[red]slow down[/red]")
        tell(CircuitChanged("openai at http://there", is_open=True))
        tell(ConcurrencyChanged("openai", 3))
        said = drawn(view, 100)
        tell(CircuitChanged("openai at http://there", is_open=False))
        assert "openai at http://there" not in drawn(view, 100)
    for part in (
        "embedding  2,500 of 5,000 texts in 0:00:20, 0:00:25 left", "100 texts/s now, 100 texts/s in all, 400 tokens/s",
        "500 to tokenise, 2,469 to embed", "0 of 4 at work, 3 requests at once",
        "of 512 tokens at most, half in 25", "20.0% padding", "30 from the cache",
        "20; waited 20 s", "cost       0.0160", "failed     1: RATE_LIMITED 1", "down       openai at http://there",
    ):  # fmt: skip
        assert part in said


def test_a_terminal_that_has_no_blocks_gets_letters() -> None:
    now = [0.0]
    recording = Recording("letters:8", 1, clock=lambda: now[0])
    view = WatchView("letters:8 -> out", Console(file=io.StringIO(), force_terminal=False), lambda: now[0])
    for second in range(1, 12):
        now[0] = float(second)
        recording.settled("embedded", 10 * second)
        view.embedded(Seen(10 * second, None, None, float(second), recording=recording))
    assert "\u2588" in drawn(view, 60)
    assert "%" in drawn(view, 60, encoding="ascii")


def test_a_title_with_markup_is_shown_as_it_is() -> None:
    view = WatchView("[bold]in[/bold].txt -> out", Console(file=io.StringIO(), force_terminal=False))
    assert "[bold]in[/bold].txt" in drawn(view, 60)


def test_the_view_goes_on_while_nothing_comes() -> None:
    now = [0.0]
    recording = Recording("letters:8", 4, clock=lambda: now[0])
    view = WatchView("letters:8 -> out", Console(file=io.StringIO(), force_terminal=False), lambda: now[0])
    assert "reading: 0:00:00" in drawn(view, 80)
    recording.read(300)
    recording.prepared(300)
    for second in (1, 2):
        now[0] = float(second)
        recording.settled("embedded", 50)
        view.embedded(Seen(50 * second, 300, None, float(second), recording=recording))
    assert "idle" not in drawn(view, 80)
    now[0] = 125.0
    said = drawn(view, 80)
    for part in ("100 of 300 texts in 0:02:05", "0 texts/s now, 1 texts/s in all", "idle       for 0:02:03 nothing"):
        assert part in said
    recording.ended(failed=True)
    now[0] = 200.0
    said = drawn(view, 80)
    assert "in 0:02:05" in said
    assert "idle" not in said


@pytest.mark.usefixtures("interrupts")
def test_a_provider_that_is_down_from_the_start_is_seen_and_the_stopped_run_has_its_report(tmp_path: Path) -> None:
    texts(tmp_path, 40)
    with FaultServer("503*1000") as server, pseudo_terminal() as (ours, theirs):
        command = ["embed", "in.txt", "-o", "out.npy", "--model", "openai:m", "--base-url", server.url, "--watch"]
        process = subprocess.Popen(
            [sys.executable, "-m", "vjaccel", *command, "--report", "run.html"], cwd=tmp_path, stdin=theirs,
            stdout=theirs, stderr=theirs,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "", "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        shown = until_shown(ours, rb"0 of 40 texts in 0:0(0:0[2-9]|0:[1-5]|[1-9])", rb"down +\S*openai at http")
        process.send_signal(signal.SIGINT)
        shown += until_shown(ours, b"stopped; out.npy is not written yet")
        assert process.wait() == 130
    assert "loading the model" in shown
    assert "The run has not ended" in (tmp_path / "run.html").read_text()


@contextmanager
def pseudo_terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def until_shown(terminal: int, *patterns: bytes) -> str:
    shown = b""
    while not all(re.search(pattern, re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown)) for pattern in patterns):
        shown += os.read(terminal, 65536)
    return shown.decode()
