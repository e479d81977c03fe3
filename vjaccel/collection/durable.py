"""Having the system write what Lance wrote: Lance itself asks for that never, so its files survive a kill but no power cut."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Durable"]


class Durable:
    """What of a dataset's folder is known to be on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()

    def before(self, transaction: Any) -> None:
        """Sync the data that a transaction is to bring, so that no manifest names what is not there."""
        operation = transaction.operation
        fragments = [*getattr(operation, "fragments", ()), *getattr(operation, "new_fragments", ())]
        paths = [f"data/{file.path}" for fragment in fragments for file in fragment.files]
        for fragment in getattr(operation, "updated_fragments", ()):
            if fragment.deletion_file is not None:
                paths.append(fragment.deletion_file.path(fragment.id))
        self._sync(paths)

    def after(self, dataset: Any, version: int) -> None:
        """Sync all that the versions of `dataset` after `version` consist of: manifests, transactions, data, indices."""
        paths = [
            path
            for batch in dataset.tracked_files(min_version=version + 1)
            for path in batch.column("path").to_pylist()
        ]
        self._sync(paths)
        self._known &= set(paths)  # what is no more need not be remembered

    def _sync(self, paths: Iterable[str]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        for path in new:
            _synced(self._folder / path)
        folders = {parent for path in new for parent in (self._folder / path).parents}
        for folder in sorted(folders, reverse=True):
            if folder == self._folder or self._folder in folder.parents:
                _synced(folder)
        self._known.update(new)


def _synced(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # an older version's, which has been cleaned up
    try:
        os.fsync(file)
    finally:
        os.close(file)
