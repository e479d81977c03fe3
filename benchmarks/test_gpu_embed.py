"""Embedding on a GPU against `encode` at its best batch size, in the same dtype and attention: bar P12.

The models have the shapes of all-MiniLM-L6-v2 and of a BERT-large, and random weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import texts
from gpu_devices import SMALL, SPECS, Torch, device_of, sized
from made_models import SHAPES, build
from rounds import contest

import vjaccel as vj

TEXTS = {("minilm", "glosses"): 20_000, ("minilm", "mixed lengths"): 4_000,
         ("bert-large", "glosses"): 4_000, ("bert-large", "mixed lengths"): 800}  # fmt: skip
BATCHES = [8] if SMALL else [64, 512]
DTYPES = ["float32"] if SMALL else ["float32", "float16", "bfloat16"]


@pytest.fixture(scope="module")
def device() -> Torch:
    """Models are torch's."""
    found = device_of(next((spec for spec in SPECS if spec.startswith("torch")), "torch:gpu"))
    assert isinstance(found, Torch)
    return found


@pytest.fixture(scope="module")
def model(device: Torch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model by its shape, each made once."""
    made: dict[str, Path] = {}

    def of(shape: str) -> Path:
        if shape not in made:
            made[shape] = build(SHAPES["rehearsal" if SMALL else shape], tmp_path_factory.mktemp(shape) / "model")
        return made[shape]

    return of


def drawn(shape: str, kind: str) -> list[str]:
    """Texts no two of which are the same, since those would be embedded once."""
    count, glosses = sized(TEXTS[shape, kind]), texts.glosses()
    if kind == "mixed lengths":
        return texts.mixed_lengths(glosses, count)
    return [f"{i} {glosses[i % len(glosses)]}" for i in range(count)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["glosses", "mixed lengths"])
@pytest.mark.parametrize("shape", ["minilm", "bert-large"])
def test_embed_on_a_gpu(
    benchmark, device: Torch, model: Callable[[str], Path], shape: str, kind: str, dtype: str
) -> None:
    from sentence_transformers import SentenceTransformer

    wanted, torch = drawn(shape, kind), device.torch
    place = device.spec.partition(":")[2]
    peer = SentenceTransformer(
        str(model(shape)), device={"gpu": "cuda"}.get(place, place), local_files_only=True,
        model_kwargs={"dtype": getattr(torch, dtype)},
    )  # fmt: skip
    with vj.Embedder(f"local:{model(shape)}", device=place, dtype=dtype) as embedder:
        result = embedder.embed(wanted)
        expected = peer.encode(wanted[:100], convert_to_numpy=True, show_progress_bar=False)

        def encode(batch: int) -> Callable[[], object]:
            return device.timed(lambda: peer.encode(wanted, batch_size=batch, show_progress_bar=False))

        contest(
            benchmark,
            "P12",
            {
                "vjaccel": device.timed(lambda: embedder.embed(wanted)),
                **{f"encode {batch}": encode(batch) for batch in BATCHES},
            },
            rounds=1 if SMALL else 2,
            work=result.statistics.tokens,
            warmup=0,  # `embed` and `encode` have each been called
        )
    benchmark.extra_info["padding_share"] = round(result.statistics.padding_share or 0.0, 4)
    benchmark.extra_info["largest_difference"] = float(np.abs(result.embeddings[:100] - expected).max())


@pytest.mark.skipif(SMALL, reason="a CPU has no idle GPU")
@pytest.mark.parametrize("shape", ["minilm", "bert-large"])
def test_how_long_the_gpu_works_while_embedding(
    benchmark, device: Torch, model: Callable[[str], Path], shape: str
) -> None:
    profiler = device.torch.profiler
    wanted = drawn(shape, "mixed lengths")
    with vj.Embedder(f"local:{model(shape)}", device="gpu", dtype="float16") as embedder:
        embedder.embed(wanted)
        contest(benchmark, "P12", {"vjaccel": device.timed(lambda: embedder.embed(wanted))}, rounds=2, warmup=0)
        with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as seen:
            start = time.perf_counter()
            embedder.embed(wanted)
            device.backend.synchronize()
            seconds = time.perf_counter() - start
    kernels = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    benchmark.extra_info["gpu_busy"] = round(kernels / seconds, 3)
