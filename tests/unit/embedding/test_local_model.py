"""A local model: its device and dtype, torch's threads, and vectors that stay where they were computed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel_torch import TorchBackend

TEXTS = [f"text {'and more ' * (i % 7)}{i}" for i in range(300)]


@pytest.fixture
def embedder(tiny: Callable[[str], Tiny]) -> Iterator[vj.Embedder]:
    with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", workers=2, batch_tokens=128) as made:
        yield made


def threads() -> tuple[int, int]:
    """Torch's number here, and in a thread that is new."""
    with ThreadPoolExecutor(1) as pool:
        return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()


def pools() -> dict[str, int]:
    """What threadpoolctl finds: the number of threads of each BLAS and OpenMP that is loaded, by its file."""
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
class TestTorchsThreads:
    """They are as they were, here and in threads to come."""

    def test_after_a_run(self, embedder: vj.Embedder) -> None:
        embedder.embed(TEXTS)
        assert threads() == (3, 3)

    def test_after_a_run_that_was_interrupted(self, embedder: vj.Embedder) -> None:
        def stop(progress: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            embedder.embed(TEXTS, progress=stop)
        assert threads() == (3, 3)

    def test_after_a_run_with_failures(self, embedder: vj.Embedder) -> None:
        with pytest.raises(vj.EmbeddingErrors):
            embedder.embed(["a", None, "\ud800", *TEXTS])  # type: ignore[list-item]
        assert threads() == (3, 3)

    def test_after_texts_that_could_not_be_read(self, embedder: vj.Embedder) -> None:
        def read() -> Iterator[str]:
            yield from TEXTS
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            list(embedder.stream(read(), chunk_size=50))
        assert threads() == (3, 3)

    def test_as_the_libraries_themselves_say(self, embedder: vj.Embedder) -> None:
        before = pools()
        assert before
        embedder.embed(TEXTS)
        assert pools() == before

    def test_after_a_stream_that_was_closed(self, embedder: vj.Embedder) -> None:
        chunks = embedder.stream(TEXTS, chunk_size=50)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]  # it is a generator
        assert threads() == (3, 3)

    def test_after_runs_at_once(self, embedder: vj.Embedder) -> None:
        alone = embedder.embed(TEXTS).embeddings
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda _: embedder.embed(TEXTS).embeddings, range(3)))
        for found in results:
            np.testing.assert_allclose(found, alone, atol=1e-6)
        assert threads() == (3, 3)


def from_texts_to_matches(spec: str, tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, ...]] = []
    to_numpy = TorchBackend.to_numpy

    def counted(self: TorchBackend, x: torch.Tensor) -> np.ndarray:
        taken.append(tuple(x.shape))
        return to_numpy(self, x)

    monkeypatch.setattr(TorchBackend, "to_numpy", counted)
    device = spec.partition(":")[2]
    folder, model = tiny("cls")
    with vj.Embedder(f"local:{folder}", device=device, workers=1, batch_tokens=128) as embedder:
        result = embedder.embed(TEXTS, backend=spec)
        found = vj.topk(result.embeddings[:3], result.embeddings, k=5)
    width = result.embeddings.shape[1]
    assert not [shape for shape in taken if width in shape], "vectors went to the host"
    for x in (result.embeddings, *found):
        assert isinstance(x, torch.Tensor)
        assert not x.requires_grad
        assert x.device.type == {"cpu": "cpu", "gpu": "cuda"}[device]
    wanted = model.encode(TEXTS)
    np.testing.assert_allclose(result.embeddings.cpu().numpy(), wanted, atol=1e-5)
    assert found.indices[:, 0].tolist() == [0, 1, 2]


