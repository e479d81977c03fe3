"""A worker on a node that has come while the run goes on has what the others were checked for, or says what it lacks."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vjaccel as vj
from vjaccel.cluster import Workers
from vjaccel.engines import exchange
from vjaccel.engines.dealing import dealt
from vjaccel.engines.exchange import exchange_for
from vjaccel.engines.ray_worker import Done, RemoteModel, ShardWorker, Work
from vjaccel.engines.shards import cut, shards_path
from vjaccel.io import Inputs

ROWS = 3


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    (tmp_path / "in.txt").write_text("one\n" * ROWS)
    output = tmp_path / "out.parquet"
    folder = shards_path(output)
    folder.mkdir(parents=True)
    options = {"model": lambda texts: np.ones((len(texts), 2)), "name": "ones"}
    with exchange_for(output) as exchange:
        yield Work(options, Inputs([str(tmp_path / "in.txt")]), folder, exchange, vj.__version__)


def asked(worker: ShardWorker, number: int) -> Done | None:
    answer = worker(pa.table({"number": [number]}))
    found: Done | None = pickle.loads(answer["done"][0].as_py())
    return found


def done(work: Work) -> Done:
    work.exchange.give({}, None, cut(np.ones(ROWS, np.bool_), dealt(ROWS, Workers(1, 1))))
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
    shutil.rmtree(work.exchange.folder)
    found = asked(ShardWorker(work), 0)
    assert isinstance(found, Done)
    assert isinstance(found.failure, vj.OutputError)
    assert f"the folder {work.exchange.folder.parent} is not the one that this run was begun in" in str(found.failure)


def test_a_node_that_does_not_see_an_input_says_so(work: Work, tmp_path: Path) -> None:
    (tmp_path / "in.txt").unlink()
    found = done(work)
    assert isinstance(found.failure, vj.FileFormatError)
    assert f"{tmp_path / 'in.txt'} cannot be read" in str(found.failure)


def test_a_worker_tells_what_its_model_is_before_there_is_anything_to_do(work: Work) -> None:
    assert work.exchange.told() is None
    ShardWorker(work)
    found = work.exchange.told()
    assert isinstance(found, RemoteModel)
    assert found.model == "function:ones"
    assert found.asked_as("function:ones").identity.provider == "function"


def test_a_worker_that_cannot_load_its_model_says_so_before_there_is_anything_to_do(work: Work) -> None:
    ShardWorker(replace(work, options={"model": "nobody:1"}))
    assert isinstance(work.exchange.told(), vj.VjaccelError)
    assert "nobody" in str(work.exchange.told())
    ShardWorker(work)
    assert isinstance(work.exchange.told(), vj.VjaccelError), "what was told first stays"


def test_workers_wait_for_what_they_are_given(work: Work) -> None:
    worker, shards = ShardWorker(work), cut(np.ones(ROWS, np.bool_), dealt(ROWS, Workers(), size=1))
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(asked, worker, 1)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        work.exchange.give({}, None, shards)
        found = waiting.result(30)
    assert isinstance(found, Done)
    assert found.start == 1
    assert asked(worker, ROWS) is None, "there is none behind the last"


def test_workers_of_a_run_that_has_nothing_to_do_leave(work: Work) -> None:
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(asked, ShardWorker(work), 0)
        work.exchange.end()
        assert waiting.result(30) is None


def test_workers_whose_run_has_ended_leave(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "UNSEEN_SECONDS", 0.2)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(asked, ShardWorker(work), 0)
        shutil.rmtree(work.exchange.folder)
        assert waiting.result(30) is None
    work.exchange.tell(lambda: 0)
    assert not work.exchange.folder.exists(), "nothing is written any more"


def test_a_worker_that_comes_when_the_others_are_at_work_finds_what_they_do(work: Work) -> None:
    work.exchange.give({}, None, cut(np.ones(ROWS, np.bool_), dealt(ROWS, Workers(1, 1))))
    work.exchange.end()
    found = asked(ShardWorker(work), 0)
    assert isinstance(found, Done)
    assert found.failure is None


def test_what_the_model_is_is_found_out_once(work: Work) -> None:
    work.exchange.tell(lambda: "this")
    work.exchange.tell(lambda: pytest.fail("it is known"))
    assert work.exchange.told() == "this"


def test_a_process_that_dies_at_risk_is_known_to_those_of_its_node(work: Work) -> None:
    dies = "import os, signal, sys; from pathlib import Path; from vjaccel.engines.exchange import Exchange\n"
    dies += "with Exchange(Path(sys.argv[1])).at_risk(): os.kill(os.getpid(), signal.SIGKILL)"
    for count in (0, 1):
        with work.exchange.at_risk() as died:
            assert died == count
        subprocess.run([sys.executable, "-c", dies, str(work.exchange.folder)])
    with work.exchange.at_risk() as died, work.exchange.at_risk() as beside:
        assert (died, beside) == (2, 2), "those that live are no dead"


def test_what_killed_calls_have_left_goes_when_the_run_goes_on(work: Work) -> None:
    output = work.exchange.folder.parent / "out.parquet"
    other = output.with_name("not.out.parquet")
    killed = output.with_name(f".{output.name}.{'0' * 32}.ray")
    killed.mkdir()
    (killed / "signal").touch()
    with exchange_for(output) as waiting, exchange_for(other) as elses:
        work.exchange.remove_those_of_killed_runs()
        assert (work.exchange.is_there(), waiting.is_there(), elses.is_there()) == (True, True, True)
    assert not killed.exists()
