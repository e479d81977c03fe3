"""Runs on a Ray cluster whose driver, workers or nodes are stopped or killed: no row is lost, none is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from tests.ray_nodes import ROOT, Nodes
from tests.unit.cli.letters import install, letters

PATIENCE = 120
ROWS = 1500
SHARD = 100
WORKER = "ray::MapWorker"

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


class Place:
    """A cluster, and what its processes note."""

    def __init__(self, folder: Path, nodes: int) -> None:
        install(folder / "plugins")
        self.log = folder / "asked"
        self.environment = {
            "PYTHONPATH": f"{folder / 'plugins'}:{ROOT}:{ROOT / 'backends'}", "LETTERS_LOG": str(self.log),
        }  # fmt: skip
        self.nodes = Nodes(nodes, self.environment)

    def asked(self) -> Counter[str]:
        """How often each text was embedded, by whichever process."""
        return Counter(self.log.read_text().splitlines()) if self.log.exists() else Counter()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("ray"), 2)
    with made.nodes:
        yield made


@pytest.fixture
def work(place: Place, tmp_path: Path) -> Path:
    place.log.unlink(missing_ok=True)
    write(tmp_path, text)
    return tmp_path


def write(work: Path, made: Callable[[int], str]) -> None:
    rows = ({"id": f"n{i}", "text": made(i), "n": i} for i in range(ROWS))
    (work / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def text(i: int) -> str:
    """Every tenth text has been there before; each takes its time."""
    return f"SLOW {i if i % 10 else i // 2:04}"


def started(place: Place, work: Path, *arguments: str, engine: str = "ray") -> subprocess.Popen[str]:
    command = ["embed", "in.jsonl", "-o", "out.parquet", "--model", "letters:32", "--engine", engine, *arguments]
    if engine == "ray":
        command += ["--address", place.nodes.address, "--shard-rows", str(SHARD)]
    return subprocess.Popen(
        [sys.executable, "-m", "vjaccel", *command], cwd=work, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | place.environment,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, out + err
    return out + err


def journals(work: Path, output: str) -> list[Path]:
    """Those of the run and of its shards."""
    return [*work.glob(f"{output}.journal/journal.jsonl"), *work.glob(f"{output}.journal/shards/[0-9]*/journal.jsonl")]


def acknowledged(work: Path, output: str = "out.parquet") -> set[str]:
    """The texts of all batches that a journal has."""
    found = set[str]()
    for path in journals(work, output):
        first = 0 if path.parent.name == f"{output}.journal" else int(path.parent.name)
        lines = path.read_text().splitlines(keepends=True)
        rows = (row for line in lines if line.endswith("\n") for row in json.loads(line).get("rows", []))
        found |= {text(first + row) for row in rows}
    return found


def until_embedding(
    work: Path, process: subprocess.Popen[str], texts: int = 150, *, or_ended: bool = False, output: str = "out.parquet"
) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if len(acknowledged(work, output)) >= texts:
                return
        except FileNotFoundError:
            pass  # a shard's, which was taken in
        if or_ended and process.poll() == 0:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers(place: Place) -> list[psutil.Process]:
    """The processes of the pool."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, around = process.info["cmdline"] or [""], process.info["environ"] or {}
        if command[0].startswith(WORKER) and around.get("LETTERS_LOG") == str(place.log):
            found.append(process)
    return found


def check_output(work: Path) -> None:
    """The output is an undisturbed run's, and nothing but it and its manifest is left."""
    table = pq.read_table(work / "out.parquet")
    assert table["id"].to_pylist() == [f"n{i}" for i in range(ROWS)]
    assert table["n"].to_pylist() == list(range(ROWS))
    quick = letters(32, [text(i).replace("SLOW", "WOLS") for i in range(ROWS)])
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist(), np.float32), quick, atol=1e-6)
    assert sorted(path.name for path in work.iterdir()) == ["in.jsonl", "out.parquet", "out.parquet.run.json"]
    told = json.loads((work / "out.parquet.run.json").read_text())["recording"]
    assert told["outcomes"]["embedded"] + told["unrecorded"] == len({text(i) for i in range(ROWS)}), "each once"


def statistics(work: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / "out.parquet.run.json").read_text())["statistics"]
    return found


def test_a_driver_that_is_killed_goes_on_with_all_that_was_done(place: Place, work: Path) -> None:
    killed_often(place, work, 1)


@pytest.mark.soak
def test_a_driver_that_is_killed_ten_times_goes_on_with_all_that_was_done(place: Place, work: Path) -> None:
    killed_often(place, work, 10)


