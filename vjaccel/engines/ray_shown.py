"""What is shown of a run on a Ray cluster while it goes on: its shards' journals tell it, in the folder that all see."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vjaccel.embedding.journal_folder import RECORDING, recorded
from vjaccel.engines.shards import shard_paths
from vjaccel.telemetry import Recording

__all__ = ["Shown"]


class Shown:
    """Has `recording` tell of all shards: of those that are under way as far as their workers have written it down.

    Parameters
    ----------
    folder : Path
        Of the shards' journals.
    sizes : dict of int to int
        By the first row of a shard, how many rows are to be embedded.
    recording : Recording
    seconds : float
        After which the folder is looked at again.
    """

    def __init__(self, folder: Path, sizes: Mapping[int, int], recording: Recording, seconds: float) -> None:
        self._folder, self._sizes, self._seconds = folder, sizes, seconds
        self._recording = recording
        self._had: dict[int, Recording] = {}
        self._written: dict[int, int] = {}
        self._settled: dict[int, int] = {}
        self._ended = set[int]()
        self._done = 0
        self._looked = time.monotonic()

    @property
    def done(self) -> int:
        """Rows that are settled, as far as is known."""
        return self._done

    def look(self) -> bool:
        """Take in what workers have written since; False where it is not time for that yet."""
        if time.monotonic() - self._looked < self._seconds:
            return False
        # Those that are there are under way: however many there are to be, no more than workers have.
        for own in shard_paths(self._folder):
            start = int(own.name)
            if start not in self._sizes or start in self._ended:
                continue
            with suppress(OSError):
                written = (own / RECORDING).stat().st_mtime_ns
                if written != self._written.get(start):
                    self._written[start] = written
                    self._take_in(start, recorded(own))
        self._looked = time.monotonic()
        return True

    def ended(self, start: int, part: Recording | None) -> None:
        """A shard is done; `part` is all that is known of it."""
        self._take_in(start, part)
        self._had.pop(start, None)
        self._written.pop(start, None)
        self._done += self._sizes[start] - self._settled.pop(start, 0)
        self._ended.add(start)

    def _take_in(self, start: int, part: Recording | None) -> None:
        if part is not None:
            self._recording.take_in(part.since(self._had.get(start)))
            self._had[start] = part
            settled = min(self._sizes[start], sum(part.outcomes.values()))
            self._done += settled - self._settled.get(start, 0)
            self._settled[start] = settled
