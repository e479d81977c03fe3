"""Where the rows of a sharded collection are kept: what `vjaccel.collection.store` asks for, over several datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vjaccel.collection.disk import LEAST_INDEXED, written
from vjaccel.collection.locks import Locks
from vjaccel.collection.results import Version
from vjaccel.collection.sharded.asking import Answers, Shards
from vjaccel.collection.sharded.manifest import Index, Manifest, shard_folder
from vjaccel.collection.sharded.placing import places
from vjaccel.collection.sharded.shard import Change
from vjaccel.collection.sharded.view import ShardedView
from vjaccel.collection.store import Description, IndexKind, Put
from vjaccel.errors import CollectionConflict, InvalidInput, ShardUnavailable

__all__ = ["ShardedStore", "ShardedWriter"]


class ShardedStore:
    """The shards in a folder; `writing` goes on alone, and `reading` beside it.

    Parameters
    ----------
    folder : Path
    description : Description
    shards : Shards
    sync : bool
        Whether what is done is to survive a power cut.
    fixed : Manifest, optional
        A state to be read only, as it was, until it is closed.
    """

    place: ClassVar[Literal["memory", "disk"]] = "disk"

    def __init__(
        self,
        folder: Path,
        description: Description,
        shards: Shards,
        *,
        sync: bool,
        fixed: Manifest | None = None,
    ) -> None:
        self.folder = folder
        self.description = description
        self.shards = shards
        self.sync = sync
        self._locks = Locks(folder)
        self._fixed = fixed
        self._last: Manifest | None = fixed
        self._keeping = ExitStack()
        if fixed is not None:
            for number in range(len(fixed.versions)):  # so that nobody removes its files
                try:
                    self._keeping.enter_context(Locks(shard_folder(folder, number)).reader())
                except OSError as exc:
                    self.close()
                    raise ShardUnavailable(number, f"there is no dataset at {shard_folder(folder, number)}") from exc

    @contextmanager
    def reading(self, missing: Iterable[int] = ()) -> Iterator[ShardedView]:
        """The newest state, without the shards in `missing`."""
        yield ShardedView(self.now(), self.shards, missing)

    @contextmanager
    def writing(self) -> Iterator[ShardedWriter]:
        if self._fixed is not None:
            raise InvalidInput("a version that was checked out can be read only; change the collection itself")
        with written(str(self.folder)), self._locks.writer():
            yield ShardedWriter(self.now(), self.shards, self.folder, sync=self.sync)

    def now(self) -> Manifest:
        """The newest state."""
        if self._fixed is not None:
            return self._fixed
        self._last = Manifest.read(self.folder)
        return self._last

    def versions(self) -> list[Version]:
        return [Version(self.now().version, None)]

    def at(self, version: int) -> ShardedStore:
        # Who has just asked for its number gets it, though somebody else has changed it since.
        now = self._last if self._last is not None and self._last.version == version else self.now()
        if version != now.version:
            raise InvalidInput(
                f"version {version} cannot be checked out: a sharded collection keeps none but the one it is, {now.version}"
            )
        own = self.shards.here.others()  # it may outlive this one
        return ShardedStore(self.folder, self.description, own, sync=self.sync, fixed=now)

    def compact(self) -> None:
        with self.writing() as writer:
            writer.compact()

    def create_index(self, kind: IndexKind, partitions: int | None) -> None:
        with self.writing() as writer:
            if not writer.make_index(Index(kind, partitions)):
                raise InvalidInput(
                    f"an index needs {LEAST_INDEXED} rows, and pays from many more; no shard has as many"
                )

    def close(self) -> None:
        self._keeping.close()
        self.shards.close()


class ShardedWriter(ShardedView):
    """The newest state, and the next; see `Writer`. A shard that fails before the next is written has changed nothing."""

    def __init__(self, now: Manifest, shards: Shards, folder: Path, *, sync: bool) -> None:
        super().__init__(now, shards)
        self._folder = folder
        self._sync = sync

    def put(self, rows: Put) -> int:
        where = np.array([self._homes.get(name, -1) if name in rows.existing else -1 for name in rows.ids], np.int64)
        new = where < 0
        where[new] = places(
            [name for name, is_new in zip(rows.ids, new.tolist(), strict=True) if is_new], self.now.placed
        )
        order = np.full(len(rows.ids), -1, np.int64)
        order[new] = self.now.next_order + np.arange(int(new.sum()))
        changes = {
            number: Change(rows.columns, part_of(rows._replace(order=order), np.flatnonzero(where == number)))
            for number in np.unique(where).tolist()
        }
        if rows.columns.keys() - self.now.columns.keys():
            changes = {number: Change(rows.columns) for number in range(len(self.now.versions))} | changes
        return self._tried(changes, columns=rows.columns, next_order=self.now.next_order + int(new.sum()))

    def remove(self, ids: list[str]) -> int:
        self._raise(self._look_up(ids))
        by_shard: dict[int, list[str]] = {}
        for name in ids:
            number = self._homes[name]
            assert number is not None
            by_shard.setdefault(number, []).append(name)
        return self._tried({number: Change({}, removed=tuple(names)) for number, names in by_shard.items()})

    def changed(self, changes: dict[int, Change], **state: Any) -> int:
        """Make these changes in the shards, and then the next state of all, with `state` of it; its version.

        Raises
        ------
        ShardUnavailable
            Nothing has changed.
        """
        done = self._shards.ask("change", {n: (self.now.versions[n], change) for n, change in changes.items()})
        self._raise(done.down)
        return self.become(self._with(done), **state)

    def added(self, versions: dict[int, int]) -> None:
        """Have new shards, which are empty, beside the others; new rows go to these as before.

        Raises
        ------
        ShardUnavailable
        """
        done = self._shards.ask("change", {n: (version, Change(self.now.columns)) for n, version in versions.items()})
        self._raise(done.down)
        self.become((*self.now.versions, *(done.said[number] for number in sorted(versions))))

    def compact(self) -> None:
        """Have all shards put themselves in order.

        Raises
        ------
        ShardUnavailable
            The others have done it.
        """
        done = self._shards.ask("compact", {n: (version,) for n, version in enumerate(self.now.versions)})
        self.become(self._with(done))
        self._raise(done.down)

    def make_index(self, index: Index, first: int = 0) -> bool:
        """Have the shards from the `first` on make an index, those that have rows enough; whether some have.

        Raises
        ------
        ShardUnavailable
            The others have done it.
        """
        calls = {n: (version, index) for n, version in enumerate(self.now.versions) if n >= first}
        done = self._shards.ask("create_index", calls)
        made = {number: version for number, version in done.said.items() if version is not None}
        if made:
            self.become(self._with(Answers(made, {})), indexed_by=index)
        self._raise(done.down)
        return bool(made)

    def become(self, versions: tuple[int, ...], **state: Any) -> int:
        """Make the next state of all, of these versions of the shards, with `state` of it; its version."""
        self.now = self.now._replace(version=self.now.version + 1, versions=versions, **state)
        self.now.write(self._folder, sync=self._sync)
        return self.now.version

    def _tried(self, changes: dict[int, Change], **state: Any) -> int:
        try:
            return self.changed(changes, **state)
        except ShardUnavailable as exc:  # since it was asked for the ids: who tries again finds it down
            raise CollectionConflict(f"nothing was changed, again and again: {exc}") from exc

    def _with(self, done: Answers) -> tuple[int, ...]:
        return tuple(done.said.get(number, version) for number, version in enumerate(self.now.versions))


def part_of(rows: Put, chosen: np.ndarray) -> Put:
    """Some of `rows`."""
    ids = [rows.ids[place] for place in chosen.tolist()]
    metadata = None if rows.metadata is None else [rows.metadata[place] for place in chosen.tolist()]
    order = None if rows.order is None else rows.order[chosen]
    return Put(ids, rows.vectors[chosen], metadata, rows.columns, rows.existing.intersection(ids), order)
