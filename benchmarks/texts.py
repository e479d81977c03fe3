"""The texts that are embedded: the glosses, and glosses joined to lengths as documents have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

__all__ = ["glosses", "mixed_lengths"]

GLOSSES = Path(__file__).parents[1] / "examples" / "data" / "glosses.jsonl"


def glosses() -> list[str]:
    """Two thousand of about 18 tokens each."""
    return [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()]


def mixed_lengths(glosses: list[str], texts: int = 200) -> list[str]:
    """Glosses joined to lengths that are log-normal, median 120 tokens, at most 512."""
    rng = np.random.default_rng(0)
    wanted = np.minimum(512, rng.lognormal(np.log(120), 0.7, texts)).astype(int)
    words = " ".join(glosses).split()
    starts = rng.integers(0, len(words) - 512, texts)
    # The glosses have about 0.75 words a token.
    return [" ".join(words[start : start + max(1, int(n * 0.75))]) for start, n in zip(starts, wanted, strict=True)]
