"""Vectors under ids, with metadata, that are changed and searched: in memory, or in a folder that lasts.

`judging` says which rows of a change are good, for both; `memory`, `disk` and
`sharded` are where the rows are kept, behind `store`.
"""

from vjaccel.collection.collection import Collection
from vjaccel.collection.results import BatchResult, Evaluation, Hit, Rows, Scores, Version
from vjaccel.collection.sharded import PartialHits, ShardedCollection, ShardState, exists_at, open_collection

__all__ = [
    "BatchResult",
    "Collection",
    "Evaluation",
    "Hit",
    "PartialHits",
    "Rows",
    "Scores",
    "ShardState",
    "ShardedCollection",
    "Version",
    "exists_at",
    "open_collection",
]
