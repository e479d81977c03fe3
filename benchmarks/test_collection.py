"""Collections: what goes in a second, in memory and on disk (bar P11), small changes that stay quick, and searching much.

The peer on disk is chroma, which is measured where it is installed (`pip install chromadb`: it brings 35 packages, so it is no
part of the extra dev). A loop of lancedb bounds what is possible: the same files, but no id is looked up and nothing synced.
"""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rounds import contest

import vjaccel as vj

IN_MEMORY, BATCH, NARROW = 200_000, 5_000, 128
ON_DISK, LOOP, WIDE = 100_000, 1_000, 384
UPSERTS, FIRST = 10_000, 500


def test_insert_in_memory(benchmark) -> None:
    rows = np.random.default_rng(0).standard_normal((BATCH, NARROW), dtype=np.float32)
    calls = [[f"id-{call}-{i}" for i in range(BATCH)] for call in range(IN_MEMORY // BATCH)]

    def insert() -> None:
        col = vj.Collection("notes", NARROW)
        for ids in calls:
            assert len(col.insert(ids, rows).ok) == BATCH

    contest(benchmark, "P11", {"vjaccel": insert}, rounds=15, work=IN_MEMORY)


def test_insert_on_disk(benchmark, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((ON_DISK, WIDE), dtype=np.float32)
    ids = [f"id-{i}" for i in range(ON_DISK)]
    numbers = itertools.count()

    def ours(size: int, durability: str) -> Callable[[], None]:
        def insert() -> None:
            with vj.Collection.open(tmp_path / f"{next(numbers)}", WIDE, create=True, durability=durability) as col:
                for start in range(0, ON_DISK, size):
                    col.insert(ids[start : start + size], rows[start : start + size])
                assert len(col) == ON_DISK

        return insert

    contenders: dict[str, Callable[[], object]] = {
        "vjaccel": ours(LOOP, "fsync"),
        "vjaccel, 5000 a call": ours(BATCH, "fsync"),
        "vjaccel, process": ours(LOOP, "process"),
    }
    if importlib.util.find_spec("lancedb") is not None:
        contenders["limit: lancedb, no ids, no sync"] = lambda: lancedb_loop(tmp_path / f"{next(numbers)}", ids, rows)
    if importlib.util.find_spec("chromadb") is not None:
        contenders["chroma"] = lambda: chroma_loop(tmp_path / f"{next(numbers)}", ids, rows)
    contest(benchmark, "P11", contenders, rounds=1 if "chroma" in contenders else 5, work=ON_DISK, warmup=0)


def lancedb_loop(folder: Path, ids: list[str], rows: np.ndarray) -> None:
    import lancedb
    import pyarrow as pa

    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), WIDE))])
    table = lancedb.connect(str(folder)).create_table("notes", schema=schema)
    for start in range(0, ON_DISK, LOOP):
        part = pa.array(rows[start : start + LOOP].reshape(-1))
        columns = [pa.array(ids[start : start + LOOP]), pa.FixedSizeListArray.from_arrays(part, WIDE)]
        table.add(pa.Table.from_arrays(columns, schema=schema))
    assert table.count_rows() == ON_DISK


def chroma_loop(folder: Path, ids: list[str], rows: np.ndarray) -> None:
    import chromadb

    col = chromadb.PersistentClient(str(folder)).create_collection("notes", metadata={"hnsw:space": "cosine"})
    for start in range(0, ON_DISK, LOOP):
        col.add(ids=ids[start : start + LOOP], embeddings=rows[start : start + LOOP])
    assert col.count() == ON_DISK


def test_small_upserts_stay_quick(benchmark, tmp_path: Path) -> None:
    """Rows one by one, half of them there already, into ten thousand."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((UPSERTS, WIDE), dtype=np.float32)
    seconds: list[float] = []

    def upserts() -> None:
        with vj.Collection.open(tmp_path / "col", WIDE, create=True) as col:
            col.insert([f"old-{i}" for i in range(UPSERTS)], rows)
            for turn in range(UPSERTS):
                name = f"old-{rng.integers(UPSERTS)}" if turn % 2 else f"new-{turn}"
                start = time.perf_counter()
                col.upsert([name], rows[turn : turn + 1], [{"turn": turn}])
                seconds.append(time.perf_counter() - start)
            assert len(col) == UPSERTS * 3 // 2

    contest(benchmark, "steady", {"vjaccel": upserts}, rounds=1, warmup=0, work=UPSERTS)
    parts = [np.array(seconds[start : start + FIRST]) * 1e3 for start in range(0, UPSERTS, FIRST)]
    benchmark.extra_info["first_ms"] = round(float(parts[0].mean()), 2)
    benchmark.extra_info["last_ms"] = round(float(parts[-1].mean()), 2)
    benchmark.extra_info["growth"] = round(float(parts[-1].mean() / parts[0].mean()), 2)
    benchmark.extra_info["slowest_ms"] = round(max(seconds) * 1e3, 1)


SEARCH = """
import sys
import numpy as np
import vjaccel as vj
from vjaccel.arrays.testing.memory import peak_bytes
limit, dim = 64 << 20, 384
total = 5 * limit // (4 * dim)
rng = np.random.default_rng(0)
col = vj.Collection.open(sys.argv[1] + "/large", dim, create=True, durability="process", memory_limit=limit)
for start in range(0, total, 10_000):
    ids = [f"r{i}" for i in range(start, min(start + 10_000, total))]
    rows = rng.standard_normal((len(ids), dim), dtype=np.float32)
    col.insert(ids, rows)
small = vj.Collection.open(sys.argv[1] + "/small", dim, create=True, memory_limit=0)
small.insert(ids, rows)
small.search(rows[:10], 10)
grown = peak_bytes(lambda: col.search(rows[:10], 10))
print(grown / 1e6 if grown is not None else "")
"""


def test_search_of_five_times_the_limit(benchmark, tmp_path: Path) -> None:
    printed: list[str] = []

    def search() -> None:
        done = subprocess.run([sys.executable, "-c", SEARCH, str(tmp_path)], check=True, capture_output=True, text=True)
        printed.append(done.stdout.strip())

    contest(benchmark, "beyond memory", {"vjaccel": search}, rounds=1, warmup=0)
    if not printed[0]:
        pytest.skip("this system does not say how much memory a process had at most")
    benchmark.extra_info["limit_mb"] = round((64 << 20) / 1e6, 1)
    benchmark.extra_info["grown_mb"] = round(float(printed[0]), 1)
