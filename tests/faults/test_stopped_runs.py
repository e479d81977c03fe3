"""Runs that are stopped, killed or run out of disk: nothing is lost, and the same command goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.letters import install, letters

ROOT = Path(__file__).parents[2]
PATIENCE = 60
ROWS = 1500
EMBED = ("embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:32")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    install(tmp_path / "plugins")
    folder = tmp_path / "work"
    folder.mkdir()
    rows = ({"id": f"n{i}", "text": text(i), "n": i} for i in range(ROWS))
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def small_disk(work: Path) -> Iterator[Path]:
    """The same folder on a file system of one megabyte."""
    content = (work / "in.jsonl").read_text()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(work)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    (work / "in.jsonl").write_text(content)
    yield work
    subprocess.run(["umount", "--lazy", str(work)], check=True)


def text(i: int) -> str:
    """Every tenth text has been there before; each takes its time."""
    return f"SLOW {i if i % 10 else i // 2:04}"


def started(work: Path, *arguments: str, file_kilobytes: int | str = "unlimited", **more: str) -> subprocess.Popen[str]:
    limited = f'ulimit -f {file_kilobytes}; exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", limited, "bash", sys.executable, "-m", "vjaccel", *arguments], cwd=work, text=True,
        start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{work.parent / 'plugins'}:{ROOT}", "LETTERS_LOG": str(work.parent / "asked")} | more,
    )  # fmt: skip


def finished(work: Path, *arguments: str, code: int = 0) -> str:
    """What a command says that nobody stops: it need not take its time."""
    process = started(work, *arguments, LETTERS_QUICK="1")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out + err
    return out + err


def lines(work: Path, output: str = "out.parquet") -> list[str]:
    """What the journal has."""
    path = work / f"{output}.journal" / "journal.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def until_embedding(work: Path, process: subprocess.Popen[str], more: int = 3, *, or_ended: bool = False) -> None:
    def batches() -> int:
        return sum('"rows"' in line for line in lines(work))

    deadline, before = time.monotonic() + PATIENCE, batches()
    while batches() < before + more:
        if or_ended and process.poll() == 0:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def acknowledged(work: Path, output: str = "out.parquet") -> list[int]:
    """The rows of all batches that the journal has."""
    return [row for line in lines(work, output)[:-1] for row in json.loads(line).get("rows", [])]


def asked(work: Path) -> list[str]:
    """All texts that were embedded, by whichever process, once for each time."""
    return (work.parent / "asked").read_text().splitlines()


def check_output(work: Path) -> None:
    """The output is an undisturbed run's, and nothing but it and its manifest is left."""
    table = pq.read_table(work / "out.parquet")
    assert table["id"].to_pylist() == [f"n{i}" for i in range(ROWS)]
    assert table["n"].to_pylist() == list(range(ROWS))
    counts = np.array(table["embedding"].to_pylist(), np.float32)
    # The same letters in a word that takes no time.
    quick = letters(32, [text(i).replace("SLOW", "WOLS") for i in range(ROWS)])
    np.testing.assert_allclose(counts, quick, atol=1e-6)
    assert sorted(path.name for path in work.iterdir()) == ["in.jsonl", "out.parquet", "out.parquet.run.json"]


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_how_to_go_on_and_does_so(work: Path, number: signal.Signals, code: int) -> None:
    process = started(work, *EMBED)
    until_embedding(work, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert (
        err == "vjaccel: stopped; out.parquet is not written yet: the same command goes on where this one was stopped\n"
    )
    assert not (work / "out.parquet").exists()
    settled = acknowledged(work)
    assert settled
    err = finished(work, *EMBED)
    assert "vjaccel: going on with out.parquet: " in err
    assert f" of {ROWS:,} rows are settled" in err
    check_output(work)
    texts = asked(work)
    assert len(texts) == len(set(texts)), "what was in flight was finished, and nothing was paid for twice"


@pytest.mark.usefixtures("interrupts")
def test_a_second_interrupt_stops_at_once_and_the_run_can_go_on(work: Path) -> None:
    process = started(work, *EMBED)
    until_embedding(work, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command goes on" in err
    finished(work, *EMBED, "--resume")
    check_output(work)


def killed_often(work: Path, times: int, seed: int) -> None:
    """Kill a run at random moments, and check each time that nothing acknowledged is asked for again."""
    moments = random.Random(seed)  # moments, no secrets
    for _ in range(times):
        process = started(work, *EMBED)
        until_embedding(work, process, more=1, or_ended=True)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=PATIENCE)
        if (work / "out.parquet").exists():
            break
        settled = {text(row) for row in acknowledged(work)}
        (work.parent / "asked").rename(work.parent / "before")
        (work.parent / "asked").touch()
        again = started(work, *EMBED)
        until_embedding(work, again, more=1, or_ended=True)
        again.kill()
        again.communicate(timeout=PATIENCE)
        assert not settled & set(asked(work))
    finished(work, *EMBED)
    check_output(work)


def test_a_run_that_is_killed_at_random_moments_pays_for_nothing_twice(work: Path) -> None:
    killed_often(work, 2, seed=1)


@pytest.mark.soak
def test_a_run_that_is_killed_twenty_times_pays_for_nothing_twice(work: Path) -> None:
    killed_often(work, 20, seed=2)


def test_a_run_that_is_killed_while_its_output_is_put_together_embeds_nothing_again(work: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    process = started(work, *EMBED)
    while not list(work.glob(".out.parquet.*.partial")):
        assert time.monotonic() < deadline
        if process.poll() == 0:  # it was faster than we have looked
            (work / "out.parquet").unlink()
            process = started(work, *EMBED, "--restart")
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert not (work / "out.parquet").exists()
    (work.parent / "asked").unlink()
    finished(work, *EMBED)
    assert not (work.parent / "asked").exists()
    check_output(work)


@pytest.mark.parametrize("torn", ["journal.jsonl", "vectors.f32"])
def test_a_file_of_the_journal_that_is_torn_costs_what_it_held_and_no_more(work: Path, torn: str) -> None:
    process = started(work, *EMBED)
    until_embedding(work, process, more=5)
    process.kill()
    process.communicate(timeout=PATIENCE)
    file = work / "out.parquet.journal" / torn
    file.write_bytes(file.read_bytes()[:-7])
    finished(work, *EMBED)
    check_output(work)


def test_an_input_that_is_edited_while_it_is_embedded_ends_the_run_without_an_output(work: Path) -> None:
    process = started(work, *EMBED)
    until_embedding(work, process)
    content = (work / "in.jsonl").read_text()
    (work / "in.jsonl").write_text(content.replace("SLOW 1", "WOLS 1"))  # as many rows, and as many bytes
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err == "vjaccel: in.jsonl has changed while it was read: begin the run anew\n"
    assert not (work / "out.parquet").exists()
    assert "--restart would begin anew" in finished(work, *EMBED, code=1)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.soak), "int8"])
