"""Where an input is: a file on a disk, an object that pyarrow's file systems read, or a version of a Lance dataset."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedIOBase, BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from vjaccel.errors import FileFormatError, InvalidInput, MissingExtra
from vjaccel.io.arrow import arrow

__all__ = [
    "LANCE",
    "InputFile",
    "LanceVersion",
    "LocalFile",
    "StoredObject",
    "input_file",
    "is_lance",
    "is_stored",
    "local_path",
]

LANCE = "lance:"
"""What the name of a Lance dataset may begin with, which as an output is a collection; otherwise it ends in ``.lance``."""

PORTION = 4 << 20
"""Bytes that are fetched from a store at once."""

State = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that this machine sees as one of its own.

    Attributes
    ----------
    path : Path
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """By whose end is known what is in it."""
        return self.path.name

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    def lasting(self) -> LocalFile:
        """It, wherever a process is."""
        return LocalFile(self.path.absolute())

    def state(self) -> State:
        """What is another when the file was written to, or another put in its place.

        Raises
        ------
        OSError
        """
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns, found.st_ino

    def same(self, here: State, there: State) -> bool:
        """Whether two machines that have these states may see one file: mounts have their own times and numbers."""
        return bool(here[0] == there[0])

    def open(self) -> BufferedIOBase:
        """Its bytes."""
        return self.path.open("rb")

    def unpacked(self) -> BufferedIOBase:
        """Its bytes, unpacked where its name ends in ``.gz``."""
        return gzip.GzipFile(self.path) if self.path.suffix == ".gz" else self.open()

    def parquet(self) -> Any:
        """A ``pyarrow.parquet.ParquetFile`` of it."""
        return arrow().parquet.ParquetFile(self.path)

    def digest(self) -> str:
        """The SHA-256 of its bytes."""
        return _digest_of(self)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a store, as ``s3://bucket/notes.jsonl``. Each process finds its own credentials, as pyarrow does.

    Attributes
    ----------
    uri : str
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        """By whose end is known what is in it."""
        return PurePosixPath(unquote(urlsplit(self.uri).path)).name

    @property
    def is_folder(self) -> bool:
        system, path = _system(self.uri)
        return bool(system.get_file_info(path).type.name == "Directory")

    def lasting(self) -> StoredObject:
        """It, wherever a process is."""
        return self

    def state(self) -> State:
        """What is another when another object was put in its place.

        Raises
        ------
        OSError
        """
        system, path = _system(self.uri)
        found = system.get_file_info(path)
        if found.type.name == "NotFound":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.uri)
        with system.open_input_file(path) as file:
            told = {name.lower(): value for name, value in (file.metadata() or {}).items()}
        return found.size, found.mtime_ns, told.get("etag", b"")

    def same(self, here: State, there: State) -> bool:
        """Whether two machines that have these states see one object."""
        return here == there

    def open(self) -> BufferedIOBase:
        """Its bytes."""
        system, path = _system(self.uri)
        return BufferedReader(system.open_input_file(path), PORTION)

    def unpacked(self) -> BufferedIOBase:
        """Its bytes, unpacked where its name ends in ``.gz``."""
        return _Unpacked(self.open()) if self.name.endswith(".gz") else self.open()

    def parquet(self) -> Any:
        """A ``pyarrow.parquet.ParquetFile`` of it."""
        system, path = _system(self.uri)
        # Not pre_buffer, which keeps all row groups that are asked for.
        return arrow().parquet.ParquetFile(system.open_input_file(path), buffer_size=PORTION)

    def digest(self) -> str:
        """The SHA-256 of its bytes."""
        return _digest_of(self)


InputFile = LocalFile | StoredObject


class _Unpacked(gzip.GzipFile):
    """One that, closed, closes what it reads."""

    def __init__(self, packed: BufferedIOBase) -> None:
        self._packed = packed
        super().__init__(fileobj=packed)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._packed.close()


@dataclass(frozen=True, slots=True)
class LanceVersion:
    """One version of a Lance dataset, which nothing changes.

    Attributes
    ----------
    uri : str
        A folder, or an address that Lance knows, as ``s3://bucket/notes.lance``.
    version : int
    """

    uri: str
    version: int

    @classmethod
    def latest(cls, name: str) -> LanceVersion:
        """That of the dataset which `name` names.

        Raises
        ------
        FileFormatError
            There is none.
        MissingExtra
        """
        where = name.removeprefix(LANCE)
        if not is_stored(where):
            where = str(local_path(where).absolute())
        return cls(where, int(_dataset(where, None).version))

    def __str__(self) -> str:
        return self.uri

    def state(self) -> State:
        """That it is there.

        Raises
        ------
        FileFormatError
        """
        return (int(_dataset(self.uri, self.version).version),)

    def same(self, here: State, there: State) -> bool:
        """Whether two machines see one dataset: those that see the version do."""
        return here == there

    def schema(self) -> Any:
        """Its columns, without what Lance says of them."""
        pa = arrow()
        return pa.schema([(field.name, field.type) for field in _dataset(self.uri, self.version).schema])

    def count(self) -> int:
        """Its rows."""
        return int(_dataset(self.uri, self.version).count_rows())

    def batches(self, size: int, start: int, stop: int) -> Iterator[Any]:
        """The rows from `start` to `stop`, in their order.

        Raises
        ------
        FileFormatError
        """
        dataset = _dataset(self.uri, self.version)
        try:
            yield from dataset.scanner(offset=start, limit=stop - start, batch_size=size).to_batches()
        except (OSError, ValueError) as exc:
            raise FileFormatError(f"{self.uri} cannot be read: {_first_line(exc)}") from exc

    def digest(self) -> str:
        """The SHA-256 of the names of its files, which Lance never writes twice."""
        fragments = [fragment.metadata.to_json() for fragment in _dataset(self.uri, self.version).get_fragments()]
        return hashlib.sha256(json.dumps(fragments, sort_keys=True).encode()).hexdigest()


def is_stored(name: str) -> bool:
    """Whether a name is the address of something that is on no disk of this machine."""
    return "://" in name and not name.startswith("file://")


def is_lance(name: str) -> bool:
    """Whether a name is that of a Lance dataset."""
    return name.startswith(LANCE) or name.rstrip("/").endswith(".lance")


def input_file(name: str) -> InputFile:
    """What a path, a ``file://`` or a store's address names; it need not be there.

    Raises
    ------
    InvalidInput
        It is no address that pyarrow knows, or it has a secret.
    """
    if is_stored(name):
        _system(name)
        return StoredObject(name)
    return LocalFile(local_path(name))


def local_path(name: str) -> Path:
    """The path that a path or a ``file://`` names."""
    return Path(url2pathname(urlsplit(name).path) if name.startswith("file://") else name)


@lru_cache(maxsize=64)
def _system(uri: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    arrow()
    from pyarrow.fs import FileSystem

    if urlsplit(uri).password is not None:
        raise InvalidInput(
            f"the address of {PurePosixPath(urlsplit(uri).path).name} has a secret, which would be written beside the output: "
            "give it by the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        system, path = FileSystem.from_uri(uri)
    except (arrow().ArrowException, ImportError, OSError) as exc:
        raise InvalidInput(f"{uri} is no address that pyarrow can read: {_first_line(exc)}") from exc
    return system, path


def _dataset(uri: str, version: int | None) -> Any:
    try:
        import lance
    except ImportError as exc:
        raise MissingExtra("reading a Lance dataset", "store") from exc
    try:
        return lance.dataset(uri, version=version)
    except (OSError, ValueError) as exc:
        there = "no Lance dataset" if version is None else f"no version {version} of a Lance dataset"
        raise FileFormatError(f"there is {there} at {uri}: {_first_line(exc)}") from exc


def _digest_of(file: InputFile) -> str:
    with file.open() as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().partition("\n")[0]
