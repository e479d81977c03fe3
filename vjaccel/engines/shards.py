"""Shards of a run: consecutive rows that one worker embeds, each with a journal of its own within the run's.

What a shard's journal has goes into the run's when the shard is done, or when the run goes on after it was stopped: so a run
that one engine has begun can be gone on with by any other.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vjaccel.embedding import Embedder, Progress
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.journal import Journal
from vjaccel.embedding.journal_folder import changed, described, last_part, recorded
from vjaccel.engines.dealing import groups_of
from vjaccel.engines.rows import embed_rows
from vjaccel.engines.standing import journal_path
from vjaccel.errors import OutputError
from vjaccel.io import Inputs, whole_file
from vjaccel.telemetry import Recording

__all__ = [
    "Shard",
    "cut",
    "embed_shard",
    "shard_path",
    "shard_paths",
    "shards_path",
    "stop_shards",
    "take_in",
    "take_in_shards",
]

PATIENCE = 30.0
"""Seconds that a worker whose run was killed may take to let go of a shard."""

STOP = "stop"
"""A file among the shards' journals, which tells that the run is stopped."""

TAKEN = "taken"
"""A folder there, with an empty file for each shard of which the journal of the run has all."""


class Shard(NamedTuple):
    """Rows from `start` to `stop`; `wanted`, bits, are those that are to be embedded."""

    start: int
    stop: int
    wanted: bytes

    @property
    def rows(self) -> np.ndarray:
        """Those that are to be embedded, counted from the first row of the shard, int64."""
        return np.flatnonzero(np.unpackbits(np.frombuffer(self.wanted, np.uint8), count=self.stop - self.start))


def cut(wanted: np.ndarray, starts: np.ndarray) -> list[Shard]:
    """The shards that begin at `starts` and have any row that is `wanted`, bool (rows,); the end of the last is one of them."""
    parts = ((start, wanted[start:stop]) for start, stop in pairwise(starts.tolist()))
    return [Shard(start, start + len(part), np.packbits(part).tobytes()) for start, part in parts if part.any()]


def shards_path(output: Path) -> Path:
    """The folder of the shards' journals."""
    return journal_path(output) / "shards"


def shard_path(folder: Path, start: int) -> Path:
    """The journal, among those in `folder`, of the shard whose first row is `start`."""
    return folder / f"{start:012}"


def shard_paths(folder: Path) -> list[Path]:
    """The journals of shards that are in `folder`, in the order of their rows."""
    try:
        with os.scandir(folder) as found:
            return sorted(folder / entry.name for entry in found if entry.name.isdecimal())
    except FileNotFoundError:
        return []


def embed_shard(
    shard: Shard, inputs: Inputs, embedder: Embedder, folder: Path, run: dict[str, Any], max_errors: int | None
) -> Recording | None:
    """Embed the rows of a shard into its journal in `folder`; what of them is there already is not embedded again.

    A text that kills its worker is found by what the workers before have left, and has failed then. When the run is stopped,
    batches that are under way come to their end, and the shard is left.

    Returns
    -------
    Recording or None
        What it was like, with what workers have done of it that have died; None where nothing is known.

    Raises
    ------
    TooManyErrors
        It names rows of the shard.
    OutputError, FileFormatError
    """
    count = shard.stop - shard.start

    def look(now: Progress) -> None:
        if (folder / STOP).exists():
            raise _Stopped

    own = shard_path(folder, shard.start)
    if _taken(own).exists():
        # Ray has lost that it was done, with the node that did it.
        return None
    description = {"run": run, "shard": [shard.start, shard.stop]}
    with Journal(own, description, count, patience=PATIENCE) as journal:
        if _taken(own).exists():
            return None
        recording = recorded(own)
        with suppress(_Stopped):
            for rows in _groups(journal, shard.rows, own / "in_hand.json"):
                wanted = np.zeros(count, np.bool_)
                wanted[rows] = True
                pieces = _pieces(inputs, shard, wanted)
                _, recording = embed_rows(pieces, embedder, journal, look, recording, max_errors)
        return recording


def stop_shards(folder: Path) -> None:
    """Have all workers leave their shards soon."""
    with suppress(OSError):
        (folder / STOP).touch()


class _Stopped(Exception):
    """The run is stopped."""


