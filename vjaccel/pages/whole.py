"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from vjaccel.errors import OutputError

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write a file; what stood at `path` stays until the new one is whole.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc
