"""What runs in a Ray cluster's processes: a worker, which holds one embedder, and questions to nodes. It knows no Ray."""

from __future__ import annotations

import os
import pickle
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vjaccel import __version__
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.precision import Quantizer
from vjaccel.engines.shards import Shard, embed_shard
from vjaccel.errors import ClusterError, OutputError, VjaccelError
from vjaccel.io import Inputs
from vjaccel.io.arrow import arrow

__all__ = ["Done", "RemoteModel", "ShardWorker", "Work", "check_node", "check_version", "described_model"]


@dataclass(frozen=True, slots=True)
class Work:
    """What each worker is given.

    Attributes
    ----------
    options : dict
        Of its `Embedder`.
    folder : Path
        Of the shards' journals.
    run : dict
        All that determines the run's result.
    version : str
        Of this library, where the run was begun.
    """

    options: dict[str, Any]
    inputs: Inputs
    folder: Path
    run: dict[str, Any]
    max_errors: int | None
    version: str

    def check_here(self) -> None:
        """Refuse a node that has come since the others were checked, and has not what they have.

        Raises
        ------
        ClusterError, FileFormatError, OutputError
        """
        check_version(self.version)
        self.inputs.check_here()
        _check_folder(self.folder.parent.parent, there=self.folder.is_dir())


@dataclass(frozen=True)
class RemoteModel:
    """What is known of a model that a worker has loaded."""

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
    """What has become of a shard."""

    start: int
    recording: dict[str, Any] | None
    failure: VjaccelError | None


class ShardWorker:
    """Embeds one shard after another. Whatever goes wrong is given back and not raised: Ray would try it again."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._embedder: Embedder | None = None
        self._failure: VjaccelError | None = None
        try:
            work.check_here()
            self._embedder = Embedder(**work.options)
        except Exception as exc:
            self._failure = carried(exc)

    def __call__(self, batch: Any) -> Any:
        pa = arrow()
        done = [pickle.dumps(self._done(pickle.loads(one))) for one in batch["shard"].to_pylist()]  # noqa: S301  # our own
        return pa.table({"done": pa.array(done, pa.binary())})

    def _done(self, shard: Shard) -> Done:
        work, failure = self._work, self._failure
        if self._embedder is not None:
            try:
                recording = embed_shard(shard, work.inputs, self._embedder, work.folder, work.run, work.max_errors)
                return Done(shard.start, None if recording is None else recording.to_dict(), None)
            except Exception as exc:
                failure = carried(exc)
        return Done(shard.start, None, failure)


def described_model(options: dict[str, Any]) -> RemoteModel | VjaccelError:
    """What a worker with these options has."""
    try:
        with Embedder(**options) as embedder:
            # Before its width is asked for, as some tell it only then.
            identity = embedder.identity
            return RemoteModel(
                identity, embedder.dim, embedder.prompt_for("document"), embedder.model, embedder.workers
            )
    except Exception as exc:
        return carried(exc)


def check_version(version: str) -> None:
    """Refuse a node that has another version of this library.

    Raises
    ------
    ClusterError
    """
    if version != __version__:
        raise ClusterError(f"it has vjaccel {__version__}, and the run {version}: install the same on all")


def check_node(version: str, inputs: Inputs, output: Path, probe: Path) -> None:
    """Refuse a node that has another version of this library, or not the inputs, or not the folder of the output.

    Raises
    ------
    ClusterError, FileFormatError, OutputError
    """
    check_version(version)
    inputs.check_here()
    _check_folder(output.parent, there=probe.is_file())


def _check_folder(folder: Path, *, there: bool) -> None:
    """Refuse the folder of an output where what the run has made in it is not `there`, or nothing can be written."""
    if not there:
        raise OutputError(f"the folder {folder} is not the one that this run was begun in: a shared one is needed")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write in {folder}: no permission")
