"""An embedder that asks the server that fails, and what it has to give."""

from __future__ import annotations

from typing import Any

import numpy as np

import vjaccel as vj
from tests.faults.server import FaultServer, vector

__all__ = ["embedder", "expected"]


def embedder(server: FaultServer, **options: Any) -> vj.Embedder:
    """By OpenAI's own SDK, its time for a batch ten seconds unless `options` say otherwise."""
    return vj.Embedder("openai:m", base_url=server.url, **{"timeout": 10.0, **options})


def expected(texts: list[str], width: int = 8) -> np.ndarray:
    """The vectors that the server gives for `texts`."""
    return np.array([vector(text, width) for text in texts])
