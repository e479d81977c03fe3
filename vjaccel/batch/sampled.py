"""Where time goes: what the threads do that work is looked at often, and written down now and then for speedscope.

Sampling is done from a thread of its own: Python's tracing profilers see one thread each, and two of them cannot run at once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Sampler", "speedscope"]

PERIOD = 0.01
"""Seconds between two samples."""
PREFIX = "vjaccel"
"""Of the names of threads of ours, which work for those that were told of."""

_log = logging.getLogger("vjaccel.batch")


class Place(NamedTuple):
    """A function, by where it is written."""

    name: str
    file: str
    line: int


Stack = tuple[Place, ...]
"""From the outermost call inwards."""


class Sampler:
    """Samples while something is `at_work`, and writes a profile every `interval` seconds of that, and when it is closed.

    Parameters
    ----------
    folder : path
        Made when the first profile is written, as ``vjaccel-TIME-PID-NUMBER.speedscope.json``.
    """

    def __init__(self, folder: str | os.PathLike[str], interval: float) -> None:
        self._folder, self._interval = Path(folder), interval
        self._changed = threading.Condition()
        self._at_work: Counter[int] = Counter()
        self._closed = False
        self._samples: dict[str, dict[Stack, float]] = {}
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The calling thread works meanwhile."""
        mine = threading.get_ident()
        with self._changed:
            self._at_work[mine] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._at_work[mine] -= 1
                if not self._at_work[mine]:
                    del self._at_work[mine]

    def close(self) -> None:
        """Write what there is, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        worked = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._at_work or self._closed)
                if self._closed:
                    break
                working = set(self._at_work)
            began = time.perf_counter()
            time.sleep(PERIOD)
            seconds = time.perf_counter() - began  # more where the interpreter is busy
            self._sample(working, seconds)
            worked += seconds
            if worked >= self._interval:
                self._write()
                worked = 0.0
        self._write()

    def _sample(self, working: set[int], seconds: float) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            name = names.get(ident, "")
            if ident in working or name.startswith(PREFIX):
                self._samples.setdefault(name or str(ident), defaultdict(float))[_stack(frame)] += seconds

    def _write(self) -> None:
        samples, self._samples = self._samples, {}
        if not samples:
            return
        self._written += 1
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = self._folder / f"vjaccel-{stamp}-{os.getpid()}-{self._written}.speedscope.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(speedscope(path.name, samples)), encoding="utf-8")
        except OSError as exc:
            _log.warning("the profile %s cannot be written: %s", path, exc)


def _stack(frame: FrameType | None) -> Stack:
    found = []
    while frame is not None:
        code = frame.f_code
        found.append(Place(code.co_qualname, code.co_filename, code.co_firstlineno))
        frame = frame.f_back
    return tuple(reversed(found))


def speedscope(name: str, samples: Mapping[str, Mapping[Stack, float]]) -> dict[str, Any]:
    """The seconds that stacks were seen for, by thread, in speedscope's file format."""
    places = list({place for counted in samples.values() for stack in counted for place in stack})
    numbers = {place: number for number, place in enumerate(places)}
    profiles = []
    for thread, counted in samples.items():
        weights = list(counted.values())
        profiles.append(
            {
                "type": "sampled",
                "name": thread,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": [[numbers[place] for place in stack] for stack in counted],
                "weights": weights,
            }
        )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "vjaccel",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": [place._asdict() for place in places]},
        "profiles": profiles,
    }
