"""The form in which vectors lie on the disk: blocks of rows that were put together.

A block is a head (how many rows, and the bytes of a vector) and the rows: a key, a checksum, and the vector filled up to whole
words. LMDB keeps a block as one value, and beside it an index from each key to its block and row.

Measured against a value for each vector, 20,000 of 384 numbers: half the room (LMDB puts two such values on a page), a quarter
of the time to write; and what is read in the order in which it was put is copied by blocks, with no tree to descend for each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vjaccel.embedding.cache.protocol import KEY_BYTES

__all__ = [
    "ADDRESS_BYTES",
    "BLOCK_BYTES",
    "ROWS",
    "Block",
    "Runs",
    "Wanted",
    "address",
    "block_of",
    "packed",
    "runs_of",
    "vectors_of",
]

BLOCK_BYTES = 64 * 1024
"""What a block has at most, unless one row alone has more. Larger ones leave holes that LMDB cannot fill."""
ROWS = 1 << 16
"""More than a block can have: an address is a block's number times this, and a row's."""
HEAD = struct.Struct("<II")
WORD = 8
ADDRESS_BYTES = WORD
KEY_WORDS = KEY_BYTES // WORD
BEFORE_WORDS = KEY_WORDS + 1
"""Of a row, before its vector: the key and the checksum."""
SEAL = np.uint64(0x766A616363656C31)
"""What every row's weighted sum is; not zero, so that a page of zeros is no row."""


class Block(NamedTuple):
    """What a block's bytes hold; views of them."""

    rows: np.ndarray
    width: int

    def keys(self) -> list[bytes]:
        """Of its rows, in order."""
        flat = np.ascontiguousarray(self.rows[:, :KEY_WORDS]).tobytes()
        return [flat[i : i + KEY_BYTES] for i in range(0, len(flat), KEY_BYTES)]


class Wanted(NamedTuple):
    """Rows of one block that somebody asked for.

    Attributes
    ----------
    slots : ndarray of int64
        Which, ascending.
    places : ndarray of int64
        For which of the keys.
    together : bool
        Whether they lie side by side.
    """

    block: Block
    slots: np.ndarray
    places: np.ndarray
    together: bool


def packed(keys: Sequence[bytes], vectors: np.ndarray) -> Iterator[tuple[Sequence[bytes], bytes]]:
    """Blocks of some vectors, float32 (n, dim), and the keys in each."""
    dim = vectors.shape[1]
    words = _words(4 * dim)
    step = min(ROWS - 1, max(1, BLOCK_BYTES // (WORD * words)))
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        rows = np.zeros((len(some), words), "<u8")
        rows[:, :KEY_WORDS] = np.frombuffer(b"".join(some), "<u8").reshape(-1, KEY_WORDS)
        rows.view("<f4")[:, 2 * BEFORE_WORDS : 2 * BEFORE_WORDS + dim] = vectors[start : start + step]
        rows[:, KEY_WORDS] = SEAL - rows @ _weights(words)
        yield some, HEAD.pack(len(some), 4 * dim) + rows.tobytes()


def block_of(data: memoryview) -> Block | None:
    """The block in `data`, or None where its length shows that it is none."""
    if len(data) < HEAD.size:
        return None
    count, width = HEAD.unpack_from(data)
    words = _words(width)
    if not count or len(data) != HEAD.size + WORD * count * words:
        return None
    return Block(np.frombuffer(data, "<u8", offset=HEAD.size).reshape(count, words), width)


def vectors_of(wanted: Sequence[Wanted], keys: np.ndarray) -> Iterator[tuple[list[int], list[memoryview]]]:
    """Places among the `keys` (n, 2) that were asked for, and their vectors, as far as these are as they were put.

    A row whose checksum or key is another is not given out: its key and vector may have been damaged, or the index.
    """
    by_width: dict[int, list[Wanted]] = {}
    for each in wanted:
        by_width.setdefault(each.block.width, []).append(each)
    for width, some in by_width.items():
        yield _of_one_width(some, keys, width)


def _of_one_width(wanted: list[Wanted], keys: np.ndarray, width: int) -> tuple[list[int], list[memoryview]]:
    total = sum(len(each.slots) for each in wanted)
    rows = np.empty((total, wanted[0].block.rows.shape[1]), "<u8")
    places = np.concatenate([each.places for each in wanted])
    done = 0
    for block, slots, _, together in wanted:
        end = done + len(slots)
        if together and slots[-1] < len(block.rows):
            rows[done:end] = block.rows[slots[0] : slots[-1] + 1]
        else:
            # "clip" needs no buffer; a place that is beyond the block gives a row whose key is another.
            block.rows.take(slots, axis=0, out=rows[done:end], mode="clip")
        done = end
    good = (rows @ _weights(rows.shape[1]) == SEAL) & (rows[:, :KEY_WORDS] == keys[places]).all(axis=1)
    rows.flags.writeable = False
    flat, stride = rows.data.cast("B"), WORD * rows.shape[1]
    vectors = [flat[i : i + width] for i in range(WORD * BEFORE_WORDS, len(flat), stride)]
    if good.all():
        return places.tolist(), vectors
    return places[good].tolist(), [vectors[i] for i in np.flatnonzero(good)]


def address(number: int, slot: int) -> bytes:
    """Where a row is: its block's number and its place in it."""
    return (number * ROWS + slot).to_bytes(ADDRESS_BYTES, "little")


class Runs(NamedTuple):
    """Addresses in ascending order, cut where another block begins.

    Attributes
    ----------
    order : ndarray of int64
        Which of the addresses that were given each is.
    slots : ndarray of int64
    starts : list of int
        Where each block's begin, and the end.
    numbers : list of int
        Of the blocks.
    together : list of bool
        Whether a block's rows lie side by side.
    """

    order: np.ndarray
    slots: np.ndarray
    starts: list[int]
    numbers: list[int]
    together: list[bool]


def runs_of(found: Sequence[bytes]) -> Runs:
    """The rows at some addresses, at least one, block by block."""
    at = np.frombuffer(b"".join(found), "<u8")
    order = np.arange(len(at))
    if (at[1:] < at[:-1]).any():
        order = np.argsort(at, kind="stable")
        at = at[order]
    blocks = at // ROWS
    starts = np.concatenate([[0], np.flatnonzero(blocks[1:] != blocks[:-1]) + 1, [len(at)]])
    gaps = np.concatenate([[0], np.cumsum(at[1:] - at[:-1] != 1)])
    together = gaps[starts[:-1]] == gaps[starts[1:] - 1]
    numbers = blocks[starts[:-1]].tolist()
    return Runs(order, (at % ROWS).astype(np.int64), starts.tolist(), numbers, together.tolist())


def _words(width: int) -> int:
    """Of a row with a vector of `width` bytes."""
    return BEFORE_WORDS + -(-width // WORD)


@lru_cache(maxsize=32)
def _weights(count: int) -> np.ndarray:
    """By what each word of a row is multiplied in its sum, modulo 2**64: odd numbers without a pattern, one for the checksum.

    Whatever changes in one word, the sum changes, since an odd weight has an inverse; of a row that was garbled otherwise one
    in some 2**60 keeps its sum. zlib.crc32, row by row, took 0.5 us of the 1.5 that all the rest of finding a vector takes;
    this takes 0.12.
    """
    # SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), written out, so that it is the
    # same with every version of NumPy.
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    weights = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    weights[KEY_WORDS] = 1
    return weights
