"""What a device does when its memory is used up, in a process of its own: python -m tests.gpu.limited STORY SPEC.

The library's own allocator is limited, so that a small corpus does what a large one does without: the errors are the real ones.
"""

from __future__ import annotations

import os
import subprocess
import sys

LIMIT = 1 << 30
"""Bytes of the device that the library may take."""


def total() -> int:
    """The device's memory, asked for in another process, so that no library is begun in this one."""
    done = subprocess.run([sys.executable, "-m", "tests.gpu.memory"], capture_output=True, text=True, check=True)
    return int(done.stdout)


def limited(spec: str) -> None:
    """Limit the library, before its device is first used. A CPU is not limited: then only the story itself is tried."""
    name, kind = spec.split(":")[:2]
    if kind == "cpu":
        return
    if name == "torch":
        import torch

        torch.cuda.set_per_process_memory_fraction(LIMIT / total())
    elif name == "jax":
        os.environ.pop("XLA_PYTHON_CLIENT_ALLOCATOR", None)
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{LIMIT / total():.4f}"
    else:
        import cupy

        cupy.get_default_memory_pool().set_limit(size=LIMIT)


def streamed(spec: str) -> None:
    """A corpus larger than the device's memory stays on the host, and is searched as by float64."""
    import numpy as np

    import vjaccel as vj
    from tests.gpu.truth import best, copied, drawn, near

    small = spec.endswith("cpu")
    rows = copied(drawn(4000 if small else 2 * LIMIT // (4 * 384), 384))
    queries = near(rows, np.random.default_rng(0).integers(0, len(rows), 50))
    for metric in ("cosine",) if small else ("cosine", "euclidean"):
        expected = best(metric, queries, rows, 10)
        corpus = vj.Corpus(rows, metric=metric, backend=spec, resident=False if small else None)
        assert not corpus.resident, "it should not have fitted"
        for _ in range(2):
            np.testing.assert_array_equal(corpus.topk(queries, 10).indices, expected)
        scans = vj.get_backend(spec).capabilities.scans
        for scan in scans:
            coarse = vj.Corpus(rows, metric=metric, backend=spec, scan=scan, resident=False)
            np.testing.assert_array_equal(coarse.topk(queries, 10).indices, expected)
    if not small:
        refused: Exception | None = None
        try:
            vj.Corpus(rows, backend=spec, resident=True)
        except Exception as exc:
            refused = exc
        assert refused is not None, "a corpus of twice the memory went to the device"
        assert vj.get_backend(spec).is_out_of_memory(refused), repr(refused)


def halved(spec: str) -> None:
    """Tiles for which there is no memory are halved until there is, and the answers are right."""
    import numpy as np

    import vjaccel as vj
    from tests.gpu.truth import best, drawn, near

    small = spec.endswith("cpu")
    rows = drawn(4000 if small else 400_000, 384)  # 0.6 GB
    queries = near(rows, np.random.default_rng(0).integers(0, len(rows), 1000))[: 20 if small else 1000]
    exact = rows[:50] / np.linalg.norm(rows[:50].astype(np.float64), axis=1, keepdims=True)
    expected = best("cosine", queries[:20], rows, 10)
    backend = vj.get_backend(spec)

    def search() -> None:
        np.testing.assert_array_equal(vj.topk(queries, rows, 10, backend=backend).indices[:20], expected)

    def normalize() -> None:
        some = rows[:200_000]  # which fit twice
        found = vj.normalize(some, backend=backend)
        np.testing.assert_allclose(found[:50], exact, atol=1e-6)

    def compare() -> None:
        few = rows[:20_000]
        found = vj.distance(queries, few, metric="euclidean", backend=backend)
        wide = np.linalg.norm(queries[0].astype(np.float64) - few.astype(np.float64), axis=1)
        np.testing.assert_allclose(found[0], wide, rtol=1e-5)

    left = []
    for story in (search, normalize, compare):
        backend.tile_bytes = 1 << 33  # type: ignore[attr-defined]  # of GenericBackend, as ours are
        story()
        left.append(backend.tile_bytes)  # type: ignore[attr-defined]
        print(story.__name__, "ended with tiles of", left[-1] >> 20, "MB")
    assert small or min(left) < 1 << 33, "no tile was too large"


if __name__ == "__main__":
    limited(sys.argv[2])
    {"streamed": streamed, "halved": halved}[sys.argv[1]](sys.argv[2])
