"""What a run costs beside its model: the driver's rows a second and bytes a row, a worker's own, by the engine's own parts.

It is run without Ray, so that nothing but each part's own time is in its figure; `ray_shards` adds what Ray Data takes.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import vjaccel as vj
from benchmarks.scale.slept import WIDTH
from vjaccel.cluster import Resources, Workers, connected
from vjaccel.embedding import EmbeddingStatistics
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines import FileRun
from vjaccel.engines.dealing import MOST, dealt
from vjaccel.engines.files import UnderWay, run_over, unsettled
from vjaccel.engines.shards import cut, embed_shard, shard_path, shards_path, take_in
from vjaccel.io import Inputs
from vjaccel.telemetry import Recording

__all__ = ["measured_driver", "measured_seen", "ray_shards"]

ROWS, ROUNDS = 16 * MOST, 3
GROUP_ROWS = 65_536
TEXT = "this is text number {}, about as long as the gloss of a word in a dictionary"

SEEN, PART = 4_000_000, 8192


def measured_driver(rows: int = ROWS) -> dict[str, Any]:
    """Rows a second of each part, the best of `ROUNDS`, bytes a row and bytes a shard."""
    rounds = [_one_round(rows) for _ in range(ROUNDS)]
    rates = {part: max(found["rows_per_second"][part] for found in rounds) for part in rounds[0]["rows_per_second"]}
    return rounds[0] | {"rows_per_second": rates, "rounds": ROUNDS}


def _one_round(rows: int) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    size: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began

    with TemporaryDirectory(prefix="vjaccel-scale-") as name, _quick() as embedder:
        folder = Path(name)
        texts = pa.array([TEXT.format(i) for i in range(rows)])
        pq.write_table(pa.table({"text": texts}), folder / "in.parquet", row_group_size=GROUP_ROWS)
        size["input"] = (folder / "in.parquet").stat().st_size / rows
        with timed("digest"):
            inputs = Inputs([str(folder / "in.parquet")])
            inputs.digests()
        asked = FileRun(folder / "out.parquet")

        def embed(under_way: UnderWay) -> tuple[EmbeddingStatistics | None, Recording | None]:
            return _by_shards(under_way, embedder, timed, size)

        began = time.perf_counter()
        run_over(inputs, embedder, asked, lambda found: None, embed)
        whole = time.perf_counter() - began
        seconds["merge"] = whole - sum(seconds[part] for part in ("read", "work", "take_in", "look"))
        size["output"] = (folder / "out.parquet").stat().st_size / rows
        size["manifest"] = (folder / "out.parquet.run.json").stat().st_size
    del seconds["look"]
    rates = {part: rows / took for part, took in seconds.items()}
    return {"rows": rows, "dim": WIDTH, "shard_rows": min(rows, MOST), "rows_per_second": rates, "bytes": size}


def _quick() -> vj.Embedder:
    """Its vectors come at once, and no two are the same, so that a file of them is as large as one of a model's."""
    answer = np.random.default_rng(0).standard_normal((1024, WIDTH), dtype=np.float32)
    factors = map(np.float32, count(1.0, 1e-3))
    return vj.Embedder(lambda texts: answer[: len(texts)] * next(factors), name="quick")


def _by_shards(
    under_way: UnderWay, embedder: vj.Embedder, timed: Callable[[str], Any], size: dict[str, float]
) -> tuple[EmbeddingStatistics | None, Recording | None]:
    """As the engine has workers and its driver do it, but one after the other."""
    inputs, asked, run, journal, _, _ = under_way
    wanted = np.zeros(inputs.rows, np.bool_)
    with timed("read"):
        for some in unsettled(under_way):
            wanted[some.start + some.wanted] = True
    shards, folder = cut(wanted, dealt(inputs.rows, Workers(), MOST)), shards_path(asked.output)
    folder.mkdir()
    whole, parts = Recording(embedder.model, 1, tells=False), []
    with timed("work"):
        for shard in shards:
            recording = embed_shard(shard, inputs, embedder, folder, run, None)
            assert recording is not None
            parts.append(recording)
    with timed("look"):
        own = shard_path(folder, shards[0].start)
        size["shard_vectors"] = (own / "vectors.f32").stat().st_size
        size["shard_beside"] = sum(x.stat().st_size for x in own.iterdir()) - size["shard_vectors"]
        size["shard_files"] = sum(1 for _ in own.iterdir())
        size["shard_description"] = len(pickle.dumps(shards[0]))
        size["shard_recording"] = len(json.dumps(parts[0].to_dict()))

    def with_part(part: Recording) -> Recording:
        whole.take_in(part)
        return whole

    with timed("take_in"):
        for shard, part in zip(shards, parts, strict=True):
            take_in(journal, shard_path(folder, shard.start), partial(with_part, part))
    with timed("look"):
        beside = asked.output.with_name(f"{asked.output.name}.journal")
        size["vectors"] = (beside / "vectors.f32").stat().st_size / inputs.rows
        size["journal"] = (beside / "journal.jsonl").stat().st_size / inputs.rows
        size["index"] = (beside / "seen.sqlite").stat().st_size / inputs.rows
        # Which rows are done, have failed and are wanted, each a byte; and the descriptions of all shards.
        size["memory"] = 3 * wanted.itemsize + size["shard_description"] / min(inputs.rows, MOST)
    return None, None


def measured_seen() -> list[dict[str, float]]:
    """Rows a second of the index of texts, as it grows, and its bytes a row."""
    found, began = [], time.perf_counter()
    with TemporaryDirectory(prefix="vjaccel-scale-") as name:
        path = Path(name) / "seen.sqlite"
        with SeenTexts(path) as seen:
            for start in range(0, SEEN, PART):
                seen.first(start, [TEXT.format(i) for i in range(start, start + PART)])
                rows = start + PART
                if rows // (SEEN // 4) > start // (SEEN // 4):
                    now = time.perf_counter()
                    found.append(
                        {"rows": rows, "rows_per_second": SEEN / 4 / (now - began), "bytes": path.stat().st_size / rows}
                    )
                    began = now
    return found


def ray_shards(shards: int = 1024) -> dict[str, Any]:
    """Shards a second that Ray Data hands to two workers which do nothing, and gives back."""
    with connected(None, Resources()) as ray:
        began = time.perf_counter()
        description = pickle.dumps(cut(np.ones(MOST, np.bool_), np.array([0, MOST]))[0])
        rows = [{"shard": description} for _ in range(shards)]
        dataset = ray.data.from_items(rows, override_num_blocks=shards)
        put = time.perf_counter()
        compute = ray.data.ActorPoolStrategy(min_size=2, max_size=2)
        done = dataset.map_batches(_Nothing, batch_size=1, batch_format="pyarrow", compute=compute, num_cpus=1)
        batches = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        first = last = 0.0
        for _ in batches:
            last = time.perf_counter()
            first = first or last
    return {
        "shards": shards,
        "put_per_second": shards / (put - began),
        "done_per_second": (shards - 1) / (last - first),
    }


class _Nothing:
    def __call__(self, batch: Any) -> Any:
        return batch
