"""The parent's side of a worker: a process that may crash or hang, and is asked one thing at a time."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

__all__ = ["Child", "Crashed", "TimedOut"]


class Crashed(Exception):
    """The process is gone; the message says how, and its last words."""


class TimedOut(Exception):
    """No answer came in time; the process has been killed."""


class Child:
    """A worker's process.

    Parameters
    ----------
    errors : Path
        The file that takes what it prints.
    """

    def __init__(self, errors: Path) -> None:
        self._errors = errors
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # JAX would take three quarters of a GPU's memory, and the others, who wait their turn, need theirs.
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with errors.open("wb") as file:
            # A session of its own: an interrupt is the parent's, who has something to write before it ends.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vjaccel.benchmark.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=file, env=environment, start_new_session=True, text=True, encoding="utf-8",
            )  # fmt: skip
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to `request`.

        Raises
        ------
        Crashed, TimedOut
        """
        assert self._process.stdin is not None  # it is piped
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Crashed(self._last_words()) from None
        try:
            line = self._answers.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            self.close()
            raise TimedOut(f"no answer in {timeout:.0f} s") from None
        if line is None:
            raise Crashed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what was not written to a process that is gone

    def _listen(self) -> None:
        assert self._process.stdout is not None  # it is piped
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{how}: {lines[-1].strip()}" if lines else how