def test_a_run_begun_anew_and_stopped_goes_on_with_what_it_has_embedded_anew(work: Path, precision: str) -> None:
    command = (*EMBED, "--precision", precision)
    finished(work, *command)
    before = pq.read_table(work / "out.parquet")
    (work.parent / "asked").unlink()
    process = started(work, *command, "--restart")
    until_embedding(work, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert err == (
        "vjaccel: stopped; out.parquet is not written anew yet: the same command without --restart goes on where this one "
        "was stopped\n"
    )
    settled = len(asked(work))
    assert 0 < settled < ROWS / 2
    assert f"going on with out.parquet: {settled:,} of {ROWS:,} rows are settled" in finished(work, *command)
    texts = asked(work)
    assert len(texts) == len(set(texts)) == len({text(i) for i in range(ROWS)}), "all of it anew, and once"
    after = pq.read_table(work / "out.parquet")
    np.testing.assert_allclose(after["embedding"].to_pylist(), before["embedding"].to_pylist(), atol=1e-6)


def test_an_output_that_was_deleted_is_made_again(work: Path) -> None:
    finished(work, *EMBED)
    (work / "out.parquet").unlink()
    finished(work, *EMBED)
    check_output(work)


@pytest.mark.parametrize("output", ["out.parquet", pytest.param("out.jsonl", marks=pytest.mark.soak), "out.npy"])
def test_a_disk_that_fills_up_is_one_sentence_and_what_is_done_is_kept(work: Path, output: str) -> None:
    command = ("embed", "in.jsonl", "-o", output, "--model", "letters:128")
    process = started(work, *command, file_kilobytes=256)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert err == (
        f"vjaccel: cannot write {output}.journal: File too large; what is done is kept, and the same command goes on\n"
    )
    assert sorted(path.name for path in work.iterdir()) == ["in.jsonl", f"{output}.journal"]
    kept = {text(row) for row in acknowledged(work, output)}
    assert kept
    (work.parent / "asked").unlink()
    finished(work, *command)
    assert not kept & set(asked(work)), "what the first has done was not done again"


@pytest.mark.parametrize("output", ["out.parquet", "lance:notes"])
def test_a_disk_too_full_for_the_index_of_texts_is_one_sentence(
    work: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(work.parent))
    command = ("embed", "in.jsonl", "-o", output, "--model", "letters:2")
    process = started(work, *command, file_kilobytes=16)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.count("\n")) == (1, 1), err
    assert err.startswith("vjaccel: cannot write ")
    assert "/seen.sqlite: " in err
    assert err.endswith("; what is done is kept, and the same command goes on\n")
    finished(work, *command)


def test_a_small_disk_that_fills_up_is_one_sentence_and_what_is_done_is_kept(small_disk: Path) -> None:
    work = small_disk
    command = ("embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:512")
    _, err = started(work, *command).communicate(timeout=PATIENCE)
    assert err == (
        "vjaccel: cannot write out.parquet.journal: No space left on device; what is done is kept, and the same command "
        "goes on\n"
    )
    kept = {text(row) for row in acknowledged(work)}
    assert kept
    (work.parent / "asked").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(work)], check=True)
    finished(work, *command)
    assert not kept & set(asked(work)), "what the first has done was not done again"
    assert pq.read_table(work / "out.parquet").num_rows == ROWS


@pytest.mark.parametrize("signals", [1, 2])
def test_standard_input_cannot_be_resumed_and_says_so(
    work: Path, monkeypatch: pytest.MonkeyPatch, signals: int
) -> None:
    spooled = work.parent / "spooled"
    spooled.mkdir()
    monkeypatch.setenv("TMPDIR", str(spooled))
    process = started(work, "embed", "-", "-o", "out.parquet", "--model", "letters:32")
    assert process.stdin is not None
    process.stdin.write((work / "in.jsonl").read_text())
    process.stdin.close()
    process.stdin = None
    until_embedding(work, process)
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert err.strip() == "vjaccel: stopped; out.parquet was not written, and standard input cannot be resumed"
    assert not list(spooled.iterdir())
    if signals == 1:
        assert sorted(path.name for path in work.iterdir()) == ["in.jsonl"]


def test_a_reader_that_goes_away_is_no_traceback(work: Path) -> None:
    (work / "few.txt").write_text("".join(f"text {i}\n" for i in range(3000)))
    finished(work, "embed", "few.txt", "-o", "out.parquet", "--model", "letters:64")
    with started(work, "search", "out.parquet", "text", "-k", "3000", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"id"')
        process.stdout.close()
        assert process.stderr.read() == ""
