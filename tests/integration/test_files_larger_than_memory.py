"""A file that is larger than the memory there is for it is searched where it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DIM = 128

SEARCH = """
import resource, sys
from pathlib import Path
import numpy as np
import vjaccel as vj

path, backend, room = sys.argv[1:]
queries = np.eye(4, 128, dtype=np.float32)
vj.topk(queries, np.ones((5000, 128), np.float32), backend=backend)  # what libraries take at first is no matter here
corpus = np.load(path, mmap_mode="r")
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
limit = 1024 * int(status["VmData"].split()[0]) + (int(room) << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.array(corpus, dtype=np.float32)
except MemoryError:
    print(vj.topk(queries, corpus, 5, metric="dot", backend=backend).indices.tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process takes and not what it maps")
@pytest.mark.parametrize(
    ("backend", "dtype", "room", "count"),
    # 320 MB of float32, or 640: JAX compiles in its room as well.
    [
        ("numpy", "float32", 256, 625_000),
        ("numpy", "int8", 256, 625_000),
        ("torch:cpu", "int8", 256, 625_000),
        ("jax:cpu", "float32", 512, 1_250_000),
    ],
)
def test_a_file_larger_than_the_memory_left_is_searched(
    backend: str, dtype: str, room: int, count: int, tmp_path: Path
) -> None:
    if backend != "numpy":
        pytest.importorskip(backend.partition(":")[0])
    # All but 160 rows are zero, so that the file takes no room on the disk.
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", dtype, (count, DIM))
    expected = []
    for axis in range(4):
        places = (np.arange(40) * (count // 41) + axis).tolist()
        rows[places, axis] = np.arange(40) + 1
        expected.append(places[:-6:-1])
    rows.flush()
    command = [sys.executable, "-W", "error", "-c", SEARCH, str(tmp_path / "rows.npy"), backend, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(expected), done.stderr[-2000:]
