"""Adding shards: the rows whose place is then another are moved there, some at a time, each time in one change.

So a row is always in one shard, and a search finds it once. Rows are moved in the order in which they came, and new ones go to
where they were put before until all are moved: so that in each shard the rows lie in that order, by which equal scores go.
Then the new shards make the index that the others have. A move that was stopped goes on with the rows that are still where they
were.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from vjaccel.collection.sharded.opening import make_shards
from vjaccel.collection.sharded.placing import places
from vjaccel.collection.sharded.shard import Change
from vjaccel.collection.sharded.store import ShardedStore, ShardedWriter
from vjaccel.collection.sharded.view import ShardedView
from vjaccel.collection.store import Put
from vjaccel.errors import InvalidInput

__all__ = ["reshard"]

BATCH = 4096
"""Rows that are moved in one change, in which nobody else writes."""


def reshard(store: ShardedStore, shards: int) -> int:
    """Have so many shards; how many rows were moved.

    Raises
    ------
    InvalidInput
        There are more, or a move to another number was begun.
    ShardUnavailable
        What was moved is moved.
    """
    _begin(store, shards)
    moved, after = 0, -1
    while True:
        with store.reading() as view:
            waiting = list(_waiting(view, after).items())
        for start in range(0, len(waiting), BATCH):
            with store.writing() as writer:
                moved += _move(writer, dict(waiting[start : start + BATCH]))
        after = waiting[-1][1] if waiting else after
        with store.writing() as writer:
            late = _waiting(writer, after)
            if len(late) <= BATCH:
                moved += _move(writer, late)
                if writer.now.is_growing:
                    if writer.now.indexed_by is not None:
                        writer.make_index(writer.now.indexed_by, first=writer.now.placed)
                    writer.become(writer.now.versions, placed=shards)
                return moved


def _begin(store: ShardedStore, shards: int) -> None:
    with store.writing() as writer:
        now = writer.now
        there = len(now.versions)
        if now.is_growing and shards != there:
            raise InvalidInput(
                f"rows are still to be moved to {there} shards: reshard to {there}, which goes on with it, and then to {shards}"
            )
        if shards < there:
            raise InvalidInput(f"there are {there} shards, and they can only become more, not {shards}")
        if shards > there:
            new = range(there, shards)
            versions = make_shards(store.folder, now.description, new)
            writer.added(dict(zip(new, versions, strict=True)))


def _waiting(view: ShardedView, after: int) -> dict[str, int]:
    """The ids of the rows that are to be moved, and when they came, in that order: of those that came after the `after`-th."""
    if not view.now.is_growing:
        return {}
    total = len(view.now.versions)
    found = view.asked("moving", dict.fromkeys(range(view.now.placed), (total, after))).values()
    pairs = chain.from_iterable(zip(ids, order.tolist(), strict=True) for ids, order in found)
    return dict(sorted(pairs, key=lambda pair: pair[1]))


def _move(writer: ShardedWriter, waiting: dict[str, int]) -> int:
    """Move rows, those that are still there as they were; how many they were."""
    if not waiting or not writer.now.is_growing:
        return 0
    ids, now = list(waiting), writer.now
    sources = places(ids, now.placed)
    here = {n: ([ids[i] for i in np.flatnonzero(sources == n).tolist()],) for n in np.unique(sources).tolist()}
    changes: dict[int, Change] = {}
    names: list[str] = []
    orders, vectors, metadata = [np.empty(0, np.int64)], [np.empty((0, now.description.dim), np.float32)], []
    for number, (rows, order) in writer.asked("ordered", here).items():
        # One that was removed and put in anew meanwhile came later, and is moved later.
        kept = [row for row, name in enumerate(rows.ids) if order[row] == waiting[name]]
        gone = [rows.ids[row] for row in kept]
        if gone:
            changes[number] = Change({}, removed=tuple(gone))
        names += gone
        orders.append(order[kept])
        vectors.append(rows.vectors[kept])
        metadata += [rows.metadata[row] for row in kept]
    came, stacked = np.concatenate(orders), np.concatenate(vectors)
    in_order = np.argsort(came)
    targets = places(names, len(now.versions))[in_order]
    for number in np.unique(targets).tolist():
        chosen = in_order[targets == number]
        put = Put(
            [names[row] for row in chosen.tolist()], stacked[chosen], [metadata[row] for row in chosen.tolist()],
            now.columns, set(), came[chosen],
        )  # fmt: skip
        changes[number] = Change(now.columns, put)
    if changes:
        writer.changed(changes)
    return len(names)
