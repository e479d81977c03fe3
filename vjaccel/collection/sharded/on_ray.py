"""Shards in actors of a Ray cluster, one each. Where its process or its node ends, Ray starts it again, there or elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from typing import Any

from vjaccel.cluster import alive, connected, said
from vjaccel.collection.sharded.asking import Answer, Answers, InThreads, answer, answers
from vjaccel.collection.sharded.shard import Opened, Shard
from vjaccel.errors import MissingExtra, ShardUnavailable

__all__ = ["OnRay"]

ANSWER_SECONDS = 10.0
"""How long an actor may say nothing, not even that it is at work."""

AT_ONCE = 8
"""Calls that one actor has in hand."""

A_BYTE = 1
"""Of memory, which an actor asks for: one that asks for nothing is put by any node at all, and not where it was to be."""


class OnRay:
    """Shards in actors, which end with `close` or with this process.

    Raises
    ------
    MissingExtra, ClusterError, InvalidInput
    """

    def __init__(self, how: Opened, address: str | None) -> None:
        if find_spec("ray") is None:
            raise MissingExtra("a sharded collection on a Ray cluster", "ray")
        self.here = InThreads(how)
        self._how = how
        self._connection = ExitStack()
        self._ray = self._connection.enter_context(connected(address))
        self._known: dict[int, Any] = {}
        self._knowing = threading.Lock()

    def ask(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> Answers:
        actors = {number: self._actor(number) for number in calls}
        asked = {number: actors[number].ask.remote(method, given) for number, given in calls.items()}
        return answers({number: self._answer(number, actors[number], asked[number]) for number in calls})

    def close(self) -> None:
        for actor in self._known.values():
            with suppress(Exception):  # of a cluster that has ended
                self._ray.kill(actor)
        self._known = {}
        self.here.close()
        self._connection.close()

    def _actor(self, number: int) -> Any:
        with self._knowing:
            if number not in self._known:
                # A call that an actor's end has cut off is made again: it begins at a version, whatever the first has done.
                kind = self._ray.remote(
                    num_cpus=0, memory=A_BYTE, max_restarts=-1, max_task_retries=-1, max_concurrency=AT_ONCE,
                    concurrency_groups={"pulse": 1}, scheduling_strategy=self._there(number),
                )(_Actor)  # fmt: skip
                self._known[number] = kind.remote(number, self._how)
            return self._known[number]

    def _there(self, number: int) -> Any:
        """On the nodes in turn, and elsewhere where one is gone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        nodes = sorted(node["NodeID"] for node in alive(self._ray))
        return NodeAffinitySchedulingStrategy(nodes[number % len(nodes)], soft=True)

    def _answer(self, number: int, actor: Any, reference: Any) -> Answer:
        while True:
            try:
                found: Answer = self._ray.get(reference, timeout=ANSWER_SECONDS)
                return found
            except self._ray.exceptions.GetTimeoutError:
                if not self._is_alive(actor):
                    reason = f"its actor has not answered for {2 * ANSWER_SECONDS:g} s"
                    return Answer(None, ShardUnavailable(number, reason))
            except self._ray.exceptions.RayError as exc:
                with self._knowing:
                    if self._known.get(number) is actor:  # another thread may have made a new one
                        del self._known[number]  # the next that needs it has a new one
                return Answer(None, ShardUnavailable(number, f"its actor has ended: {said(exc)}"))

    def _is_alive(self, actor: Any) -> bool:
        beat = actor.pulse.options(concurrency_group="pulse").remote()
        ready, _ = self._ray.wait([beat], timeout=ANSWER_SECONDS)
        return bool(ready)


class _Actor:
    """What an actor is."""

    def __init__(self, number: int, how: Opened) -> None:
        self._shard = Shard(number, how)

    def ask(self, method: str, given: tuple[Any, ...]) -> Answer:
        return answer(self._shard, method, given)

    def pulse(self) -> None:
        """That the process is there, beside whatever else it does."""
