"""What a run would see, without embedding anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from vjaccel.embedding.cache import Cache, CacheKeys
from vjaccel.embedding.devices import Device
from vjaccel.embedding.providers.protocol import AROUND, Provider
from vjaccel.embedding.run import planned, prepared_alone

__all__ = ["Estimate", "estimated"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run over some texts would embed.

    Attributes
    ----------
    texts, invalid, too_long, duplicates, cached : int
        All; those that are no text; those with more tokens than the model takes, where that is an error; those that were
        among them before; those that the cache has.
    tokens : int or None
        Of the rest, as the model's tokenizer counts them; None where nobody can.
    tokens_at_most : int
        A bound on that, where it is not counted: the bytes of the texts in UTF-8, and what models put around them.
    longest : int or None
        Tokens of the longest text, before it is cut off.
    truncated : int or None
        Texts longer than the model takes.
    batches : int
        Batches, or requests.
    """

    texts: int = 0
    invalid: int = 0
    too_long: int = 0
    duplicates: int = 0
    cached: int = 0
    tokens: int | None = 0
    tokens_at_most: int = 0
    longest: int | None = 0
    truncated: int | None = 0
    batches: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        """Of the texts of both."""
        return Estimate(
            self.texts + other.texts,
            self.invalid + other.invalid,
            self.too_long + other.too_long,
            self.duplicates + other.duplicates,
            self.cached + other.cached,
            None if self.tokens is None or other.tokens is None else self.tokens + other.tokens,
            self.tokens_at_most + other.tokens_at_most,
            None if self.longest is None or other.longest is None else max(self.longest, other.longest),
            None if self.truncated is None or other.truncated is None else self.truncated + other.truncated,
            self.batches + other.batches,
        )


def estimated(
    texts: Sequence[Any],
    prompt: str,
    provider: Provider,
    cache: Cache | None,
    keys: CacheKeys | None,
    seen: set[bytes],
) -> Estimate:
    """What a run would see of one chunk of texts, of which those in `seen`, to which it adds, were there before."""
    valid = [text for text in texts if isinstance(text, str)]
    distinct = []
    for text in dict.fromkeys(valid):
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            distinct.append(text)
    wanted = distinct
    if cache is not None and keys is not None and distinct:
        found = cache.get(keys.of(distinct))
        wanted = [text for text, value in zip(distinct, found, strict=True) if value is None]
    chunk = prepared_alone(wanted, prompt, provider)
    lengths, lost, counted = chunk.prepared.lengths, chunk.prepared.lost, chunk.prepared.counted
    bytes_ = sum(len((prompt + text).encode("utf-8", "surrogatepass")) + AROUND for text in wanted)
    too_long = sum(error.code == "TOKEN_LIMIT_EXCEEDED" for error in chunk.gathered.errors.values())
    return Estimate(
        texts=len(texts),
        invalid=len(texts) - len(valid) + len(chunk.gathered.errors) - too_long,
        too_long=too_long,
        duplicates=len(valid) - len(distinct),
        cached=len(distinct) - len(wanted),
        tokens=int(lengths.sum()) if counted else None,
        tokens_at_most=int(lengths.sum()) if counted or chunk.prepared.at_most else bytes_,
        longest=int(np.max(lengths + lost, initial=0)) if counted else None,
        truncated=int((lost > 0).sum()) if counted else None,
        batches=sum(1 for _ in planned(chunk, Device(provider))),
    )
