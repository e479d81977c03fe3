"""What was learned of batches, kept in the user's cache folder from one run to the next.

One file for all models, replaced as a whole: of two processes that write it at once the later one's is kept, and nothing is
torn. What cannot be read counts as nothing known; where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.tuner import Arm, Learned, Tuner

__all__ = ["cache_folder", "recalled", "remember", "tuner_of"]

VERSION = 1
MODELS = 64
"""So many are remembered, those that were written last."""

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where this library keeps what it may lose: ``VJACCEL_CACHE_DIR``, or ``vjaccel`` in the user's cache folder."""
    own = os.environ.get("VJACCEL_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vjaccel"


def tuner_of(key: str, provider: Provider) -> Tuner:
    """A tuner that begins with what is remembered of `key`, for batches of `provider`."""
    return Tuner(provider.batch_tokens, recalled(key), cold=provider.workers)


def recalled(key: str) -> Learned | None:
    """What is remembered of `key`."""
    try:
        found = _read(_file())[key]
        return Learned(
            found["most"],
            {
                int(bucket): {int(budget): Arm(float(batches), float(logs)) for budget, (batches, logs) in arms.items()}
                for bucket, arms in found["arms"].items()
            },
        )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remember(key: str, learned: Learned) -> None:
    """Have `learned` recalled of `key`."""
    arms = {
        str(bucket): {str(budget): [round(arm.batches, 4), round(arm.logs, 4)] for budget, arm in known.items()}
        for bucket, known in learned.arms.items()
    }
    try:
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            everything = _read(path)
        except (OSError, ValueError):
            everything = {}
        everything.pop(key, None)
        everything[key] = {"most": learned.most, "arms": arms}
        kept = dict(list(everything.items())[-MODELS:])
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            partial.write_text(json.dumps({"version": VERSION, "learned": kept}), encoding="utf-8")
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
    except (OSError, RuntimeError) as exc:
        _log.debug("what was learned of batches is not kept: %s", exc)


def _file() -> Path:
    """By machine: several may share a home, and what is best on one is not on another."""
    return cache_folder() / f"batches-{platform.node() or 'here'}.json"


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("version") != VERSION or not isinstance(found.get("learned"), dict):
        raise ValueError(f"{path} is of another version")
    learned: dict[str, Any] = found["learned"]
    return learned
