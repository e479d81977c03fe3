"""The folder of a cache on disk, and the LMDB environment in it: made, opened, looked at, and set aside when it is damaged."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from vjaccel.errors import InvalidInput

__all__ = ["FORMAT", "Damaged", "Opened", "Unusable", "checked_folder", "is_damage", "opened", "set_aside"]

NAME = "vjaccel-cache-"
FORMAT = f"{NAME}1"
"""The folder in a cache's folder that holds it; its name says the form of what is in it."""
ASIDE = "corrupt-"
DATABASES = (b"index", b"blocks")
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
        # Of a file without permissions LMDB would say the same, but of a folder it makes its lock in first.
        if not os.access(place, os.W_OK | os.X_OK):
            raise Unusable(f"no permission to write in {place}")
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
        _whole(env, place)
        index, blocks = map(env.open_db, DATABASES)
        return Opened(env, index, blocks, _file(place))
    except (lmdb.Error, OSError) as exc:
        env.close()
        raise (Damaged if is_damage(exc) else Unusable)(str(exc)) from exc


def is_damage(exc: BaseException) -> bool:
    """Whether an error of LMDB's says that the file is not as it was written."""
    kinds = (lmdb.CorruptedError, lmdb.InvalidError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.VersionMismatchError,
             lmdb.BadTxnError, lmdb.BadValsizeError, lmdb.IncompatibleError)  # fmt: skip
    return isinstance(exc, kinds)


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
        found = (place / "data.mdb").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _whole(env: Any, place: Path) -> None:
    """Make the file as long as it says that it is, and look whether what was missing was in use.

    A page that is in the map and not in the file ends the process with SIGBUS when it is read, and nothing can be caught. LMDB
    itself leaves a file short where its last pages were freed in the batch that took them, so short is not yet damaged.

    Raises
    ------
    lmdb.Error
        It was.
    """
    data = place / "data.mdb"
    with env.begin(write=True):  # nobody writes meanwhile
        said = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if not 0 < data.stat().st_size < said:
            return
        os.truncate(data, said)
    for name in DATABASES:
        database = env.open_db(name)
        with env.begin(db=database, buffers=True) as txn:
            for _ in txn.cursor().iternext(values=False):
                pass
