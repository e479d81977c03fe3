"""What a fresh process pays: the import (bar P7) and the first search (bar P13), whole processes in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rounds import contest

FIRST_SEARCH = """
import sys, numpy as np, vjaccel as vj
rows = np.random.default_rng(0).random((1000, 64), dtype=np.float32)
vj.topk(rows[0], rows, backend=sys.argv[1])
"""
IMPORTS = {"numpy": "import numpy, numba", "jax": "import numpy, jax.numpy"}

by_backend = pytest.mark.parametrize("backend", IMPORTS)


def _process(code: str, *arguments: str, cache: Path | None = None) -> Callable[[], object]:
    # numba's own folder, and that under which the JAX backend has its.
    caches = {"NUMBA_CACHE_DIR": str(cache), "XDG_CACHE_HOME": str(cache)} if cache else {}
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ} | caches
    return lambda: subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)


def test_import(benchmark) -> None:
    contest(
        benchmark,
        "P7",
        {
            "vjaccel": _process("import vjaccel"),
            "limit: import numpy": _process("import numpy"),
            "limit: python alone": _process("pass"),
        },
    )


@by_backend
def test_first_topk_with_compiled_kernels(benchmark, tmp_path: Path, backend: str) -> None:
    contest(
        benchmark,
        "P13",
        {
            "vjaccel": _process(FIRST_SEARCH, backend, cache=tmp_path),
            f"limit: {IMPORTS[backend]}": _process(IMPORTS[backend]),
        },
        rounds=5,
    )


@by_backend
def test_first_topk_without_compiled_kernels(benchmark, tmp_path: Path, backend: str) -> None:
    folders = iter(range(100))
    contest(
        benchmark,
        "P13",
        {
            "vjaccel": lambda: _process(FIRST_SEARCH, backend, cache=tmp_path / str(next(folders)))(),
            f"limit: {IMPORTS[backend]}": _process(IMPORTS[backend]),
        },
        rounds=3,
    )
