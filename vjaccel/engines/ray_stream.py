"""Ray Data hands shards to a pool of workers: from this process, or, through ``ray://``, from one in the cluster."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any, NamedTuple

from vjaccel.engines.ray_cluster import HEAD, Resources, Workers, silent
from vjaccel.engines.ray_worker import ShardWorker, Work
from vjaccel.engines.shards import Shard

__all__ = ["ShardStream", "done_shards"]


class ShardStream(NamedTuple):
    """What Ray Data is to do."""

    shards: list[Shard]
    work: Work
    workers: Workers
    resources: Resources

    def done(self, ray: Any) -> Generator[bytes]:
        """A pickled `Done` for each shard, as it is done."""
        compute = ray.data.ActorPoolStrategy(min_size=self.workers.least, max_size=self.workers.most)
        rows = [{"shard": pickle.dumps(shard)} for shard in self.shards]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardWorker, fn_constructor_args=(self.work,), batch_size=1, batch_format="pyarrow", compute=compute,
            **self.resources.options(),
        )  # fmt: skip
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch["done"].to_pylist()


def done_shards(ray: Any, stream: ShardStream) -> Generator[bytes]:
    """A pickled `Done` for each shard, wherever this process is."""
    if not ray.util.client.ray.is_connected():
        yield from stream.done(ray)
        return
    # Ray Data asks for what a process that is no node's has not. Where the head is, as without it nobody is connected.
    there = ray.remote(num_cpus=0, resources={HEAD: 0.001})(_There).remote(stream)
    try:
        while (one := ray.get(there.next.remote())) is not None:
            yield one
    finally:
        ray.kill(there)


class _There:
    """A process of the cluster that has Ray Data."""

    def __init__(self, stream: ShardStream) -> None:
        self._done = stream.done(silent())

    def next(self) -> bytes | None:
        """What becomes of another shard; None where there is none."""
        return next(self._done, None)