def test_vectors_stay_in_torch_from_texts_to_matches(
    tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_texts_to_matches("torch:cpu", tiny, monkeypatch)


@pytest.mark.gpu
def test_vectors_stay_on_the_gpu_from_texts_to_matches(
    tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    from_texts_to_matches("torch:gpu", tiny, monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize("devices", ["gpu:all", "gpu:all,cpu"])
def test_on_all_gpus_vectors_are_those_of_the_cpu(tiny: Callable[[str], Tiny], devices: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    folder, model = tiny("cls")
    with vj.Embedder(f"local:{folder}", device=devices, batch_tokens=128) as embedder:
        result = embedder.embed(TEXTS * 50)
    np.testing.assert_allclose(result.embeddings, model.encode(TEXTS * 50), atol=1e-5)
    assert sum(did.batches for did in result.statistics.devices.values()) == result.statistics.batches


def test_a_failed_text_is_a_row_of_nan_on_the_backend_too(embedder: vj.Embedder) -> None:
    result = embedder.embed(["a", 3, "b"], backend="torch:cpu", on_error="collect")  # type: ignore[list-item]
    assert isinstance(result.embeddings, torch.Tensor)
    assert torch.isnan(result.embeddings).all(dim=1).tolist() == [False, True, False]


def test_vectors_can_be_left_on_another_librarys_backend(embedder: vj.Embedder) -> None:
    found = embedder.embed(TEXTS[:20], backend="jax:cpu").embeddings
    assert type(found).__module__.startswith("jax")
    np.testing.assert_allclose(np.asarray(found), embedder.embed(TEXTS[:20]).embeddings, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_that_a_cpu_would_emulate_is_refused(
    tiny: Callable[[str], Tiny], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(vj.NotSupported, match=f"no {dtype} arithmetic.*use float32"):
        vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "within", "feature"), [("float16", 2e-3, "avx512_fp16"), ("bfloat16", 3e-2, "avx512_bf16")]
)
def test_half_precision_gives_float32_vectors_where_a_cpu_has_it(
    tiny: Callable[[str], Tiny], dtype: str, within: float, feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True})
    folder, model = tiny("cls")
    with vj.Embedder(f"local:{folder}", device="cpu", dtype=dtype) as embedder:
        found = embedder.embed(TEXTS[:20]).embeddings
    difference = abs(found - model.encode(TEXTS[:20])).max()
    assert found.dtype == np.float32
    assert 0 < difference < within, "it was not computed in half precision"


def test_an_unknown_dtype_lists_those_there_are(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="none of auto, float32, float16, bfloat16"):
        vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", dtype="float8")


def test_a_device_that_is_not_there_says_what_torch_sees(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.BackendUnavailable, match=r"no device 'gpu:7'.* sees .*cpu"):
        vj.Embedder(f"local:{tiny('cls').folder}", device="gpu:7")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda", "cuda:0"])
def test_a_gpu_where_torch_has_none_is_said(tiny: Callable[[str], Tiny], device: str) -> None:
    with pytest.raises(vj.BackendUnavailable, match=f"torch {re.escape(torch.__version__)} sees") as raised:
        vj.Embedder(f"local:{tiny('cls').folder}", device=device)
    assert raised.value.reason == f"no device '{device}'"


def test_auto_is_the_first_device_that_torch_sees(tiny: Callable[[str], Tiny]) -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    with vj.Embedder(f"local:{tiny('cls').folder}") as embedder:
        assert embedder.embed(TEXTS[:3], backend="torch").embeddings.device.type == expected


def test_local_models_without_their_libraries_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(vj.MissingExtra, match=r"vjaccel\[local\]"):
        vj.Embedder("local:all-MiniLM-L6-v2")


def test_nonsense_for_a_device_is_refused(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="device 'toaster' is none of"):
        vj.Embedder(f"local:{tiny('cls').folder}", device="toaster")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"base_url": "http://localhost:1/v1", "timeout": 3}, "base_url, timeout="),
        ({"requests_per_minute": 3}, "requests_per_minute="),
        ({"tokens_per_minute": 3}, "tokens_per_minute="),
    ],
    ids=str,
)
def test_what_only_a_service_can_do_is_refused_by_name(
    tiny: Callable[[str], Tiny], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(vj.InvalidInput, match=f"asks no service: {named} cannot be given with it"):
        vj.Embedder(f"local:{tiny('cls').folder}", **options)


def test_more_dimensions_than_there_are_is_refused(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="dimensions=33 is more than the 32"):
        vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", dimensions=33)


@pytest.mark.parametrize("text", ["\N{GRINNING FACE}" * 40, "a\0b", "x" * 20_000, " ", "\u202e mixed \u05d0"])
def test_odd_texts_have_the_vectors_that_encode_gives(tiny: Callable[[str], Tiny], text: str) -> None:
    folder, model = tiny("cls")
    with vj.Embedder(f"local:{folder}", device="cpu") as embedder:
        np.testing.assert_allclose(embedder.embed([text]).embeddings, model.encode([text]), atol=1e-5)


def test_loading_and_embedding_print_nothing_and_warn_of_nothing(tiny: Callable[[str], Tiny]) -> None:
    code = f"import vjaccel as vj; vj.Embedder('local:{tiny('cls').folder}', device='cpu').embed(['a', 'b'])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
