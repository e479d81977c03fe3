"""The file that says what a sharded collection is at present. Replacing it makes a change happen, in all shards at once.

It names a version of each shard's dataset. What a shard has beyond that is of a change that did not come to its end, and is
undone before the next.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from vjaccel.arrays.protocol import Metric
from vjaccel.collection.durable import synced
from vjaccel.collection.metadata import Column, Columns, Kind
from vjaccel.collection.opening import MANIFEST
from vjaccel.collection.store import Description, IndexKind
from vjaccel.errors import FileFormatError

__all__ = ["Index", "Manifest", "shard_folder"]

FORMAT = 1


class Index(NamedTuple):
    """An approximate index, as it was asked for."""

    kind: IndexKind
    partitions: int | None


class Manifest(NamedTuple):
    """A state of a sharded collection.

    Attributes
    ----------
    description : Description
    version : int
        Of the whole; each change makes another.
    next_order : int
        The number of the next new row, counted over all shards.
    columns : dict of str to Column
        All shards have them.
    placed : int
        Into how many shards new rows go: all, but while shards are added.
    versions : tuple of int
        Of each shard's dataset.
    indexed_by : Index or None
        What the shards have which have rows enough.
    """

    description: Description
    version: int
    next_order: int
    columns: Columns
    placed: int
    versions: tuple[int, ...]
    indexed_by: Index | None = None

    @property
    def is_growing(self) -> bool:
        """Whether rows are still to be moved to shards that were added."""
        return self.placed < len(self.versions)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """That of the collection in `folder`.

        Raises
        ------
        FileFormatError
        """
        path = folder / MANIFEST
        if not path.exists():
            raise FileFormatError(f"there is no sharded collection at {folder} any longer: {MANIFEST} is gone")
        try:
            found = json.loads(path.read_text())
            if found["format"] != FORMAT:
                raise FileFormatError(
                    f"{path} has format {found['format']}, and this vjaccel reads {FORMAT}: use a newer one"
                )
            columns = {key: Column(Kind(kind), is_list) for key, (kind, is_list) in found["columns"].items()}
            description = Description(int(found["dim"]), Metric(found["metric"]), found["model"])
            index = found.get("index")
            return cls(
                description, int(found["version"]), int(found["next_order"]), columns, int(found["placed"]),
                tuple(map(int, found["versions"])), None if index is None else Index(*index),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            if isinstance(exc, FileFormatError):
                raise
            raise FileFormatError(f"{path} is damaged: put it back from a copy") from exc

    def write(self, folder: Path, *, sync: bool) -> None:
        """Make this the state of the collection in `folder`: wholly, or not at all."""
        dim, metric, model = self.description
        content = {
            "format": FORMAT, "dim": dim, "metric": metric.value, "model": model, "version": self.version,
            "next_order": self.next_order, "placed": self.placed, "versions": self.versions,
            "columns": {key: [kind.value, is_list] for key, (kind, is_list) in self.columns.items()}, "index": self.indexed_by,
        }  # fmt: skip
        new = folder / f"{MANIFEST}.new"  # one at a time is written, under the writer's lock
        new.write_text(json.dumps(content, ensure_ascii=False, indent=1))
        if sync:
            synced(new)
        os.replace(new, folder / MANIFEST)
        if sync:
            synced(folder)


def shard_folder(folder: Path, shard: int) -> Path:
    """Where a shard's dataset is."""
    return folder / f"shard-{shard:04d}"
