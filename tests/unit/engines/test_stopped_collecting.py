"""A run into a collection that ends before its time: what was refused then is said as ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.engines import Source, Target, TextRow, embed_into
from vjaccel.io import error_log, error_path


def test_what_the_collection_refuses_of_a_stopped_run_is_named(tmp_path: Path) -> None:
    """Another writer gives a column another kind meanwhile."""
    with vj.Collection.open(tmp_path / "notes", 2, create=True) as notes:

        def model(texts: list[str]) -> np.ndarray:
            notes.upsert(["other"], [[1.0, 0.0]], [{"year": "text"}])
            return np.ones((len(texts), 2), np.float32)

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        def run() -> None:
            rows = [TextRow("a", "x", {"text": "x", "year": 1}), TextRow("b", "y", {"text": "y"})]
            with vj.Embedder(model) as embedder, error_log(tmp_path / "notes", of_stopped=True) as log:
                source, target = Source(lambda: [rows], "text"), Target(lambda dim: notes, log=log)
                embed_into(source, embedder, target, max_latency=None, max_errors=None, show=stopped)

        with pytest.raises(KeyboardInterrupt):
            run()
        assert sorted(notes.get(["a", "b"]).ids) == ["b"]
    (error,) = [json.loads(line) for line in error_path(tmp_path / "notes").read_text().splitlines()]
    assert (error["id"], error["index"], error["code"]) == ("a", 0, "INVALID_METADATA")
