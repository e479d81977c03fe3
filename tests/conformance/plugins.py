"""Backends of other distributions, installed for a while: a folder on the path with the metadata that pip would write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path

from vjaccel.arrays import registry

__all__ = ["installed", "write_metadata"]


def write_metadata(folder: Path, distribution: str, entries: dict[str, str]) -> None:
    """The dist-info of `distribution`, which registers the backends `entries` (name -> ``module:Class``)."""
    information = folder / f"{distribution}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"[{registry.GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def installed(folder: Path, distribution: str, entries: dict[str, str]) -> Iterator[None]:
    """Inside it `distribution` is installed, in `folder`."""
    write_metadata(folder, distribution, entries)
    sys.path.insert(0, str(folder))
    invalidate_caches()
    registry.refresh()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        registry.refresh()
