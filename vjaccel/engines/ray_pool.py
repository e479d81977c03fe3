"""The workers of a run on a Ray cluster. They begin before the run does: what their model is, one of them tells."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel import __version__
from vjaccel.cluster import Resources, Workers, alive, on_every_node, said
from vjaccel.embedding.spread import options_of_one
from vjaccel.engines.dealing import dealt
from vjaccel.engines.exchange import exchange_for
from vjaccel.engines.ray_model import CLUSTER_SECONDS, Nodes, Waiting
from vjaccel.engines.ray_pace import RELEASED
from vjaccel.engines.ray_stream import ShardStream, done_shards
from vjaccel.engines.ray_worker import Done, RemoteModel, Work, check_node
from vjaccel.engines.shards import Shard, shards_path, stop_shards
from vjaccel.errors import ClusterError
from vjaccel.io import Inputs

__all__ = ["GOES_ON", "Pool", "RayRun", "pool_for"]

TOLD_SECONDS = 0.2
"""After which it is looked again whether a worker has its model."""

STOP_SECONDS = 8.0
"""How long workers may take to come to the end of their batches when the run is stopped."""

GOES_ON = "what is done is kept, and the same command goes on"


class RayRun(NamedTuple):
    """How a run is spread.

    Attributes
    ----------
    shard_rows : int or None
        Rows of each shard; by default large ones come first and small ones last.
    """

    workers: Workers
    resources: Resources
    shard_rows: int | None = None


@contextmanager
def pool_for(ray: Any, inputs: Inputs, options: dict[str, Any], output: Path, spread: RayRun) -> Iterator[Pool]:
    """Workers in the cluster that `ray` is connected to, each with an `Embedder` of `options`, for a run into `output`.

    Where no node has room for one, this is what makes an autoscaler add it.

    Raises
    ------
    ClusterError
        Nodes have not what is needed, or the cluster has gone, or for too long no node has had room.
    VjaccelError
        The model cannot be loaded.
    """
    amounts = spread.resources.amounts
    own = options_of_one(options, spread.workers.most, amounts["CPU"], amounts.get("GPU", 0.0))
    folder, output = shards_path(output.absolute()), output.absolute()
    starts = dealt(inputs.rows, spread.workers, spread.shard_rows)
    released = None if own.get("shared_limits") is None else folder / RELEASED
    with exchange_for(output) as exchange:
        work = Work(own, inputs, folder, exchange, __version__)
        stream = ShardStream(max(1, len(starts) - 1), work, spread.workers, spread.resources, released)
        with closing(Pool(ray, stream, spread, starts, options["model"])) as pool:
            on_every_node(ray, spread.resources, check_node, __version__, inputs, exchange)
            pool.wait_for_model()
            yield pool


class Pool:
    """Workers that load their model, and wait for what they are given.

    Parameters
    ----------
    name : str
        The model's, as the run was given it.

    Attributes
    ----------
    spread : RayRun
    starts : ndarray of int64
        Where shards may begin, and the end of the last.
    model : RemoteModel
        Known from when `wait_for_model` has returned.
    options : dict
        Of each worker's `Embedder`.
    folder : Path
        Of the shards' journals.
    """

    model: RemoteModel

    def __init__(self, ray: Any, stream: ShardStream, spread: RayRun, starts: np.ndarray, name: str) -> None:
        self.spread, self.starts = spread, starts
        self.options, self.folder = stream.work.options, stream.work.folder
        self._ray, self._stream, self._name = ray, stream, name
        self._found: queue.SimpleQueue[Done | Exception | None] = queue.SimpleQueue()
        self._kept: list[Done | Exception] = []
        self._exchange, self._given = stream.work.exchange, False
        self._stopped = threading.Event()
        # In a thread: whoever waits for Ray here could not be interrupted, and not look whether there is anybody left.
        self._reading = threading.Thread(target=self._read, name="vjaccel-ray", daemon=True)
        self._reading.start()

    def wait_for_model(self) -> None:
        """Have a worker tell what its model is.

        Raises
        ------
        ClusterError, and those of the worker
        """
        waiting = Waiting(self._ray, self._name, self._stream.resources)
        for each in self._answers(TOLD_SECONDS):
            told = self._exchange.told()
            if isinstance(told, RemoteModel):
                if each is not None:
                    self._kept.append(each)  # it is for whoever goes on
                self.model = told.asked_as(self._name)
                return
            failure = each.failure if isinstance(each, Done) else told
            if failure is not None:
                raise failure
            if isinstance(each, Exception):
                alive(self._ray)  # where the cluster has gone, that is said
                raise ClusterError(f"a worker ended while it loaded {self._name}: {said(each)}") from each
            waiting.look()
        raise ClusterError(f"workers see {self._exchange.folder.parent} no more, where they are to be told what to do")

    def give(self, run: dict[str, Any], max_errors: int | None, shards: list[Shard]) -> None:
        """Tell the workers what to do.

        Raises
        ------
        OutputError
        """
        self._given = True
        self._exchange.remove_those_of_killed_runs()
        self._exchange.give(run, max_errors, shards)

    def done(self) -> Generator[Done | None]:
        """What becomes of the shards, as they are done; None now and then while none is.

        Raises
        ------
        ClusterError
        """
        nodes = Nodes(self._ray, self._stream.resources)
        for each in self._answers(CLUSTER_SECONDS):
            if isinstance(each, Exception):
                raise ClusterError(f"the cluster has failed: {said(each)}; {GOES_ON}") from each
            if each is None:
                try:
                    gone = nodes.gone()
                except ClusterError as exc:
                    raise ClusterError(f"{exc}; {GOES_ON}") from exc
                if gone:
                    raise ClusterError(f"no node of the cluster has {self._stream.resources} any more: {GOES_ON}")
            yield each

    def close(self) -> None:
        """Have the workers end, what they have in hand before."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._exchange.end()
        # Where they were given nothing, nobody waits for them: they may be loading the model for minutes.
        if self._given and self._reading.is_alive():
            stop_shards(self.folder)
            self._reading.join(STOP_SECONDS)

    def _read(self) -> None:
        try:
            with closing(done_shards(self._ray, self._stream)) as done:
                for one in done:
                    each = pickle.loads(one)  # noqa: S301  # our own
                    if each is not None:
                        self._found.put(each)
                    if self._stopped.is_set():
                        return
            self._found.put(None)
        except Exception as exc:
            self._found.put(exc)

    def _answers(self, seconds: float) -> Generator[Done | Exception | None]:
        """What workers give back, until none gives any more; None after so many seconds in which nothing comes."""
        while self._kept:
            yield self._kept.pop()
        while True:
            try:
                each = self._found.get(timeout=seconds)
            except queue.Empty:
                yield None
                continue
            if each is None:
                return
            yield each
