"""A worker on a node that has come while the run goes on has what the others were checked for, or says what it lacks."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vjaccel as vj
from vjaccel.engines import ray_worker
from vjaccel.engines.given import give
from vjaccel.engines.ray_worker import Done, RemoteModel, ShardWorker, Work
from vjaccel.engines.shards import cut, shards_path
from vjaccel.io import Inputs

ROWS = 3


@pytest.fixture
def work(tmp_path: Path) -> Work:
    (tmp_path / "in.txt").write_text("one\n" * ROWS)
    folder, probe = shards_path(tmp_path / "out.parquet"), tmp_path / "probe"
    folder.mkdir(parents=True)
    probe.touch()
    options = {"model": lambda texts: np.ones((len(texts), 2)), "name": "ones"}
    return Work(options, Inputs([str(tmp_path / "in.txt")]), folder, probe, folder / "given", vj.__version__)


def asked(worker: ShardWorker, number: int) -> Done | None:
    answer = worker(pa.table({"number": [number]}))
    found: Done | None = pickle.loads(answer["done"][0].as_py())
    return found


def done(work: Work) -> Done:
    give(work.given, {}, None, cut(np.ones(ROWS, np.bool_)))
    found = asked(ShardWorker(work), 0)
    assert isinstance(found, Done)
    return found


def test_a_node_that_has_all_does_its_shard(work: Work) -> None:
    found = done(work)
    assert found.failure is None
    assert found.recording is not None
    assert found.recording["outcomes"] == {"embedded": ROWS}


def test_a_node_with_another_version_says_so(work: Work) -> None:
    found = done(replace(work, version="0.0.1"))
    assert isinstance(found.failure, vj.ClusterError)
    assert f"it has vjaccel {vj.__version__}, and the run 0.0.1" in str(found.failure)


def test_a_node_that_does_not_see_the_folder_of_the_output_says_so(work: Work) -> None:
    work.probe.unlink()
    found = asked(ShardWorker(work), 0)
    assert isinstance(found, Done)
    assert isinstance(found.failure, vj.OutputError)
    assert f"the folder {work.probe.parent} is not the one that this run was begun in" in str(found.failure)


def test_a_node_that_does_not_see_an_input_says_so(work: Work, tmp_path: Path) -> None:
    (tmp_path / "in.txt").unlink()
    found = done(work)
    assert isinstance(found.failure, vj.FileFormatError)
    assert f"{tmp_path / 'in.txt'} cannot be read" in str(found.failure)


def test_a_worker_tells_what_its_model_is_before_there_is_anything_to_do(work: Work) -> None:
    assert work.told() is None
    ShardWorker(work)
    found = work.told()
    assert isinstance(found, RemoteModel)
    assert found.model == "function:ones"
    assert found.asked_as("function:ones").identity.provider == "function"


def test_a_worker_that_cannot_load_its_model_says_so_before_there_is_anything_to_do(work: Work) -> None:
    ShardWorker(replace(work, options={"model": "nobody:1"}))
    assert isinstance(work.told(), vj.VjaccelError)
    assert "nobody" in str(work.told())
    ShardWorker(work)
    assert isinstance(work.told(), vj.VjaccelError), "what was told first stays"


def test_workers_wait_for_what_they_are_given(work: Work) -> None:
    worker, shards = ShardWorker(work), cut(np.ones(ROWS, np.bool_), 1)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(asked, worker, 1)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        give(work.given, {}, None, shards)
        work.probe.unlink()
        found = waiting.result(30)
    assert isinstance(found, Done)
    assert found.start == 1
    assert asked(worker, ROWS) is None, "there is none behind the last"


def test_workers_whose_run_has_ended_before_it_gave_them_anything_leave(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "SEEN_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(asked, ShardWorker(work), 0)
        work.probe.unlink()
        assert waiting.result(30) is None


def test_a_worker_that_comes_when_the_others_are_at_work_finds_what_they_do(work: Work) -> None:
    give(work.given, {}, None, cut(np.ones(ROWS, np.bool_)))
    work.probe.unlink()
    found = asked(ShardWorker(work), 0)
    assert isinstance(found, Done)
    assert found.failure is None
