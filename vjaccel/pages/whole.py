"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from vjaccel.errors import OutputError

__all__ = ["check_writable", "write_whole"]


def check_writable(path: Path) -> None:
    """Find out, before anything is computed, whether a file can be written.

    Raises
    ------
    OutputError
        It cannot; or something is there that is no file, as a device or a pipe.
    """
    try:
        if not path.name or path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is no file but a device, a pipe or a socket")
        _check_folder(path)
        part = _part(path)
        part.write_bytes(b"")
        part.unlink()
    except OutputError:
        raise
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def write_whole(path: Path, text: str) -> None:
    """Write a file; what stood at `path` stays until the new one is whole. A link stays one, to the new file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    _check_folder(path)
    part = _part(path)
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path.resolve())
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def _check_folder(path: Path) -> None:
    # As the outputs of runs have it.
    if not (folder := path.resolve().parent).is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {folder}")


def _part(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f".{path.name}.part")
