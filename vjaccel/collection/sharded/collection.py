"""What a user holds of a sharded collection: a `Collection` whose rows are in several datasets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vjaccel.arrays import check
from vjaccel.arrays.protocol import Metric
from vjaccel.collection.collection import Collection
from vjaccel.collection.filters import check_filter
from vjaccel.collection.results import Hit
from vjaccel.collection.searching import included, searched
from vjaccel.collection.sharded.opening import Place, is_sharded, open_shards, there
from vjaccel.collection.sharded.resharding import reshard
from vjaccel.collection.sharded.store import ShardedStore
from vjaccel.collection.texts import Texts, model_of
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.errors import InvalidInput, ShardUnavailable

if TYPE_CHECKING:
    from vjaccel.collection.disk import Durability

__all__ = ["PartialHits", "ShardState", "ShardedCollection", "exists_at", "open_collection"]


class PartialHits(NamedTuple):
    """What the shards that are there have found.

    Attributes
    ----------
    hits : list of Hit, or a list of them for each of several queries
        Best first.
    answered : tuple of int
        The shards that were searched, by their numbers from 0.
    missing : dict of int to str
        Those that were not available, and why.
    """

    hits: list[Hit] | list[list[Hit]]
    answered: tuple[int, ...]
    missing: dict[int, str]


class ShardState(NamedTuple):
    """A shard, as it is now.

    Attributes
    ----------
    number : int
        From 0.
    rows : int or None
        None where it is not available.
    reason : str or None
        Why it is not.
    """

    number: int
    rows: int | None
    reason: str | None


class ShardedCollection(Collection):
    """A collection over several datasets in a folder, which are searched at once; `open` has it. Else it is a `Collection`.

    A row is in the shard that a hash of its id says. A search gives what one collection would: exactly the same rows with the
    same scores, equal ones in the order in which they came. A change of several shards is done as a whole or not at all.

    A shard that is not available is a `ShardUnavailable`, but for ``search(..., partial=True)``, and for rows that are to be
    changed: there it is the error ``SHARD_UNAVAILABLE`` of each row that is in it.

    Examples
    --------
    >>> import tempfile
    >>> import vjaccel as vj
    >>> with vj.ShardedCollection.open(tempfile.mkdtemp(), dim=2, shards=4, create=True) as col:
    ...     col.insert(["a", "b"], [[1.0, 0.0], [0.0, 1.0]]).ok
    ...     [hit.id for hit in col.search([0.9, 0.1], k=1)]
    ('a', 'b')
    ['a']
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        raise InvalidInput("a sharded collection is in a folder: ShardedCollection.open opens or makes it")

    @classmethod
    def open(
        cls,
        uri: str | os.PathLike[str],
        dim: int | None = None,
        metric: str | Metric | None = None,
        *,
        shards: int | None = None,
        create: bool = False,
        backend: str | None = None,
        memory_limit: int | None = None,
        durability: Durability | None = None,
        embedder: str | Embedder | None = None,
        model: ModelIdentity | None = None,
        on: Place = "threads",
        address: str | None = None,
    ) -> ShardedCollection:
        """A sharded collection in a folder. Needs the extra ``store``.

        Parameters
        ----------
        uri : str or Path
            A folder of this machine, or one that is mounted.
        dim, metric, create, backend, durability, embedder, model
            As in `Collection.open`.
        shards : int, optional
            How many a new one has. One that is there knows its own, and `reshard` adds some.
        memory_limit : int, optional
            Bytes that the vectors of all shards may take in memory; by default a quarter of the machine's.
        on : {"threads", "ray"}
            Where shards are searched and changed: in threads of this process, or each in an actor of a Ray cluster (extra
            ``ray``), all of whose nodes see the folder under this name. An actor whose process or node ends is started again.
        address : str, optional
            With "ray", of the cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``. By default the one that this process is
            connected to or that RAY_ADDRESS names, or else a Ray of its own on this machine.

        Raises
        ------
        InvalidInput, InvalidType, FileFormatError, MissingExtra, ClusterError, UnknownBackend, BackendUnavailable, and those of
        `Embedder`
        """
        name, texts = os.fspath(uri), None if embedder is None else Texts(embedder)
        described = None if model is None else model_of(model)
        store = open_shards(
            name, dim if texts is None else texts.dim(dim), metric, shards, create=create, backend=backend,
            memory_limit=memory_limit, durability=durability, model=described if texts is None else texts.model, on=on,
            address=address,
        )  # fmt: skip
        return cls._of(name, store, texts)

    @staticmethod
    def exists(uri: str | os.PathLike[str]) -> bool:
        """Whether there is a sharded collection at `uri`.

        Raises
        ------
        FileFormatError
            There is something else, which may be a collection that is not sharded.
        """
        return there(os.fspath(uri))

    def shards(self) -> tuple[ShardState, ...]:
        """The shards, with how many rows each has, or why it is not available."""
        store = self._sharded
        versions = store.now().versions
        found = store.shards.ask("count", {number: (version, None) for number, version in enumerate(versions)})
        return tuple(
            ShardState(number, found.said.get(number), found.down[number].reason if number in found.down else None)
            for number in range(len(versions))
        )

    def search(
        self,
        query: object,
        k: int = 10,
        *,
        where: str | None = None,
        include: Sequence[str] = ("metadata",),
        probes: int | None = None,
        partial: bool = False,
    ) -> Any:
        """The `k` closest rows, exactly: as `Collection.search` of one collection that has all of them.

        Parameters
        ----------
        query, k, where, include, probes
            As in `Collection.search`; shards without an index are searched exactly.
        partial : bool
            Search the shards that are available, where others are not.

        Returns
        -------
        list of Hit, or a list of them for each of several queries
            Best first; with `partial`, in a `PartialHits`, which says which shards have answered.

        Raises
        ------
        ShardUnavailable
            A shard is not available, and `partial` is false.
        InvalidInput, InvalidType
        """
        if not partial:
            return super().search(query, k, where=where, include=include, probes=probes)
        k, probes = check.count(k), None if probes is None else check.count(probes, "probes")
        check_filter(where)
        wanted = included(include)
        with self._told("collection.search"):
            queries, single = self._queries(query)
            missing: dict[int, ShardUnavailable] = {}
            while True:
                with self._sharded.reading(missing) as view:
                    try:
                        lists = searched(view, queries, k, where, probes, wanted)
                        break
                    except ShardUnavailable:
                        missing |= view.down
        return PartialHits(
            lists[0] if single else lists,
            tuple(number for number in range(len(view.now.versions)) if number not in missing),
            {number: missing[number].reason for number in sorted(missing)},
        )

    def reshard(self, shards: int) -> int:
        """Add shards, and move the rows to them whose place is there then: from `n` to `m` shards ``(m - n) / m`` of all.

        It can be searched and changed meanwhile, by other processes too, with the same answers. What was stopped or killed
        goes on when it is called again.

        Parameters
        ----------
        shards : int
            How many there are to be, at least as many as there are.

        Returns
        -------
        int
            How many rows this call has moved.

        Raises
        ------
        InvalidInput, InvalidType, ShardUnavailable
        """
        with self._told("collection.reshard"):
            return reshard(self._sharded, check.count(shards, "shards"))

    @property
    def is_resharding(self) -> bool:
        """Whether rows are still to be moved to shards that were added: `reshard` does it."""
        return self._sharded.now().is_growing

    @property
    def _sharded(self) -> ShardedStore:
        store = self._store
        assert isinstance(store, ShardedStore)
        return store


def exists_at(uri: str | os.PathLike[str]) -> bool:
    """Whether there is a collection at `uri`, sharded or not.

    Raises
    ------
    FileFormatError, MissingExtra
    """
    return is_sharded(os.fspath(uri)) or Collection.exists(uri)


def open_collection(
    uri: str | os.PathLike[str],
    dim: int | None = None,
    metric: str | Metric | None = None,
    *,
    create: bool = False,
    backend: str | None = None,
    embedder: str | Embedder | None = None,
    model: ModelIdentity | None = None,
) -> Collection:
    """The collection at `uri`, sharded or not, as the `open` of its kind gives it; one that is made is not sharded.

    Raises
    ------
    InvalidInput, InvalidType, FileFormatError, MissingExtra, UnknownBackend, BackendUnavailable, and those of `Embedder`
    """
    kind = ShardedCollection if is_sharded(os.fspath(uri)) else Collection
    return kind.open(uri, dim, metric, create=create, backend=backend, embedder=embedder, model=model)
