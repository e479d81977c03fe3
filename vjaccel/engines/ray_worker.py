"""What runs in a Ray cluster's processes: a worker, which holds one embedder, and questions to nodes. It knows no Ray."""

from __future__ import annotations

import os
import pickle
import platform
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from vjaccel import __version__
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.precision import Quantizer
from vjaccel.engines.given import Given
from vjaccel.engines.shards import embed_shard
from vjaccel.errors import ClusterError, OutputError, VjaccelError
from vjaccel.io import Inputs
from vjaccel.io.arrow import arrow

__all__ = ["Done", "RemoteModel", "ShardWorker", "Work", "check_node", "check_version", "described_model"]

LOOK_SECONDS = 0.05

SEEN_SECONDS = 90.0
"""How long a shared folder may take to show what another node has written."""


@dataclass(frozen=True, slots=True)
class Work:
    """What each worker is told when it begins; what it is to do comes later.

    Attributes
    ----------
    options : dict
        Of its `Embedder`.
    folder : Path
        Of the shards' journals; it may not be there yet.
    probe : Path
        A file that is there until they are given something to do. It is empty until a worker has written what its model is, or
        why it has none.
    given : Path
        Where what they are to do is written then.
    version : str
        Of this library, where the run was begun.
    """

    options: dict[str, Any]
    inputs: Inputs
    folder: Path
    probe: Path
    given: Path
    version: str

    def check_here(self) -> None:
        """Refuse a node that has come since the others were checked, and has not what they have.

        Raises
        ------
        ClusterError, FileFormatError, OutputError
        """
        check_version(self.version)
        self.inputs.check_here()
        _check_folder(self.probe.parent, there=self.probe.is_file() or self.given.is_file())

    def tell(self, model: RemoteModel | VjaccelError) -> None:
        """Write what the model is, or why it cannot be loaded, unless another worker has.

        Raises
        ------
        OSError
        """
        if self.probe.exists() and not self.probe.read_bytes():
            own = self.probe.with_name(f"{self.probe.name}.{uuid4().hex}")
            own.write_bytes(pickle.dumps(model))
            own.replace(self.probe)

    def told(self) -> RemoteModel | VjaccelError | None:
        """What a worker has written; None before.

        Raises
        ------
        OSError
        """
        said = self.probe.read_bytes()
        return pickle.loads(said) if said else None  # noqa: S301  # our own

    def waited_for(self) -> Given | None:
        """What there is to do, once it is written; None where the run has ended before."""
        gone: float | None = None
        while not self.given.is_file():
            if not self.probe.exists():
                # A shared folder may show late that it has a new file.
                gone = gone or time.monotonic()
                if time.monotonic() - gone > SEEN_SECONDS:
                    return None
            time.sleep(LOOK_SECONDS)
        return Given(self.given)


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
        self._given: Given | None = None
        self._failure: VjaccelError | None = None
        try:
            work.check_here()
            embedder = Embedder(**work.options)
            work.tell(_described(embedder))
            self._embedder = embedder
        except Exception as exc:
            self._failure = carried(exc)
            with suppress(OSError):  # by its shards it is told too
                work.tell(self._failure)

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
            self._given = self._given or self._work.waited_for()
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
