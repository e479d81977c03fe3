"""Keeping a dataset fast while it is changed: each change makes a file and a version, and Lance slows down with both.

Files are put together in tiers, those of like size: so a row is copied a few times in all, however many changes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from vjaccel.collection.durable import Durable
from vjaccel.collection.locks import Locks

__all__ = ["kept_up"]

FRAGMENTS = 16
"""Of one tier; then they become one of the next."""

ID_INDEX = "id_idx"

INDEXED = 4096
"""Rows from which on an index on the ids pays."""

UNINDEXED = 128
"""Rows that are looked through one by one; more are brought into the indices."""

VERSIONS = 64
"""That are kept, and after which the older ones are removed."""

READ = timedelta(hours=1)
"""For how long a version stays that somebody may still read."""


def kept_up(dataset: Any, locks: Locks, durable: Durable | None, *, since: int | None) -> None:
    """Do what has become due on `dataset`, the newest version, since another; all there is to do, where that is None.

    Nobody else may write meanwhile.
    """
    before = dataset.version
    fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    crowded = {fragment.id for fragment in fragments} if since is None else _crowded(fragments)
    if crowded or since is None:
        # Before: Lance puts no rows that an index has together with others that it has not. And not for a few rows, as the
        # index is written anew, whole.
        if since is None or sum(f.physical_rows for f in fragments if f.id in crowded) >= UNINDEXED:
            _indexed(dataset)
        dataset.optimize.compact_files(excluded_fragment_ids=[f.id for f in fragments if f.id not in crowded])
    if durable is not None and dataset.version != before:
        durable.everything(dataset, before)
    if since is None or dataset.version // VERSIONS != since // VERSIONS:
        with locks.without_readers() as alone:
            dataset.cleanup_old_versions(
                older_than=None if alone else READ, retain_versions=VERSIONS, error_if_tagged_old_versions=False
            )


def _indexed(dataset: Any) -> None:
    """Bring the indices up to date, and make that of the ids where it pays."""
    names = [index.name for index in dataset.describe_indices()]
    if names:
        dataset.optimize.optimize_indices()
    if ID_INDEX not in names and dataset.count_rows() >= INDEXED:
        dataset.create_scalar_index("id", "BTREE", name=ID_INDEX)


def _crowded(fragments: Sequence[Any]) -> set[int]:
    """The fragments that are to be put together, and those of which most rows are gone.

    Lance puts together neighbours alone. So in each stretch of fragments of a tier and of those below, that tier counts: what
    is caught between larger ones waits for these.
    """
    tiers = [max(fragment.physical_rows, 1).bit_length() // 4 for fragment in fragments]
    crowded: set[int] = set()
    for tier in set(tiers):
        start = 0
        for small, stretch in groupby(other <= tier for other in tiers):
            end = start + len(list(stretch))
            if small and tiers[start:end].count(tier) >= FRAGMENTS:
                crowded |= {fragment.id for fragment in fragments[start:end]}
            start = end
    if not crowded:
        return set()
    return crowded | {
        f.id for f in fragments if f.deletion_file and 2 * f.deletion_file.num_deleted_rows > f.physical_rows
    }
