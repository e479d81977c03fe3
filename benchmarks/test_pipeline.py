"""What the pipeline itself costs: a provider that answers at once (P6), and a second run from a warm cache (P5)."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import lmdb
import numpy as np
from rounds import contest

import vjaccel as vj

WIDTH = 384


def of_some_length(texts: int) -> list[str]:
    return [f"this is text number {i}, about as long as the gloss of a word in a dictionary" for i in range(texts)]


def test_texts_of_a_provider_that_answers_at_once(benchmark) -> None:
    texts, answer = of_some_length(1000), np.ones((1024, WIDTH), np.float32)

    def provider(asked: list[str]) -> np.ndarray:
        return answer[: len(asked)]

    def bare() -> np.ndarray:
        out = np.empty((len(texts), WIDTH), np.float32)
        out[:] = provider(texts)
        return out

    with vj.Embedder(provider) as embedder:
        contest(
            benchmark,
            "P6",
            {"vjaccel": lambda: embedder.embed(texts), "limit: a bare loop": bare},
            rounds=200,
            work=len(texts),
            warmup=5,
        )


def test_texts_from_a_warm_cache(benchmark, tmp_path: Path) -> None:
    texts = of_some_length(20_000)
    vectors = np.random.default_rng(0).standard_normal((len(texts), WIDTH), dtype=np.float32)
    number = {text: i for i, text in enumerate(texts)}

    def key(text: str) -> bytes:
        return blake2b(text.encode(), digest_size=16).digest()

    with (
        lmdb.open(str(tmp_path / "bare"), map_size=1 << 30) as bare,
        vj.Embedder(
            lambda some: vectors[[number[text] for text in some]], name="m", cache=tmp_path / "ours"
        ) as embedder,
    ):
        expected = embedder.embed(texts).embeddings
        with bare.begin(write=True) as writing:
            for text, vector in zip(texts, vectors, strict=True):
                writing.put(key(text), vector.tobytes())

        def loop() -> np.ndarray:
            out = np.empty((len(texts), WIDTH), np.float32)
            with bare.begin(buffers=True) as reading, reading.cursor() as cursor:
                for i, (_, value) in enumerate(cursor.getmulti([key(text) for text in texts])):
                    out[i] = np.frombuffer(value, np.float32)
            return out

        np.testing.assert_array_equal(loop(), expected)
        contest(
            benchmark,
            "P5",
            {"vjaccel": lambda: embedder.embed(texts), "limit: hash, getmulti, copy": loop},
            work=len(texts),
        )
        assert embedder.embed(texts).statistics.cache_hits == len(texts)
