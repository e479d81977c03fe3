"""Keeping a dataset fast while it is changed: each change makes a file and a version, and Lance slows down with both.

Files are put together in tiers, those of like size: so a row is copied a few times in all, however many changes there are.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from vjaccel.collection.durable import Durable
from vjaccel.collection.locks import Locks

__all__ = ["kept_up"]

FRAGMENTS = 16
"""Of one tier; then they become one of the next."""

INDEXED = 4096
"""Rows from which on an index on the ids pays."""

VERSIONS = 64
"""That are kept, and after which the older ones are removed."""

READ = timedelta(hours=1)
"""For how long a version stays that somebody may still read."""


def kept_up(dataset: Any, locks: Locks, durable: Durable | None, *, since: int | None) -> None:
    """Do what has become due on `dataset`, the newest version, since another; all there is to do, where that is None.

    Nobody else may write meanwhile.
    """
    before = dataset.version
    crowded = None if since is None else _crowded(dataset)
    if crowded is None or crowded:
        numbers = [fragment.fragment_id for fragment in dataset.get_fragments()]
        others = [number for number in numbers if crowded is not None and number not in crowded]
        dataset.optimize.compact_files(excluded_fragment_ids=others)
        if any(index.name == "id_idx" for index in dataset.describe_indices()):
            dataset.optimize.optimize_indices()
        elif dataset.count_rows() >= INDEXED:
            dataset.create_scalar_index("id", "BTREE", name="id_idx")
    if durable is not None and dataset.version != before:
        durable.everything(dataset, before)
    if since is None or dataset.version // VERSIONS != since // VERSIONS:
        with locks.without_readers() as alone:
            dataset.cleanup_old_versions(
                older_than=None if alone else READ, retain_versions=VERSIONS, error_if_tagged_old_versions=False
            )


def _crowded(dataset: Any) -> set[int]:
    """The fragments of the tiers that are full, and of those below: what lies between would keep them apart."""
    fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    tiers = {fragment.id: max(fragment.physical_rows, 1).bit_length() // 4 for fragment in fragments}
    full = [tier for tier, count in Counter(tiers.values()).items() if count >= FRAGMENTS]
    if not full:
        return set()
    emptied = {f.id for f in fragments if f.deletion_file and 2 * f.deletion_file.num_deleted_rows > f.physical_rows}
    return emptied | {number for number, tier in tiers.items() if tier <= max(full)}
