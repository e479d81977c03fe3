"""What the workers of a run are given to do, in a file that all nodes see: they begin before anybody knows it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.engines.shards import Shard
from vjaccel.io import whole_file

__all__ = ["Given", "give"]


def give(path: Path, run: dict[str, Any], max_errors: int | None, shards: list[Shard]) -> None:
    """Write at `path` what `Given` reads.

    Raises
    ------
    OutputError
    """
    each = [pickle.dumps(shard) for shard in shards]
    starts = np.cumsum([0, *map(len, each)])
    with whole_file(path) as file:
        pickle.dump((run, max_errors, starts), file)
        file.writelines(each)


class Given:
    """What is written at `path`.

    Attributes
    ----------
    run : dict
        All that determines the run's result.
    max_errors : int or None
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self.run, self.max_errors, self._starts = pickle.load(file)  # noqa: S301  # our own
            self._first = file.tell()

    def shard(self, number: int) -> Shard | None:
        """One of the shards, by its place among them; None behind the last. No other is read: of a large run they are long."""
        if number >= len(self._starts) - 1:
            return None
        with self._path.open("rb") as file:
            file.seek(self._first + int(self._starts[number]))
            found: Shard = pickle.load(file)  # noqa: S301  # our own
        return found
