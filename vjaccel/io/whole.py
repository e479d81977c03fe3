"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vjaccel.errors import OutputError

__all__ = ["check_place", "remove_partial", "whole_file", "whole_pair", "writing"]


def check_place(path: Path) -> None:
    """Refuse, before anything is computed, a file that could not be written.

    Raises
    ------
    OutputError
        It is a folder, or its own folder is not there or cannot be written to.
    """
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {folder}")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {path}: {'it is a folder' if path.is_dir() else f'no permission in {folder}'}")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, beside `path`; it takes that name when the block ends, and goes when the block fails.

    Raises
    ------
    OutputError
        It cannot be made, or put under its name.
    """
    target = Path(os.path.realpath(path))
    # As `remove_partial` finds it.
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with writing(path):
        file = partial.open("wb")
    try:
        try:
            yield file
            with writing(path):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with writing(path):
                file.close()
        with writing(path):
            partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def remove_partial(path: Path) -> None:
    """Remove what processes that were killed have left of `path`, which nobody may be writing."""
    target = Path(os.path.realpath(path))
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9]+\.partial")
    for left in target.parent.iterdir():
        if name.fullmatch(left.name):
            left.unlink(missing_ok=True)


@contextmanager
def whole_pair(path: Path, beside: Path | None) -> Iterator[Path]:
    """A path to write at, which becomes `path` when the block ends; what lies beside it then, under the name of `beside`, too.

    No two files that do not belong together are there at any moment: the old one goes before the other is replaced. Where
    there is no `beside`, it is `path` itself.

    Raises
    ------
    OutputError
    """
    if beside is None:
        yield path
        return
    target, other = Path(os.path.realpath(path)), Path(os.path.realpath(beside))
    with writing(path):
        folder = tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".pair", dir=target.parent)
    with folder as inside:
        written = Path(inside) / path.name
        yield written
        with writing(path):
            target.unlink(missing_ok=True)
            written.with_name(beside.name).replace(other)
            written.replace(target)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong inside it is the error of writing `path`.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc
