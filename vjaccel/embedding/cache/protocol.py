"""What a cache is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["KEY_BYTES", "Cache", "CacheWarning", "Once", "checked", "rows_of", "warn"]

KEY_BYTES = 16
"""Of every key: at a billion billion of them two would be the same."""


class CacheWarning(UserWarning):
    """A cache that cannot be used, or lost what it held; the run goes on, and embeds what is missing."""


_WARNED: dict[Any, Any] = {}
"""What Python remembers of warnings, so that by default the same one is shown once."""


def warn(message: str) -> None:
    """Warn in one sentence, of a `CacheWarning`.

    It is of no line of anybody's code, and a run may come upon it in any of its threads: a line shown with it would be one of
    ours, that tells a user nothing.
    """
    warnings.warn_explicit(message, CacheWarning, "<vjaccel>", 1, "vjaccel.embedding.cache", _WARNED)


@runtime_checkable
class Cache(Protocol):
    """Keeps vectors by key. Its methods may be called by several threads at once.

    A cache may forget whatever it likes, and is never a reason for a run to fail: what it cannot do it leaves undone, with one
    `CacheWarning`. It never returns what was not put under that very key.
    """

    def get(self, keys: Sequence[bytes]) -> list[bytes | memoryview | None]:
        """The vector of each key, as the bytes of its little-endian float32 numbers, or None. Nothing is written."""
        ...

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep vectors, float32 (len(keys), dim), instead of what was there under these keys."""
        ...

    def close(self) -> None:
        """Let go of what is held. Closing twice is fine."""
        ...

    def __len__(self) -> int:
        """How many vectors there are."""
        ...

    @property
    def bytes_used(self) -> int | None:
        """What they take where they are kept; None where nobody knows."""
        ...


def rows_of(found: Sequence[bytes | memoryview | None], dim: int) -> tuple[np.ndarray, np.ndarray]:
    """What a cache found, as arrays.

    Returns
    -------
    hits : ndarray of int64, shape (h,)
        The places in `found` of vectors of width `dim`; one of another width is as good as none.
    vectors : ndarray of float32, shape (h, dim)
        Read-only.
    """
    width = 4 * dim
    hits = [i for i, value in enumerate(found) if value is not None and len(value) == width]
    values = found if len(hits) == len(found) else [found[i] for i in hits]
    rows = np.frombuffer(b"".join(values), "<f4").reshape(len(hits), dim)  # type: ignore[arg-type]  # no None is left
    return np.array(hits, np.int64), rows.astype(np.float32, copy=False)


def checked(keys: Sequence[bytes], vectors: np.ndarray) -> np.ndarray:
    """The vectors as contiguous little-endian float32, one for each key.

    Raises
    ------
    ValueError
        A key has another length, or there is not one vector for each key.
    """
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key has {KEY_BYTES} bytes, as CacheKeys makes them")
    if vectors.ndim != 2 or len(vectors) != len(keys) or (len(keys) and not vectors.shape[1]):
        raise ValueError(f"{len(keys)} keys need vectors of shape ({len(keys)}, dim), not {vectors.shape}")
    return np.ascontiguousarray(vectors, "<f4")


class Once:
    """Warns the first time, and is silent from then on: a run may ask a broken cache a million times."""

    def __init__(self) -> None:
        self._said = False

    def warn(self, message: str) -> None:
        """Say `message`, unless something was said before."""
        if not self._said:
            self._said = True
            warn(message)
