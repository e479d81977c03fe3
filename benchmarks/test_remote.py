"""The local provider beside infinity's server, same model and texts, on the same machine: what one call gives either way.

Both are given what they take by themselves: the server its batches, the local provider its workers. The server is asked through
the provider `openai:`, and so is what the whole way there and back costs.
"""

from __future__ import annotations

import numpy as np
import texts
from rounds import contest

import vjaccel as vj
from tests.infinity import MODEL, infinity_server


def test_remote(benchmark, monkeypatch) -> None:
    wanted = texts.glosses()[:1000]
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with (
        infinity_server() as url,
        vj.Embedder("local:all-MiniLM-L6-v2", device="cpu") as local,
        vj.Embedder(f"openai:{MODEL}", base_url=url, timeout=600.0) as remote,
    ):
        expected, found = local.embed(wanted), remote.embed(wanted)
        contest(
            benchmark,
            "infinity",
            {"vjaccel": lambda: local.embed(wanted), "openai: at infinity": lambda: remote.embed(wanted)},
            rounds=3,
            work=expected.statistics.tokens,
        )
    benchmark.extra_info["largest_difference"] = float(np.abs(found.embeddings - expected.embeddings).max())
