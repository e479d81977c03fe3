"""`vjaccel embed --dry-run`: what a run would see, embed and cost; nothing is embedded, and nothing written."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.embedding import Embedder, Estimate
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines import FileRun, settled_before
from vjaccel.io import VECTORS, Inputs
from vjaccel.observe import Seen, View, cost_of

__all__ = ["counted", "estimated"]


def counted(inputs: Inputs, embedder: Embedder, asked: FileRun, bar: View, price: float | None) -> dict[str, Any]:
    """What a run over `inputs` would see; `price` is that of a million tokens."""
    settled = settled_before(inputs, embedder, asked)
    prompt, found, done, duplicates, kept = embedder.prompt_for("document"), Estimate(), 0, 0, 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="vjaccel-") as folder, SeenTexts(Path(folder) / "seen.sqlite") as seen:
        for rows in inputs.batches(CHUNK):
            own = seen.first(done, rows.texts) == np.arange(done, done + len(rows))
            wanted = np.flatnonzero(own & ~settled[done : done + len(rows)])
            found += embedder.estimate([rows.texts[i] for i in wanted], prompt=prompt)
            kept += int(own.sum()) - len(wanted)
            duplicates += len(rows) - int(own.sum())
            done += len(rows)
            seconds = time.perf_counter() - started
            bar.embedded(Seen(done, inputs.rows, None, seconds), "counting")
    return estimated(inputs, embedder, found, price) | {"settled": kept, "duplicates": duplicates}


def estimated(inputs: Inputs, embedder: Embedder, found: Estimate, price: float | None) -> dict[str, Any]:
    """What is told of the texts that a run would embed."""
    return {
        "rows": inputs.rows,
        "bad_lines": inputs.bad_lines,
        "no_text": found.invalid,
        "too_long": found.too_long,
        "cached": found.cached,
        "tokens": found.tokens,
        "tokens_at_most": found.tokens_at_most,
        "longest_tokens": found.longest,
        "truncated": found.truncated,
        "batches": found.batches,
        "cost": cost_of(found.tokens_at_most if found.tokens is None else found.tokens, price),
        "dimensions": embedder.dim,
        "columns": [*inputs.schema.names, VECTORS],
    }
