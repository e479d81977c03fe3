"""A provider whose every text takes the same time and no processor, so that many workers fit on few cores.

Rates of a worker that computes cannot be seen scale on a machine that has fewer cores than workers.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions

__all__ = ["WIDTH", "SleptProvider", "install"]

WIDTH = 384


def _slept(seconds: float, vectors: np.ndarray, texts: list[str]) -> np.ndarray:
    time.sleep(seconds * len(texts))
    return vectors[: len(texts)]


class SleptProvider(FunctionProvider):
    """``slept:MILLISECONDS`` for each text."""

    batch_texts = 32
    dimensions = WIDTH

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        vectors = np.ones((self.batch_texts, WIDTH), np.float32)
        super().__init__(partial(_slept, float(rest) / 1e3, vectors), ProviderOptions(workers=1))
        self._name = rest

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("slept", self._name, None, WIDTH, prompt, True)


def install(folder: Path) -> None:
    """Write the metadata of a distribution that registers it; `folder` is then put on the path."""
    information = folder / "slept-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: slept\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[vjaccel.providers]\nslept = benchmarks.scale.slept:SleptProvider\n")
