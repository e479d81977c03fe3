"""A process that is killed while it writes to a cache leaves a cache that works, with all that it had said was in it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from vjaccel.embedding.cache import open_cache, rows_of

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
MIB = 1024**2

# Says which batch is in the cache, as soon as it is.
WRITER = """
import sys
from tests.faults.test_killed_cache import batch
from vjaccel.embedding.cache import open_cache
cache = open_cache(sys.argv[1], max_bytes=int(sys.argv[3]))
for turn in range(10**6):
    cache.put(*batch(sys.argv[2], turn))
    print(turn, flush=True)
"""


def batch(name: str, turn: int) -> tuple[list[bytes], np.ndarray]:
    """Keys and vectors that nobody else has, of sizes that change."""
    rng = np.random.default_rng([turn, *name.encode()])
    count, dim = int(rng.integers(1, 200)), int(rng.choice([16, 384]))
    keys = [blake2b(f"{name} {turn} {i}".encode(), digest_size=16).digest() for i in range(count)]
    return keys, rng.standard_normal((count, dim), dtype=np.float32)


def killed(folder: Path, name: str, after: float, bound: int) -> int:
    """The last batch that a writer said was in, before it was killed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(bound)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    time.sleep(after)
    writer.kill()
    said = writer.communicate(timeout=PATIENCE)[0].splitlines()
    return int(said[-1]) if said else 0


@pytest.mark.parametrize(
    ("bound", "rounds"),
    [
        (256 * MIB, 3),
        (2 * MIB, 4),
        pytest.param(256 * MIB, 40, marks=pytest.mark.soak),
        pytest.param(2 * MIB, 60, marks=pytest.mark.soak),
    ],
)
def test_a_writer_that_is_killed_leaves_what_it_had_put(tmp_path: Path, bound: int, rounds: int) -> None:
    moments = random.Random(bound)
    for number in range(rounds):
        last = killed(tmp_path, f"writer {number}", moments.uniform(0.0, 0.15), bound)
        cache = open_cache(tmp_path, max_bytes=bound)
        assert cache is not None
        there = []
        for turn in range(last + 1):
            keys, vectors = batch(f"writer {number}", turn)
            found, rows = rows_of(cache.get(keys), vectors.shape[1])
            np.testing.assert_array_equal(rows, vectors[found])
            there.append(len(found) == len(keys))
        # All of it, or, where it is bounded, the newest.
        assert all(there if bound > 100 * MIB else there[-1:])
        keys, vectors = batch("this", number)
        cache.put(keys, vectors)
        np.testing.assert_array_equal(rows_of(cache.get(keys), vectors.shape[1])[1], vectors)
        cache.close()
    assert [path.name for path in tmp_path.iterdir()] == ["vjaccel-cache-1"]


def test_several_writers_and_a_reader_at_once_one_of_them_killed(tmp_path: Path) -> None:
    bound = 64 * MIB
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen(
            [*command, name, str(bound)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for name in ("first", "second")
    ]  # fmt: skip
    cache = open_cache(tmp_path, max_bytes=bound)
    assert cache is not None
    try:
        for turn in range(30):
            for name, writer in zip(("first", "second"), writers, strict=True):
                if name == "second" or turn < 10:
                    assert writer.stdout is not None
                    assert writer.stdout.readline() == f"{turn}\n"
                    keys, vectors = batch(name, turn)
                    np.testing.assert_array_equal(rows_of(cache.get(keys), vectors.shape[1])[1], vectors)
            if turn == 10:
                writers[0].kill()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate(timeout=PATIENCE)
        cache.close()
