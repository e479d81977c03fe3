"""From what a user says to a cache."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path

from vjaccel.embedding.cache.memory import MemoryCache
from vjaccel.embedding.cache.protocol import Cache, warn
from vjaccel.embedding.cache.sharing import held
from vjaccel.errors import InvalidInput, InvalidType, MissingExtra

__all__ = ["default_folder", "open_cache"]

SCHEMES = ("redis", "rediss")


def open_cache(cache: str | os.PathLike[str] | Cache | None, *, max_bytes: int | None = None) -> Cache | None:
    """The cache that `cache` names.

    Parameters
    ----------
    cache : None, str, Path or Cache
        None: no cache. ``"memory"``: in this process, while it is held. ``"disk"``: in the user's cache folder. A path:
        in that folder. ``"redis://..."`` or ``"rediss://..."``: in a Redis. A `Cache` is itself, and its owner's to close.
    max_bytes : int, optional
        What it may take; 256 MB in memory, 4 GB on disk. A Redis has its own bound.

    Returns
    -------
    Cache or None
        None too where the folder cannot be used: that is said in a `CacheWarning`. All who name one folder or Redis in this
        process share one cache, and each closes what it was given.

    Raises
    ------
    InvalidInput, InvalidType, MissingExtra

    Examples
    --------
    >>> cache = open_cache("memory")
    >>> cache.get([bytes(16)])
    [None]
    """
    if cache is None or (not isinstance(cache, str | os.PathLike) and isinstance(cache, Cache)):
        return cache
    if not isinstance(cache, str | os.PathLike):
        raise InvalidType(
            f"a cache is None, 'memory', 'disk', a path, an address of Redis or a Cache, not {type(cache).__name__}"
        )
    said = os.fspath(cache)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", said)
    if scheme is not None and scheme[1].lower() not in SCHEMES:
        raise InvalidInput(
            f"no cache is called {scheme[1]}://: there are 'memory', 'disk', a path, redis:// and rediss://"
        )
    if not said:
        raise InvalidInput("a cache is None, 'memory', 'disk', a path or an address of Redis, not an empty name")
    if scheme is not None:
        if max_bytes is not None:
            raise InvalidInput(
                "a Redis has a bound of its own (maxmemory); max_bytes is for a cache in memory or on disk"
            )
        return _in_redis(said)
    if cache == "memory":
        return MemoryCache() if max_bytes is None else MemoryCache(max_bytes)
    return _on_disk(default_folder() if cache == "disk" else Path(said), max_bytes)


def default_folder() -> Path:
    """Where caches of this user belong on this system, or the folder of that name in VJACCEL_CACHE_DIR.

    Raises
    ------
    MissingExtra
    """
    if own := os.environ.get("VJACCEL_CACHE_DIR"):
        return Path(own) / "vectors"
    try:
        import platformdirs
    except ImportError as exc:
        raise MissingExtra("the cache in the user's cache folder", "cache") from exc
    return platformdirs.user_cache_path("vjaccel", appauthor=False) / "vectors"


def _on_disk(folder: Path, max_bytes: int | None) -> Cache | None:
    try:
        from vjaccel.embedding.cache.disk import MAX_BYTES, DiskCache
        from vjaccel.embedding.cache.environment import Unusable, checked_folder
    except ImportError as exc:
        raise MissingExtra("a cache on disk", "cache") from exc
    folder = checked_folder(folder)
    try:
        return held(("disk", folder), lambda: DiskCache(folder, max_bytes or MAX_BYTES))
    except Unusable as exc:
        warn(f"the cache in {folder} cannot be used, and the run goes on without: {exc}")
        return None


def _in_redis(url: str) -> Cache:
    try:
        from vjaccel.embedding.cache.redis import RedisCache
    except ImportError as exc:
        raise MissingExtra("a cache in Redis", "redis") from exc
    # By its digest: the address has the password.
    return held(("redis", blake2b(url.encode("utf-8", "surrogatepass")).digest()), lambda: RedisCache(url))