def take_in_shards(journal: Journal, folder: Path, run: dict[str, Any], *, anew: bool) -> None:
    """Have `journal` hold what the shards of the run that `run` describes have, unless it begins anew; they go.

    Raises
    ------
    OutputError
    """
    if not folder.is_dir():
        return
    whole, counted = recorded(folder.parent), last_part(folder.parent)

    def with_part(own: Path) -> Recording | None:
        nonlocal whole
        part = None if own.name == counted else recorded(own)
        if whole is not None and part is not None:
            whole.take_in(part)
        whole = whole or part
        return whole

    for own in [] if anew else shard_paths(folder):
        before = described(own)
        if before is not None and not changed(before["run"], json.loads(json.dumps(run))):
            take_in(journal, own, partial(with_part, own))
    _remove(folder)


def take_in(journal: Journal, own: Path, with_part: Callable[[], Recording | None]) -> Counter[str]:
    """Have `journal` hold what the journal of one shard has, which goes. Wherever this is killed, doing it again is harmless.

    Parameters
    ----------
    with_part : callable
        What the run was like with this shard, to be kept; None where nobody knows.

    Returns
    -------
    Counter
        Rows of the shard that have failed, by the code of their error: whichever of its workers has found it.

    Raises
    ------
    OutputError
    """
    description = described(own)
    assert description is not None  # it has been worked on
    start, stop = description["shard"]
    with Journal(own, description, stop - start, patience=PATIENCE) as shard:
        for first in range(0, stop - start, CHUNK):
            done = shard.done[first : first + CHUNK] & ~journal.done[start + first : min(start + first + CHUNK, stop)]
            rows = first + np.flatnonzero(done)
            if len(rows):
                journal.append(start + rows, shard.vectors(rows, shard.dim or 0))
        errors = shard.errors()
        journal.fail((start + row, code, message) for row, (code, message) in errors.items())
        with suppress(OSError):
            _taken(own).parent.mkdir(exist_ok=True)
            _taken(own).touch()
    # Vectors may be taken in twice; what the shard was like, which is added up, is known by its name to be in.
    recording = with_part()
    if recording is not None:
        journal.record(recording, own.name)
    _remove(own)
    return Counter(code for code, _ in errors.values())


def _taken(own: Path) -> Path:
    """What is there when the journal of the run has what that of a shard had."""
    return own.parent / TAKEN / own.name


def _remove(folder: Path) -> None:
    """Remove it at once: what is left of half a shard, or of a call that was stopped, would be taken for one that goes on."""
    removed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    try:
        folder.rename(removed)
    except OSError as exc:
        raise OutputError(f"cannot remove {folder}: {exc.strerror or exc}; the same command goes on") from exc
    shutil.rmtree(removed, ignore_errors=True)


def _pieces(inputs: Inputs, shard: Shard, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, list[Any]]]:
    first = 0
    for rows in inputs.batches(CHUNK, shard.start, shard.stop):
        some = np.flatnonzero(wanted[first : first + len(rows)])
        yield first + some, [rows.texts[i] for i in some]
        first += len(rows)


def _groups(journal: Journal, wanted: np.ndarray, in_hand: Path) -> Iterator[np.ndarray]:
    """The rows that are not settled yet, in groups: all at once, but where workers before have died of some.

    What a worker has in hand is written down before, and taken away when it comes back for more: what is found there is what
    a worker has died with.
    """
    deaths, suspects = _found(in_hand)
    settled = journal.settled(0, len(journal.done))
    failed, now, groups = groups_of(wanted[~settled[wanted]], deaths, suspects[~settled[suspects]])
    if failed is not None:
        journal.fail([(failed, "EMBEDDING_GENERATION_FAILED", f"{deaths} workers have died embedding it")])
    for rows in groups:
        if len(rows):
            with whole_file(in_hand) as file:
                file.write(json.dumps({"deaths": now, "rows": rows.tolist()}).encode())
            try:
                yield rows
            finally:
                # Also by an exception, which is no death.
                with suppress(OSError):
                    in_hand.unlink()


def _found(in_hand: Path) -> tuple[int, np.ndarray]:
    """How many workers have died here, and with which rows in hand the last."""
    try:
        found = json.loads(in_hand.read_text())
    except (OSError, ValueError):
        return 0, np.empty(0, np.int64)
    return found["deaths"] + 1, np.array(found["rows"], np.int64)
