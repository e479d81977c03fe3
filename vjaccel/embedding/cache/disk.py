"""A cache in a folder, by LMDB: several processes at once, bounded, and none the worse for a kill or a damaged file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from vjaccel.embedding.cache.blocks import ADDRESS_BYTES, Wanted, address, block_of, packed, runs_of, vectors_of
from vjaccel.embedding.cache.environment import (
    Damaged,
    Opened,
    Unusable,
    checked_folder,
    is_damage,
    lengthened,
    opened,
    set_aside,
)
from vjaccel.embedding.cache.protocol import KEY_BYTES, Once, checked
from vjaccel.errors import InvalidInput

__all__ = ["MAX_BYTES", "DiskCache"]

MAX_BYTES = 4 * 1024**3
LEAST_BYTES = 1024**2
ENTRY_BYTES = 6 * KEY_BYTES
"""What a vector takes beside itself at most: key, checksum, and its line of the index, whose pages are half full at worst."""
BATCH_BYTES = 16 * 1024**2
"""What is written in one transaction."""
FILLED = 3 / 4
"""Of `max_bytes`, what may be in use: a write needs free pages before those that it frees are free, and side by side."""
SPARE_BYTES = 1024**2
"""What a transaction adds besides, at most, to the file: its own pages, and those of the index that are new."""
COPIES = 3
"""What a page of the index counts for: a batch changes nearly all of them, by copying, and the pages that it frees are free for
the next but one."""
TRIES = 12
"""How often room is made for one batch."""


class DiskCache:
    """Keeps vectors in a folder.

    Nothing is written when vectors are looked up. When it is full, those that were put first go first.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    max_bytes : int
        What the file may take. Of several processes with different bounds, each makes room by its own.

    Raises
    ------
    InvalidInput
        The folder is a file, or is of another version.
    Unusable
        The folder cannot be made, read or written.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        if max_bytes < LEAST_BYTES:
            raise InvalidInput(f"max_bytes of a cache on disk must be at least {LEAST_BYTES}, not {max_bytes}")
        self._folder = checked_folder(folder)
        self._max_bytes = max_bytes
        self._said = Once()
        self._pid = os.getpid()
        # Taken in this order. Reading waits for no write; what replaces the environment, or its map, holds both.
        self._writing = threading.RLock()
        self._reading = threading.RLock()
        self._at: Opened | None = None
        self._begin(None)

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        """See `Cache.get`."""
        found: list[bytes | memoryview | None] = [None] * len(keys)
        at = self._at
        try:
            for places, vectors in self._found(keys):
                for place, vector in zip(places, vectors, strict=True):
                    found[place] = vector
        except lmdb.MapResizedError:
            return self.get(keys) if self._grown() else found
        except lmdb.Error as exc:
            self._renewed(exc, at, "read")
        return found

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """See `Cache.put`."""
        rows = checked(keys, vectors)
        if not len(keys) or not self._usable():
            return
        size = min(BATCH_BYTES, int(self._max_bytes * FILLED) // 8) // (rows.strides[0] + ENTRY_BYTES) or 1
        with self._writing:
            for _ in range(2):
                at = self._at
                try:
                    for start in range(0, len(keys), size):
                        self._write(keys[start : start + size], rows[start : start + size])
                    return
                except (lmdb.Error, OSError) as exc:
                    if not self._renewed(exc, at, "write"):
                        return

    def close(self) -> None:
        """Let go of the file."""
        with self._writing, self._reading:
            if self._at is not None and os.getpid() == self._pid:
                self._at.env.close()
            self._at = None

    def __len__(self) -> int:
        """How many vectors there are."""
        return sum(stat["entries"] for stat in self._stats("index"))

    @property
    def bytes_used(self) -> int:
        """What they take in the file; it holds free pages too."""
        return sum(_used(stat) for stat in self._stats("index", "blocks"))

    # Reading

    def _found(self, keys: Sequence[bytes]) -> Iterator[tuple[list[int], list[memoryview]]]:
        with self._reading:
            if not keys or not self._usable() or self._at is None:
                return
            env, index, blocks, _ = self._at
            with env.begin(db=index) as txn:
                # One by one: a call of getmulti for all took half as long again.
                at = list(map(txn.get, keys))
            there = [i for i, value in enumerate(at) if value is not None and len(value) == ADDRESS_BYTES]
            if not there:
                return
            places = np.array(there, np.int64)
            runs = runs_of(at if len(there) == len(at) else [at[i] for i in there])
            wanted = []
            # A block that goes between the two transactions is not found; one that comes has other keys.
            with env.begin(db=blocks, buffers=True) as txn:
                for i, number in enumerate(runs.numbers):
                    data = txn.get(_name(number))
                    block = None if data is None else block_of(data)
                    if block is not None:
                        part = slice(runs.starts[i], runs.starts[i + 1])
                        wanted.append(Wanted(block, runs.slots[part], places[runs.order[part]], runs.together[i]))
                asked = np.frombuffer(b"".join(keys), "<u8").reshape(len(keys), -1)
                yield from vectors_of(wanted, asked)

    def _stats(self, *names: str) -> Iterator[dict[str, int]]:
        with self._reading:
            if self._usable() and self._at is not None:
                with suppress(lmdb.Error), self._at.env.begin() as txn:
                    yield from [txn.stat(getattr(self._at, name)) for name in names]

    # Writing

    def _write(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """One batch; where the file is full, what is oldest goes, the more the more often it is full."""
        if self._at is None:
            return
        env = self._at.env
        bound, size = int(self._max_bytes * FILLED), rows.nbytes + len(keys) * ENTRY_BYTES
        for attempt in range(TRIES):
            try:
                with env.begin(write=True) as txn:
                    lengthened(env, self._folder, 2 * size + SPARE_BYTES)
                    self._make_room(txn, bound - size - bound * attempt // TRIES)
                    if attempt and attempt % 2 == 0:
                        continue  # this time it only makes room
                    self._add(txn, keys, rows)
                return
            except lmdb.MapResizedError:
                self._grown()
            except lmdb.MapFullError:
                env.reader_check()  # a reader that was killed holds on to pages
        self._said.warn(f"the cache in {self._folder} is full, and no room could be made; what is new is not kept")

    def _add(self, txn: Any, keys: Sequence[bytes], rows: np.ndarray) -> None:
        _, index, blocks, _ = self._at  # type: ignore[misc]  # it is open: a transaction goes on
        cursor = txn.cursor(blocks)
        number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
        entries = []
        for some, block in packed(keys, rows):
            cursor.put(_name(number), block, append=True)
            entries += [(key, address(number, slot)) for slot, key in enumerate(some)]
            number += 1
        # In order, neighbours share a page. The last of two equal keys is the one that stays.
        txn.cursor(index).putmulti(sorted(dict(entries).items()))

    def _make_room(self, txn: Any, bound: int) -> None:
        """Forget the oldest blocks until no more than `bound` bytes are in use."""
        _, index, blocks, _ = self._at  # type: ignore[misc]  # it is open here
        cursor = txn.cursor(blocks)
        while COPIES * _used(txn.stat(index)) + _used(txn.stat(blocks)) > bound and cursor.first():
            number = int.from_bytes(cursor.key(), "big")
            block = block_of(memoryview(cursor.value()))
            for slot, key in enumerate(block.keys() if block else ()):
                # A key that was put again is in a later block.
                if txn.get(key, db=index) == address(number, slot):
                    txn.delete(key, db=index)
            cursor.delete()

    # What can go wrong

    def _usable(self) -> bool:
        if os.getpid() == self._pid:
            return self._at is not None
        self._said.warn(f"the cache in {self._folder} was opened before this process was forked, and is not used in it")
        return False

    def _grown(self) -> bool:
        """Follow another process that has made the map larger."""
        with self._writing, self._reading:
            if self._at is None:
                return False
            self._at.env.set_mapsize(0)
            return True

    def _renewed(self, exc: lmdb.Error | OSError, at: Opened | None, doing: str) -> bool:
        """Whether a new cache has begun instead of the one `at` which something went wrong."""
        reason = f"cannot {doing}: {exc}"
        if is_damage(exc):
            with self._writing, self._reading:
                # Another thread may have been first.
                if self._at is None or self._at is not at:
                    return self._at is not None
                self._at.env.close()
                self._at = None
                try:
                    self._begin(at.file, str(exc))
                    return True
                except Unusable as unusable:
                    reason = str(unusable)
        self._said.warn(f"the cache in {self._folder} cannot be used, and the run goes on without: {reason}")
        return False

    def _begin(self, file: tuple[int, int] | None, damage: str | None = None) -> None:
        """Open the environment; a damaged one goes aside, and a new one begins."""
        for _ in range(3):
            if damage is not None:
                try:
                    aside = set_aside(self._folder, file)
                except OSError as exc:
                    raise Unusable(f"it is damaged ({damage}) and cannot be set aside: {exc}") from exc
                if aside is not None:
                    self._said.warn(
                        f"the cache in {self._folder} was damaged ({damage}): it is now {aside}, and a new one begins"
                    )
            try:
                self._at = opened(self._folder, self._max_bytes)
                return
            except Damaged as exc:
                damage, file = str(exc), None
        raise Unusable(f"it is damaged: {damage}")


def _name(number: int) -> bytes:
    """Of a block: numbers ascend as these do."""
    return number.to_bytes(8, "big")


def _used(stat: dict[str, int]) -> int:
    return stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
