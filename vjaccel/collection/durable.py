"""Having the system write what Lance wrote: Lance itself asks for that never, so its files survive a kill but no power cut."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Durable", "synced"]

LAST_VERSION = 2**64 - 1
"""Manifests are called by how far their version is from it."""


class Durable:
    """What of a dataset's folder is known to be on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()

    def before(self, transaction: Any) -> None:
        """Sync the data that a transaction is to bring, so that no manifest names what is not there."""
        operation = transaction.operation
        fragments = [
            fragment
            for name in ("fragments", "new_fragments", "updated_fragments")
            for fragment in getattr(operation, name, ())
        ]
        self._sync(_files_of(fragments))

    def committed(self, dataset: Any, transaction: Any) -> None:
        """Sync the version that a transaction made, whose data `before` has synced."""
        self._sync([_manifest(dataset.version), _record(transaction)])

    def everything(self, dataset: Any, before: int) -> None:
        """Sync all that `dataset` consists of, and what was made since the version `before`."""
        versions = range(before + 1, dataset.version + 1)
        paths = list(_files_of(fragment.metadata for fragment in dataset.get_fragments()))
        for index in dataset.describe_indices():
            for segment in index.segments:
                folder = self._folder / "_indices" / str(segment.uuid)
                paths += [f"_indices/{segment.uuid}/{name}" for name in sorted(os.listdir(folder))]
        # Lance's own reading of a transaction fails on one that moved rows under an index.
        begun = tuple(f"{version - 1}-" for version in versions)
        records = [name for name in os.listdir(self._folder / "_transactions") if name.startswith(begun)]
        paths += [*map(_manifest, versions), *(f"_transactions/{name}" for name in records)]
        self._sync(paths)
        self._known &= set(paths)  # what is no more need not be remembered

    def _sync(self, paths: Iterable[str]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        for path in new:
            synced(self._folder / path)
        folders = {folder for path in new for folder in Path(path).parents}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            synced(self._folder / folder)
        self._known.update(new)


def _files_of(fragments: Iterable[Any]) -> Iterator[str]:
    for fragment in fragments:
        yield from (f"data/{file.path}" for file in fragment.files)
        if fragment.deletion_file is not None:
            yield str(fragment.deletion_file.path(fragment.id))


def _manifest(version: int) -> str:
    return f"_versions/{LAST_VERSION - version:020d}.manifest"


def _record(transaction: Any) -> str:
    return f"_transactions/{transaction.read_version}-{transaction.uuid}.txn"


def synced(path: Path) -> None:
    """Have the system write a file, or the names of what is in a folder."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
