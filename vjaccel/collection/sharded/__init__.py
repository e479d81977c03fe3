"""A collection over several datasets, searched at once: each row is in the shard that a hash of its id says.

`manifest` says which version of each shard counts, so that a change of several is done in one step; `store` makes of the
shards what `vjaccel.collection.store` asks for, so that all the rest is as in a collection of one dataset.
"""

from vjaccel.collection.sharded.collection import PartialHits, ShardedCollection, ShardState, exists_at, open_collection

__all__ = ["PartialHits", "ShardState", "ShardedCollection", "exists_at", "open_collection"]
