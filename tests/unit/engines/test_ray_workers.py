"""A worker on a node that has come while the run goes on has what the others were checked for, or says what it lacks."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vjaccel as vj
from vjaccel.engines.ray_worker import Done, ShardWorker, Work
from vjaccel.engines.shards import cut, shards_path
from vjaccel.io import Inputs

ROWS = 3


@pytest.fixture
def work(tmp_path: Path) -> Work:
    (tmp_path / "in.txt").write_text("one\n" * ROWS)
    folder = shards_path(tmp_path / "out.parquet")
    folder.mkdir(parents=True)
    options = {"model": lambda texts: np.ones((len(texts), 2)), "name": "ones"}
    return Work(options, Inputs([str(tmp_path / "in.txt")]), folder, {}, None, vj.__version__)


def done(work: Work) -> Done:
    (shard,) = cut(np.ones(ROWS, np.bool_))
    answer = ShardWorker(work)(pa.table({"shard": [pickle.dumps(shard)]}))
    found: Done = pickle.loads(answer["done"][0].as_py())
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
    work.folder.rmdir()
    found = done(work)
    assert isinstance(found.failure, vj.OutputError)
    assert f"the folder {work.folder.parents[1]} is not the one that this run was begun in" in str(found.failure)


def test_a_node_that_does_not_see_an_input_says_so(work: Work, tmp_path: Path) -> None:
    (tmp_path / "in.txt").unlink()
    found = done(work)
    assert isinstance(found.failure, vj.FileFormatError)
    assert f"{tmp_path / 'in.txt'} cannot be read" in str(found.failure)
