"""One subject in a process of its own, ``python -m vjaccel.benchmark.worker``: a crash or a hang costs that subject alone.

Requests come as JSON, a line each, and each is answered by one line; arrays go by files in the run's folder. The parent
sends one request at a time, to one worker at a time.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.arrays.codes import Coding
from vjaccel.arrays.registry import backend_class
from vjaccel.benchmark import data, limits, texts
from vjaccel.benchmark.contender import BackendContender, Contender
from vjaccel.benchmark.peers import PeerContender
from vjaccel.benchmark.results import Case
from vjaccel.errors import NotSupported

__all__ = ["main"]

ENOUGH_SECONDS = 0.05
"""Of calls, in one turn of a subject; or as many calls as the parent has named blocks for."""


class Worker:
    """Answers requests; the first is `start`."""

    def __init__(self) -> None:
        self._contender: Contender

    def start(self, kind: str, name: str, device: str | None) -> dict[str, Any]:
        """Import the library, and use it once."""
        began = time.perf_counter()
        if kind == "peer":
            peer = PeerContender(name, device or "cpu")
            self._contender = peer
            found: dict[str, Any] = {"devices": peer.devices()}
        else:
            devices = backend_class(name).devices()
            backend = BackendContender(f"{name}:{device or devices[0]}")
            self._contender = backend
            small = np.ones((2, 2), np.float32)
            backend.on_host(_TINY, backend.prepared(_TINY, None, None)(backend.given(small, "device")))
            can = backend.backend.capabilities
            dtypes = ["float32", *(name for name in ("float16", "float64") if getattr(can, name))]
            found = {"devices": devices, "dtypes": dtypes, "codes": isinstance(backend.backend, Coding)}
        return found | {"device": self._contender.device, "seconds": time.perf_counter() - began}

    def limits(self) -> dict[str, Any]:
        """What the device can do at most; of a backend alone."""
        assert isinstance(self._contender, BackendContender)  # peers are not asked
        return dict(limits.measured(self._contender.backend))

    def measure(
        self,
        case: dict[str, Any],
        how: str | None,
        origin: str,
        blocks: list[int],
        cold: int,
        draw: int,
        folder: str,
        file: str,
    ) -> dict[str, Any]:
        """Time the operation on some blocks, each but once; the drawn rows of every result go into `file`.

        The first `cold` calls are timed apart. Those after them go on until they took `ENOUGH_SECONDS`.
        """
        what, place = Case(**case), Path(folder)
        drawn_from = data.base(place, what, copied=False)
        rows = data.base(place, what) if what.operation != "normalize" else None
        call = self._contender.prepared(what, None if rows is None else self._contender.given(rows, origin), how)
        seconds, fetched, size = [], [], 0
        kept: dict[str, np.ndarray] = {}
        checked = data.places(what, draw)
        for turn, number in enumerate(blocks):
            x = self._contender.given(data.block(what, drawn_from, number), origin)
            self._contender.finish()
            start = time.perf_counter()
            result = call(x)
            if origin == "device":
                self._contender.finish()
            done = time.perf_counter()
            host = self._contender.on_host(what, result)
            fetched.append(time.perf_counter() - done)
            size = sum(part.nbytes for part in host.values())
            seconds.append(done - start)
            kept |= {f"{turn}-{key}": part for key, part in _drawn(what, host, checked).items()}
            del x, result, host
            if turn >= cold and sum(seconds[cold:]) >= ENOUGH_SECONDS:
                break
        np.savez(place / file, **kept)  # type: ignore[arg-type]  # the stubs take the arrays for its options
        return {"cold": seconds[:cold], "seconds": seconds[cold:], "fetched": fetched[cold:], "bytes": size}

    def embed(
        self, how: str, model: str, device: str, dtype: str, batch: int, count: int, number: int, file: str
    ) -> dict[str, Any]:
        """Embed the texts of a number; the vectors go into `file`."""
        way: Callable[..., dict[str, Any]] = texts.encoded if how == "encode" else texts.embedded
        found = way(model, device, dtype, batch, count, number)
        np.savez(file, vectors=found.pop("vectors"))
        return found


_TINY = Case("", "normalize", None, "float32", {"rows": 2, "dim": 2}, 0.0, 0.0)


def _drawn(case: Case, found: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The drawn rows of a result, copied; one of another length goes whole, and is refused by the parent."""
    if case.operation == "pairs":
        return found
    n = len(found["offsets"]) - 1 if "offsets" in found else len(found["values"])
    if n != case.shape.get("queries", case.shape["rows"]):
        return found
    if "offsets" not in found:
        return {key: part[rows] for key, part in found.items()}
    spans = [slice(found["offsets"][i], found["offsets"][i + 1]) for i in rows]
    kept = {key: np.concatenate([found[key][span] for span in spans]) for key in ("ids", "values")}
    return kept | {"offsets": np.cumsum([0, *(span.stop - span.start for span in spans)])}


def main() -> None:
    """Answer the requests on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")  # theirs, of which nobody here could do anything
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    worker = Worker()
    while True:
        request = json.loads(requests.get())
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except NotSupported as exc:
            answer = {"not_supported": str(exc)}
        except Exception as exc:
            answer = {"failed": f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        gc.collect()


def _listen(requests: queue.SimpleQueue[str]) -> None:
    """Hand on the requests; when the parent is gone, so is this process, whatever it computes."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
