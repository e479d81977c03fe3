"""Vectors that were paid for once: where they are kept, under which keys, and who embeds what two runs want.

`open_cache` is the door; `protocol` is what a cache is, for one of your own.
"""

from vjaccel.embedding.cache.flights import Claimed, Flights, Flyer, flights_of
from vjaccel.embedding.cache.keys import CacheKeys
from vjaccel.embedding.cache.opening import open_cache
from vjaccel.embedding.cache.protocol import Cache, CacheWarning, rows_of

__all__ = [
    "Cache",
    "CacheKeys",
    "CacheWarning",
    "Claimed",
    "Flights",
    "Flyer",
    "flights_of",
    "open_cache",
    "rows_of",
]
