"""What runs in a Ray cluster's processes: a worker, which holds one embedder, and questions to nodes. It knows no Ray."""

from __future__ import annotations

import os
import pickle
import platform
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vjaccel import __version__
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.precision import Quantizer
from vjaccel.engines.exchange import Exchange, Given
from vjaccel.engines.shards import embed_shard
from vjaccel.errors import ClusterError, OutputError, VjaccelError
from vjaccel.io import Inputs
from vjaccel.io.arrow import arrow

__all__ = ["Done", "RemoteModel", "ShardWorker", "Work", "check_node", "check_version", "described_model"]

DEATHS = 2
"""Workers of a node that must have died while they loaded the model before it is taken to be what kills them."""


@dataclass(frozen=True, slots=True)
class Work:
    """What each worker is told when it begins; what it is to do comes later.

    Attributes
    ----------
    options : dict
        Of its `Embedder`.
    folder : Path
        Of the shards' journals; it may not be there yet.
    exchange : Exchange
        By which they tell what their model is, and are told what to do.
    version : str
        Of this library, where the run was begun.
    """

    options: dict[str, Any]
    inputs: Inputs
    folder: Path
    exchange: Exchange
    version: str

    def check_here(self) -> None:
        """Refuse a node that has come since the others were checked, and has not what they have.

        Raises
        ------
        ClusterError, FileFormatError, OutputError
        """
        check_node(self.version, self.inputs, self.exchange)


@dataclass(frozen=True)
class RemoteModel:
    """What is known of a model that a worker has loaded.

    Attributes
    ----------
    identity : ModelIdentity
        Of its vectors.
    dim : int or None
        Their width, where that is known before there is one.
    document_prompt : str
        What is put before each text.
    model : str
        ``provider:name``, as it was asked for.
    workers : int
        Batches at once, of each worker.
    """

    identity: ModelIdentity
    dim: int | None
    document_prompt: str
    model: str
    workers: int

    def asked_as(self, given: str) -> RemoteModel:
        """The same, by the name that the run was given: workers know the folder of a model by its whole path."""
        name = given.partition(":")[2]
        if self.identity.provider != "local":
            return self
        return replace(self, identity=replace(self.identity, model=name), model=given)

    def prompt_for(self, role: Literal["query", "document"] | None) -> str:
        return self.document_prompt

    def quantizer(self) -> Quantizer:
        return Quantizer(self.identity.precision)  # type: ignore[arg-type]  # as an embedder has it


def carried(exc: Exception) -> VjaccelError:
    """An exception on its way: of this library as it is, of others what it says and where."""
    if isinstance(exc, VjaccelError):
        return exc.with_traceback(None)
    said = str(exc).strip().partition("\n")[0]
    return ClusterError(f"a worker on {platform.node()} has failed: {type(exc).__name__}: {said}")


class Done(NamedTuple):
    """What has become of a shard.

    Attributes
    ----------
    start : int
        The first row of it.
    recording : dict or None
        What embedding it was like, as `Recording.to_dict` has it; None where there is nothing to tell.
    failure : VjaccelError or None
        What has ended it before its end.
    """

    start: int
    recording: dict[str, Any] | None
    failure: VjaccelError | None


class ShardWorker:
    """Embeds one shard after another. Whatever goes wrong is given back and not raised: Ray would try it again."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._embedder: Embedder | None = None
        self._given: Given | None = None
        self._failure: VjaccelError | None = None
        try:
            work.check_here()
            self._embedder = self._loaded()
        except Exception as exc:
            self._failure = failure = carried(exc)
            with suppress(OSError):  # its first shard tells it too
                work.exchange.tell(lambda: failure)

    def _loaded(self) -> Embedder:
        exchange, options = self._work.exchange, self._work.options
        with exchange.at_risk() as died:
            if died >= DEATHS:
                raise ClusterError(
                    f"{died} workers ended on {platform.node()} while they loaded {options['model']}: what ends a process "
                    "without a word is, as a rule, that there is no memory for it"
                )
            embedder = Embedder(**options)
            # Within it, as to say what a model is may be to read the whole of it.
            exchange.tell(lambda: _described(embedder))
        return embedder

    def __call__(self, batch: Any) -> Any:
        pa = arrow()
        done = [pickle.dumps(self._done(number)) for number in batch["number"].to_pylist()]
        return pa.table({"done": pa.array(done, pa.binary())})

    def _done(self, number: int) -> Done | None:
        """What becomes of a shard; None where there is none of that number."""
        start = 0
        try:
            if self._embedder is None:
                return Done(start, None, self._failure)
            self._given = self._given or self._work.exchange.waited_for()
            shard = None if self._given is None else self._given.shard(number)
            if self._given is None or shard is None:
                return None
            start = shard.start
            folder, inputs = self._work.folder, self._work.inputs
            recording = embed_shard(shard, inputs, self._embedder, folder, self._given.run, self._given.max_errors)
            return Done(start, None if recording is None else recording.to_dict(), None)
        except Exception as exc:
            return Done(start, None, carried(exc))


def described_model(options: dict[str, Any]) -> RemoteModel | VjaccelError:
    """What a worker with these options has."""
    try:
        with Embedder(**options) as embedder:
            return _described(embedder)
    except Exception as exc:
        return carried(exc)


def _described(embedder: Embedder) -> RemoteModel:
    # Before its width is asked for, as some tell it only then.
    identity = embedder.identity
    return RemoteModel(identity, embedder.dim, embedder.prompt_for("document"), embedder.model, embedder.workers)


def check_version(version: str) -> None:
    """Refuse a node that has another version of this library.

    Raises
    ------
    ClusterError
    """
    if version != __version__:
        raise ClusterError(f"it has vjaccel {__version__}, and the run {version}: install the same on all")


def check_node(version: str, inputs: Inputs, exchange: Exchange) -> None:
    """Refuse a node that has another version of this library, or not the inputs, or not the folder of the output.

    Raises
    ------
    ClusterError, FileFormatError, OutputError
    """
    check_version(version)
    inputs.check_here()
    folder = exchange.folder.parent
    if not exchange.is_there():
        raise OutputError(f"the folder {folder} is not the one that this run was begun in: a shared one is needed")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write in {folder}: no permission")
