"""Reading one state of a sharded collection: each question is put to the shards that may know, and their answers are merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from vjaccel.arrays.results import Best
from vjaccel.collection.lance_view import NO_INDEX
from vjaccel.collection.metadata import Columns
from vjaccel.collection.results import Rows
from vjaccel.collection.sharded.asking import Shards
from vjaccel.collection.sharded.manifest import Manifest
from vjaccel.collection.sharded.placing import places
from vjaccel.collection.sharded.shard import Found
from vjaccel.collection.store import Nearest, Taken
from vjaccel.errors import InvalidInput, ShardUnavailable

__all__ = ["ShardedView", "merged"]


class ShardedView:
    """One state; see `View`. Handles of rows are when they came.

    Parameters
    ----------
    now : Manifest
    shards : Shards
    missing : collection of int
        Shards that are not to be asked.

    Attributes
    ----------
    down : dict of int to ShardUnavailable
        What was raised by the shards that were not available; the first of them is raised by the method that asks them.
    """

    def __init__(self, now: Manifest, shards: Shards, missing: Iterable[int] = ()) -> None:
        self.now = now
        self.down: dict[int, ShardUnavailable] = {}
        self._shards = shards
        self._all = [number for number in range(len(now.versions)) if number not in set(missing)]
        self._rows: dict[int, tuple[int, int]] = {}
        """The shard, and the number there, of the rows that were found, by when they came."""
        self._homes: dict[str, int | None] = {}
        """The shard that has an id, of those that were asked about; None where none has it."""

    @property
    def version(self) -> int:
        return self.now.version

    @property
    def columns(self) -> Columns:
        return dict(self.now.columns)

    def out_of_reach(self, ids: list[str], metadata: list[Any] | None) -> dict[int, tuple[str, str]]:
        down = self._look_up(ids)
        candidates = self._candidates(ids)
        found = {}
        for row, name in enumerate(ids):
            reason = next((down[number] for number in candidates[name] if number in down), None)
            if reason is not None and self._homes.get(name) is None:
                found[row] = (reason.code, str(reason))
        known = self.now.columns.keys()
        widening = [
            row for row, about in enumerate(metadata or ()) if isinstance(about, Mapping) and about.keys() - known
        ]
        if widening and len(widening) > sum(row in found for row in widening):
            # All shards get its column, so that a filter can name it in all.
            down |= self._shards.ask("available", {n: (v,) for n, v in enumerate(self.now.versions)}).down
            for row in widening if down else ():
                reason = next(iter(down.values()))
                found.setdefault(
                    row, (reason.code, f"it brings a new metadata key, which every shard needs, and {reason}")
                )
        return found

    def present(self, ids: list[str]) -> set[str]:
        self._raise(self._look_up(ids))
        return {name for name in ids if self._homes[name] is not None}

    def get(self, ids: list[str], *, vectors: bool = True, metadata: bool = True) -> Taken:
        by_shard: dict[int, list[str]] = {}
        for name, candidates in self._candidates(ids).items():
            home = self._homes.get(name, -1)
            for number in candidates if home == -1 else () if home is None else (home,):
                by_shard.setdefault(number, []).append(name)
        said = self.asked("get", {number: (names, vectors, metadata) for number, names in by_shard.items()})
        parts = list(said.values())
        places_of = {name: place for place, name in enumerate(chain.from_iterable(part.ids for part in parts))}
        wanted = [places_of[name] for name in ids if name in places_of]
        return self._together(parts, wanted, vectors, metadata)

    def matching(self, where: str | None) -> list[str]:
        found = list(self.asked("listed", dict.fromkeys(self._all, (where,))).values())
        names = list(chain.from_iterable(ids for ids, _ in found))
        return [names[place] for place in np.argsort(_joined(order for _, order in found)).tolist()]

    def count(self, where: str | None) -> int:
        return sum(self.asked("count", dict.fromkeys(self._all, (where,))).values())

    def batches(self, size: int, where: str | None) -> Iterator[Rows]:
        # All are begun now, so that nobody removes their files meanwhile.
        begun = [self._shards.here.shard(n).batches(self.now.versions[n], size, where) for n in self._all]
        return chain.from_iterable(begun)

    def nearest(self, queries: object, k: int, where: str | None) -> Nearest:
        return self._nearest(queries, k, where, None)

    def likely(self, queries: np.ndarray, k: int, where: str | None, probes: int) -> Nearest:
        if self.now.indexed_by is None:
            raise InvalidInput(NO_INDEX)
        return self._nearest(queries, k, where, probes)

    def taken(self, handles: np.ndarray, *, vectors: bool, metadata: bool) -> Taken:
        by_shard: dict[int, list[tuple[int, int]]] = {}
        for place, handle in enumerate(handles.tolist()):
            number, row = self._rows[handle]
            by_shard.setdefault(number, []).append((place, row))
        asked = {n: (np.array([row for _, row in rows], np.int64), vectors, metadata) for n, rows in by_shard.items()}
        said = self.asked("taken", asked)
        order = [place for number in said for place, _ in by_shard[number]]
        return self._together(list(said.values()), np.argsort(order).tolist(), vectors, metadata)

    def everything(self) -> tuple[list[str], Iterable[tuple[Any, np.ndarray]]]:
        here, versions = self._shards.here, self.now.versions
        found = [here.shard(number).everything(versions[number], len(versions)) for number in self._all]
        order = _joined(came for _, came, _ in found)
        as_came = np.argsort(order)
        names = list(chain.from_iterable(ids for ids, _, _ in found))
        rank = np.empty(len(order), np.int64)
        rank[as_came] = np.arange(len(order))
        starts = np.cumsum([0, *(len(ids) for ids, _, _ in found)]).tolist()
        blocks = (
            (rank[start + places_in], vectors)
            for start, (_, _, parts) in zip(starts, found, strict=False)
            for places_in, vectors in parts
        )
        return [names[place] for place in as_came.tolist()], blocks

    def asked(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What each shard says to `method` with its version and what is given.

        Raises
        ------
        ShardUnavailable
        """
        found = self._shards.ask(method, {n: (self.now.versions[n], *given) for n, given in calls.items()})
        self._raise(found.down)
        return found.said

    # Below

    def _nearest(self, queries: object, k: int, where: str | None, probes: int | None) -> Nearest:
        asked = np.asarray(queries)
        given = asked, k, where, probes, len(self.now.versions)
        found: dict[int, Found] = self.asked("nearest", dict.fromkeys(self._all, given))
        metric = self.now.description.metric
        if not found:
            return Nearest(np.empty((len(asked), 0), np.int64), np.empty((len(asked), 0), np.float32))
        handles, best = merged(found, k)
        for number, one in found.items():
            there = np.isin(one.order, handles) & (one.order >= 0)
            self._rows |= {
                came: (number, row)
                for came, row in zip(one.order[there].tolist(), one.numbers[there].tolist(), strict=True)
            }
        return Nearest(handles, best.values(metric))

    def _together(self, parts: list[Taken], wanted: list[int], vectors: bool, metadata: bool) -> Taken:
        """The rows of `parts`, one after another, that are `wanted`."""
        names = list(chain.from_iterable(part.ids for part in parts))
        rows = values = None
        if vectors:
            none = np.empty((0, self.now.description.dim), np.float32)
            rows = np.concatenate([none, *(part.vectors for part in parts if part.vectors is not None)])[wanted]
        if metadata:
            about = list(chain.from_iterable(part.metadata or [] for part in parts))
            values = [about[place] for place in wanted]
        return Taken([names[place] for place in wanted], rows, values)

    def _candidates(self, ids: list[str]) -> dict[str, tuple[int, ...]]:
        """The shards in which each id may be: while shards are added these may be two."""
        now = places(ids, self.now.placed).tolist()
        later = places(ids, len(self.now.versions)).tolist() if self.now.is_growing else now
        return {
            name: (one,) if one == other else (one, other) for name, one, other in zip(ids, now, later, strict=True)
        }

    def _look_up(self, ids: list[str]) -> dict[int, ShardUnavailable]:
        """Find the shard that has each id; those that are down of the shards that were asked."""
        by_shard: dict[int, list[str]] = {}
        for name, candidates in self._candidates([name for name in ids if name not in self._homes]).items():
            for number in candidates:
                by_shard.setdefault(number, []).append(name)
        answered = self._shards.ask("present", {n: (self.now.versions[n], names) for n, names in by_shard.items()})
        homes = {name: number for number, there in answered.said.items() for name in there}
        open_ids = {name for number in answered.down for name in by_shard[number]}
        for names in by_shard.values():
            self._homes |= {name: homes.get(name) for name in names if name in homes or name not in open_ids}
        return dict(answered.down)

    def _raise(self, down: dict[int, ShardUnavailable]) -> None:
        self.down |= down
        if down:
            raise next(iter(down.values()))


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *parts])


def merged(found: Mapping[int, Found], k: int) -> tuple[np.ndarray, Best]:
    """The best `k` of all shards for each query by score, then by when they came; the latter, and the scores."""
    scores, order = (np.concatenate([x[column] for x in found.values()], axis=1) for column in (0, 2))
    # What is no row comes last.
    last = np.where(order < 0, np.iinfo(np.int64).max, order)
    best = np.lexsort((last, -scores), axis=1)[:, :k]
    chosen = np.take_along_axis(order, best, axis=1)
    return chosen, Best(np.take_along_axis(scores, best, axis=1), chosen, next(iter(found.values())).dtype)