def killed_often(place: Place, work: Path, times: int) -> None:
    moments = random.Random(times)  # moments, no secrets
    for _ in range(times):
        process = started(place, work, "--workers", "1:2")
        until_embedding(work, process, min(len(acknowledged(work)) + 100, 1300), or_ended=True)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=PATIENCE)
        if (work / "out.parquet").exists():
            break
        settled = acknowledged(work)
        assert settled
        before = place.asked()
    said = ended(started(place, work, "--workers", "2:2", "--resume"))
    assert f"of {ROWS:,} rows are settled" in said
    again = {one for one, count in place.asked().items() if count > before[one]}
    assert not settled & again, "what was acknowledged is not embedded again"
    check_output(work)


@pytest.mark.soak
@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_run_is_gone_on_with_by_the_local_engine(place: Place, work: Path) -> None:
    process = started(place, work, "--workers", "2:2")
    until_embedding(work, process)
    process.send_signal(signal.SIGINT)
    said = ended(process, 130)
    assert said.endswith(
        "vjaccel: stopped; out.parquet is not written yet: the same command goes on where this one was stopped\n"
    )
    settled, before = acknowledged(work), place.asked()
    assert "rows are settled" in ended(started(place, work, engine="local"))
    assert not settled & {one for one, count in place.asked().items() if count > before[one]}
    check_output(work)


@pytest.mark.soak
@pytest.mark.usefixtures("interrupts")
def test_a_run_into_a_collection_that_was_interrupted_embeds_nothing_twice(place: Place, work: Path) -> None:
    pytest.importorskip("lance")
    process = started(place, work, "--workers", "2:2", "-o", "lance:col")
    until_embedding(work, process, output="col")
    process.send_signal(signal.SIGINT)
    assert "stopped; what is done is in col" in ended(process, 130)
    settled, before = acknowledged(work, "col"), place.asked()
    said = ended(started(place, work, "-o", "lance:col", engine="local"))
    assert "rows were embedded by a run that was stopped" in said
    assert not settled & {one for one, count in place.asked().items() if count > before[one]}
    with vj.Collection.open(work / "col") as found:
        (rows,) = found.iter_batches(ROWS)
    assert sorted(rows.ids, key=lambda name: int(name[1:])) == [f"n{i}" for i in range(ROWS)]
    quick = letters(32, [text(about["n"]).replace("SLOW", "WOLS") for about in rows.metadata])
    np.testing.assert_allclose(rows.vectors, quick, atol=1e-6)
    assert not list(work.glob("*.journal"))


def test_a_worker_that_is_killed_and_a_node_that_is_removed_cost_what_they_had_in_flight(
    place: Place, work: Path
) -> None:
    process = started(place, work, "--workers", "2:2")
    until_embedding(work, process)
    found = workers(place)
    assert found
    found[0].kill()
    until_embedding(work, process, 500)
    place.nodes.remove()
    try:
        ended(process)
    finally:
        place.nodes.add()
    counts = place.asked()
    assert sum(counts.values()) - len(counts) <= 2 * 64, "one batch of each, and no more, was in flight"
    check_output(work)
    told = statistics(work)
    assert told["texts"] == told["embedded"] == len({text(i) for i in range(ROWS)}), "what the dead had done is counted"


def test_a_text_that_kills_its_worker_is_one_error(place: Place, work: Path) -> None:
    write(work, lambda i: "KILL" if i == 130 else f"quick {i}")
    process = started(place, work, "--workers", "1:2", "--json")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, out + err
    assert json.loads(out)["failed"] == 1, "Ray has nothing to say there of the dead"
    assert "raylet" not in err
    (error,) = [json.loads(line) for line in (work / "out.parquet.errors.jsonl").read_text().splitlines()]
    assert (error["index"], error["code"]) == (130, "EMBEDDING_GENERATION_FAILED")
    assert "workers have died embedding it" in error["message"]
    table = pq.read_table(work / "out.parquet")
    assert [i for i, vector in enumerate(table["embedding"].to_pylist()) if vector is None] == [130]
    assert place.asked()["KILL"] <= 8
    told = statistics(work)
    assert (told["texts"], told["embedded"]) == (ROWS, ROWS - 1)
    assert told["failures"] == {"EMBEDDING_GENERATION_FAILED": 1}


@pytest.mark.soak
def test_a_text_that_kills_its_worker_is_one_of_the_errors_that_a_run_is_to_bear(place: Place, work: Path) -> None:
    write(work, lambda i: "KILL" if i == 130 else f"quick {i}")
    said = ended(started(place, work, "--workers", "1:2", "--max-errors", "0"), 1)
    assert "max_errors is 0" in said
    assert "130 (EMBEDDING_GENERATION_FAILED)" in said


@pytest.mark.soak
def test_of_three_nodes_two_are_removed_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    place = Place(tmp_path_factory.mktemp("three"), 3)
    write(tmp_path, text)
    with place.nodes:
        process = started(place, tmp_path, "--workers", "1:3")
        for texts in (150, 600):
            until_embedding(tmp_path, process, texts)
            place.nodes.remove()
        ended(process)
    counts = place.asked()
    assert sum(counts.values()) - len(counts) <= 2 * 64
    check_output(tmp_path)
