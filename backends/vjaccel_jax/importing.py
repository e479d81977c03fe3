"""Importing JAX the way a library should: what a user has set, or has imported before, stays as it is."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

__all__ = ["import_jax"]

CACHE = "JAX_COMPILATION_CACHE_DIR"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def import_jax() -> Any:
    """JAX: it does not take the whole of a GPU's memory, and keeps what it compiles, unless the user says otherwise."""
    if "jax" not in sys.modules:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        folder = _cache_folder()
        if CACHE not in os.environ and folder is not None:
            os.environ[CACHE] = folder
            # Ours compile in less than the second below which JAX keeps nothing; a search has some twenty.
            os.environ.setdefault(LEAST, "0")
    import jax

    return jax


def _cache_folder() -> str | None:
    """A folder in the user's cache; None where it cannot be written, of which JAX would warn at each kernel.

    By machine: what is compiled for one CPU may not run on another that shares the home.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "vjaccel" / f"jax-{platform.node() or 'here'}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return str(folder) if os.access(folder, os.W_OK) else None
