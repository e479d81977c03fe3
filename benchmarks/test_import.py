"""What a fresh process pays: the import (bar P7) and the first search (bar P13), whole processes in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rounds import contest

FIRST_SEARCH = """
import numpy as np, vjaccel as vj
rows = np.random.default_rng(0).random((1000, 64), dtype=np.float32)
vj.topk(rows[0], rows)
"""


def _process(code: str, cache: Path | None = None) -> Callable[[], object]:
    environment = {"PATH": "/usr/bin:/bin"} | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment)


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


def test_first_topk_with_compiled_kernels(benchmark, tmp_path: Path) -> None:
    contest(
        benchmark,
        "P13",
        {"vjaccel": _process(FIRST_SEARCH, tmp_path), "limit: import numba": _process("import numpy, numba")},
        rounds=5,
    )


def test_first_topk_without_compiled_kernels(benchmark, tmp_path: Path) -> None:
    folders = iter(range(100))
    contest(
        benchmark,
        "P13",
        {
            "vjaccel": lambda: _process(FIRST_SEARCH, tmp_path / str(next(folders)))(),
            "limit: import numba": _process("import numpy, numba"),
        },
        rounds=3,
    )
