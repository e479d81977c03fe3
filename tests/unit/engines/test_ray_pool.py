"""What a worker says at the moment at which another has told what the model is, is not lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.cluster import Resources, Workers
from vjaccel.embedding import ModelIdentity
from vjaccel.engines.exchange import exchange_for
from vjaccel.engines.ray_pool import Pool, RayRun
from vjaccel.engines.ray_stream import ShardStream
from vjaccel.engines.ray_worker import Done, RemoteModel, Work
from vjaccel.engines.shards import shards_path
from vjaccel.io import Inputs

MODEL = RemoteModel(ModelIdentity("letters", "8", None, 8, "", True), 8, "", "letters:8", 1)

# Moments at which two workers speak cannot be had of real ones.
RAY = SimpleNamespace(
    util=SimpleNamespace(client=SimpleNamespace(ray=SimpleNamespace(is_connected=lambda: False))),
    nodes=lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}],
)


@pytest.fixture
def pool_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[], Iterator[bytes]]], Pool]]:
    (tmp_path / "in.txt").write_text("one\n")
    output = tmp_path / "out.parquet"
    with exchange_for(output) as exchange:
        work = Work({}, Inputs([str(tmp_path / "in.txt")]), shards_path(output), exchange, vj.__version__)

        def pool(answers: Callable[[], Iterator[bytes]]) -> Pool:
            def done(stream: ShardStream, ray: Any) -> Iterator[bytes]:
                exchange.tell(lambda: MODEL)
                yield from answers()

            monkeypatch.setattr(ShardStream, "done", done)
            stream = ShardStream(1, work, Workers(), Resources())
            return Pool(RAY, stream, RayRun(Workers(), Resources()), np.array([0, 1]), "letters:8")

        yield pool


def test_the_reason_of_a_worker_that_has_failed(pool_of: Callable[[Callable[[], Iterator[bytes]]], Pool]) -> None:
    pool = pool_of(lambda: iter([pickle.dumps(Done(0, None, vj.ClusterError("it has failed")))]))
    pool.wait_for_model()
    assert pool.model.identity == MODEL.identity
    done = next(pool.done())
    assert done is not None
    assert str(done.failure) == "it has failed"


def test_that_the_cluster_has_failed(pool_of: Callable[[Callable[[], Iterator[bytes]]], Pool]) -> None:
    def fails() -> Iterator[bytes]:
        raise RuntimeError("no more")
        yield b""

    pool = pool_of(fails)
    pool.wait_for_model()
    with pytest.raises(vj.ClusterError, match=r"the cluster has failed: .*no more"):
        list(pool.done())
