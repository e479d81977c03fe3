"""Keeping a dataset fast while it is changed: each change makes a file and a version, and Lance slows down with both.

Files are put together in tiers, those of like size: so a row is copied a few times in all, however many changes there are.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from vjaccel.collection.durable import Durable

__all__ = ["kept_up"]

FRAGMENTS = 16
"""Of one tier; then they become one of the next."""

INDEXED = 4096
"""Rows from which on an index on the ids pays."""

VERSIONS = 64
"""After so many changes old versions are removed."""

KEPT = timedelta(minutes=10)
"""How old a version must be to be removed: older than any call that still reads it."""


def kept_up(dataset: Any, durable: Durable | None, *, everything: bool) -> None:
    """Do what has become due on `dataset`, the newest version, which nobody else writes to; or all there is to do."""
    before = dataset.version
    crowded = _crowded(dataset)
    if crowded or everything:
        others = [] if everything else [f.fragment_id for f in dataset.get_fragments() if f.fragment_id not in crowded]
        dataset.optimize.compact_files(excluded_fragment_ids=others)
        if any(index.name == "id_idx" for index in dataset.describe_indices()):
            dataset.optimize.optimize_indices()
        elif dataset.count_rows() >= INDEXED:
            dataset.create_scalar_index("id", "BTREE", name="id_idx")
    if durable is not None and dataset.version != before:
        durable.after(dataset, before)
    if everything or dataset.version % VERSIONS == 0:
        dataset.cleanup_old_versions(KEPT)


def _crowded(dataset: Any) -> set[int]:
    """The fragments of the tiers that are full."""
    tiers = {f.fragment_id: max(f.physical_rows, 1).bit_length() // 4 for f in dataset.get_fragments()}
    counts = Counter(tiers.values())
    return {number for number, tier in tiers.items() if counts[tier] >= FRAGMENTS}
