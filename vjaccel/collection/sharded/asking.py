"""Asking shards: the protocol, and the way of it that needs nothing else, threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from vjaccel.collection.sharded.shard import Opened, Shard
from vjaccel.errors import ShardUnavailable

__all__ = ["Answer", "Answers", "InThreads", "Shards", "answer", "answers"]

THREADS = 32
"""That shards are asked in, those of all calls together."""


class Answer(NamedTuple):
    """What a shard returned, or what it raised."""

    said: Any
    error: Exception | None = None


class Answers(NamedTuple):
    """What shards returned, by their numbers; and why others are not available."""

    said: dict[int, Any]
    down: dict[int, ShardUnavailable]


class Shards(Protocol):
    """The shards of a collection, wherever they are. One that nobody has asked before is opened."""

    @property
    def here(self) -> InThreads:
        """The same shards in this process, for what is gone through bit by bit."""
        ...

    def ask(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> Answers:
        """Call a method of `Shard` on each shard of `calls` with what it is given there, at once; all have ended afterwards.

        What a shard raises other than `ShardUnavailable` is raised.
        """
        ...

    def close(self) -> None: ...


class InThreads:
    """Shards in this process, each asked in a thread of its own where there are several."""

    def __init__(self, how: Opened) -> None:
        self._how = how
        self._known: dict[int, Shard] = {}
        self._knowing = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, "vjaccel-shard")

    @property
    def here(self) -> InThreads:
        return self

    def shard(self, number: int) -> Shard:
        """The shard itself."""
        with self._knowing:
            if number not in self._known:
                self._known[number] = Shard(number, self._how)
            return self._known[number]

    def others(self) -> InThreads:
        """The same shards, opened anew."""
        return InThreads(self._how)

    def ask(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> Answers:
        def one(number: int) -> Answer:
            return answer(self.shard(number), method, calls[number])

        found = map(one, calls) if len(calls) < 2 else self._pool.map(one, calls)
        return answers(dict(zip(calls, found, strict=True)))

    def close(self) -> None:
        self._pool.shutdown()
        for shard in self._known.values():
            shard.close()


def answer(shard: Shard, method: str, given: tuple[Any, ...]) -> Answer:
    """What a shard does with a call."""
    try:
        return Answer(getattr(shard, method)(*given))
    except Exception as exc:  # it is raised where the answers come together
        return Answer(None, exc)


def answers(found: Mapping[int, Answer]) -> Answers:
    """The answers of several shards, by their numbers, as `Shards.ask` gives them."""
    down = {number: one.error for number, one in found.items() if isinstance(one.error, ShardUnavailable)}
    raised = next((one.error for number, one in found.items() if one.error is not None and number not in down), None)
    if raised is not None:
        raise raised
    return Answers({number: one.said for number, one in found.items() if number not in down}, down)
