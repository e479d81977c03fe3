"""The folder of a cache on disk, and the LMDB environment in it: made, opened, looked at, and set aside when it is damaged."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from vjaccel.errors import InvalidInput

__all__ = [
    "FORMAT",
    "Damaged",
    "Opened",
    "Unusable",
    "checked_folder",
    "is_damage",
    "lengthened",
    "opened",
    "set_aside",
]

NAME = "vjaccel-cache-"
FORMAT = f"{NAME}1"
"""The folder in a cache's folder that holds it; its name says the form of what is in it."""
ASIDE = "corrupt-"
DATA = "data.mdb"
READERS = 512
"""Threads of all processes that may read at one time."""


class Damaged(Exception):
    """What is in the folder is no cache, or not all of it."""


class Unusable(Exception):
    """The folder cannot be made, read or written."""


class Opened(NamedTuple):
    """An open environment.

    Attributes
    ----------
    env : lmdb.Environment
    index, blocks
        Its two databases: a row's address by key, and a block by its number.
    file : tuple of int
        What tells the file from another that comes to the same place.
    """

    env: Any
    index: Any
    blocks: Any
    file: tuple[int, int] | None


def checked_folder(folder: Path) -> Path:
    """The one name of a cache's folder.

    Raises
    ------
    InvalidInput
        It is a file, or holds a cache of another version's form.
    """
    folder = Path(os.path.realpath(folder.expanduser()))
    if folder.is_file():
        raise InvalidInput(f"the cache {folder} is a file; a cache is a folder: name another place")
    try:
        found = [path.name for path in folder.iterdir() if path.name.startswith(NAME)]
    except OSError:
        return folder  # whether it can be made and used is for `opened` to find out
    others = [name for name in found if name != FORMAT and not name.startswith(f"{FORMAT}.")]
    if others and FORMAT not in found:
        raise InvalidInput(
            f"the cache in {folder} is of another version of vjaccel ({others[0]}; this one reads {FORMAT}): "
            f"name another folder, or delete {folder / others[0]}"
        )
    return folder


def opened(folder: Path, map_size: int) -> Opened:
    """The environment in a cache's folder, made where there is none.

    Raises
    ------
    Damaged, Unusable
    """
    place = folder / FORMAT
    try:
        place.mkdir(parents=True, exist_ok=True)
        env = lmdb.open(
            str(place), map_size=map_size, max_dbs=2, max_readers=READERS, max_spare_txns=4,
            metasync=False,  # after a power cut the last batch may be gone; what is there is whole all the same
        )  # fmt: skip
    except OSError as exc:
        raise Unusable(exc.strerror or str(exc)) from exc
    except lmdb.Error as exc:
        raise (Damaged if is_damage(exc) else Unusable)(str(exc)) from exc
    try:
        env.reader_check()
        _check_length(env, place)
        return Opened(env, env.open_db(b"index"), env.open_db(b"blocks"), _file(place))
    except Damaged:
        env.close()
        raise
    except (lmdb.Error, OSError) as exc:
        env.close()
        raise (Damaged if is_damage(exc) else Unusable)(str(exc)) from exc


def is_damage(exc: BaseException) -> bool:
    """Whether an error is LMDB's, and says that the file is not as it was written: nothing of room, locks or the disk."""
    others = (lmdb.MapFullError, lmdb.MapResizedError, lmdb.ReadersFullError, lmdb.TlsFullError, lmdb.DbsFullError,
              lmdb.DiskError, lmdb.ReadonlyError, lmdb.LockError, lmdb.MemoryError, lmdb.InvalidParameterError)  # fmt: skip
    # What is none of LMDB's own codes is the system's, and of the class itself.
    return isinstance(exc, lmdb.Error) and type(exc) is not lmdb.Error and not isinstance(exc, others)


def lengthened(env: Any, folder: Path, beyond: int) -> None:
    """Make the file longer than what the next transaction, which goes on, can make of it.

    LMDB leaves a file short where it took the last pages and freed them at once; then one that was cut off looks the same. The
    bytes that nobody wrote take no room on the disk.

    Parameters
    ----------
    beyond : int
        Bytes that it will add at most, besides copies of pages there are.
    """
    data = folder / FORMAT / DATA
    wanted = min(int(env.info()["map_size"]), 2 * _length(env) + beyond)
    if data.stat().st_size < wanted:
        os.truncate(data, wanted)


def set_aside(folder: Path, file: tuple[int, int] | None) -> Path | None:
    """Move what is in a cache's folder out of the way, so that a new one can begin; where it now is.

    The folder is moved and not the file, so that a process that still has it open keeps file and lock together. One earlier is
    deleted: they can be large.

    Parameters
    ----------
    file : tuple of int, optional
        As in `Opened`. Where another is there already, some other process was first, and nothing is done.
    """
    place = folder / FORMAT
    if file is not None and _file(place) != file:
        return None
    aside = folder / f"{FORMAT}.{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    earlier = list(folder.glob(f"{FORMAT}.{ASIDE}*"))
    place.rename(aside)
    for path in earlier:
        shutil.rmtree(path, ignore_errors=True)
    return aside


def _file(place: Path) -> tuple[int, int] | None:
    try:
        found = (place / DATA).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_length(env: Any, place: Path) -> None:
    # A page that is in the map and not in the file ends the process with SIGBUS when it is read, and nothing can be caught.
    said = _length(env)  # first: other processes may be writing
    found = (place / DATA).stat().st_size
    if 0 < found < said:
        raise Damaged(f"it was cut off: {found} bytes of {said}")


def _length(env: Any) -> int:
    return int((env.info()["last_pgno"] + 1) * env.stat()["psize"])
