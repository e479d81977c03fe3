"""Ray Data hands shards to a pool of workers: from this process, or, through ``ray://``, from one in the cluster."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from vjaccel.cluster import HEAD, Resources, Workers, silent
from vjaccel.engines.ray_pace import AHEAD, held_back
from vjaccel.engines.ray_worker import ShardWorker, Work

__all__ = ["ShardStream", "done_shards"]


class ShardStream(NamedTuple):
    """What Ray Data is to do.

    Attributes
    ----------
    most : int
        How many shards there can be, at least 1.
    released : Path or None
        Where it is written how many shards may go; None where all may at once.
    """

    most: int
    work: Work
    workers: Workers
    resources: Resources
    released: Path | None = None

    def done(self, ray: Any) -> Generator[bytes]:
        """A pickled `Done` for each shard, as it is done; a pickled None where there is no shard of a number."""
        rows = [{"number": number} for number in range(self.most)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        # Ray Data has more workers come while shards wait, and those go that have nothing to do when none waits any more.
        least, most = (min(x, self.most) for x in (self.workers.least, self.workers.most or self.most))
        pool = {"min_size": least, "max_size": most}
        if self.released is not None:
            dataset, pool["max_tasks_in_flight_per_actor"] = (
                held_back(ray, dataset, self.work.exchange, self.released),
                AHEAD,
            )
        compute = ray.data.ActorPoolStrategy(**pool)
        dataset = dataset.map_batches(
            ShardWorker, fn_constructor_args=(self.work,), batch_size=1, batch_format="pyarrow", compute=compute,
            **self.resources.options(),
        )  # fmt: skip
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from batch["done"].to_pylist()


def done_shards(ray: Any, stream: ShardStream) -> Generator[bytes]:
    """What `ShardStream.done` gives, wherever this process is."""
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
        """What is given back next; None where there is nothing more."""
        return next(self._done, None)
