"""In which shard a row is, by jump consistent hash (Lamping & Veach 2014): where shards are added, these alone get rows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

__all__ = ["places"]


def places(ids: Sequence[str], shards: int) -> np.ndarray:
    """The shard of each id, from 0 to ``shards - 1``: int64, shape (n,).

    Of `m` shards, where there were `n`, a share of ``(m - n) / m`` of all ids is elsewhere: in one of the new ones.

    Examples
    --------
    >>> places(["a", "b", "c"], 4)
    array([2, 3, 0])
    """
    digests = b"".join(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids)
    keys = np.frombuffer(digests, "<u8").astype(np.uint64)
    found = np.full(len(keys), -1, np.int64)
    following = np.zeros(len(keys), np.int64)
    jumping = np.arange(len(keys))
    while len(jumping):
        found[jumping] = following[jumping]
        keys[jumping] = keys[jumping] * np.uint64(2862933555777941757) + np.uint64(1)  # modulo 2^64
        draw = (keys[jumping] >> np.uint64(33)).astype(np.float64) + 1.0
        following[jumping] = ((found[jumping] + 1) * (2.0**31 / draw)).astype(np.int64)
        jumping = jumping[following[jumping] < shards]
    return found
