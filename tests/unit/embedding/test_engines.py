"""What runs a local model: the same vectors by another engine where it is installed, and where it is not, what to install."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import LONGEST, Tiny

NEEDED = {"onnx": ("onnxruntime", "optimum"), "openvino": ("openvino", "optimum")}
TEXTS = ["a", "the quick brown fox", "", *(f"{'d ' * (i % LONGEST)}{i}" for i in range(60)), "z " * 3 * LONGEST]
every_engine = pytest.mark.parametrize("engine", NEEDED)


def installed(engine: str) -> bool:
    return all(importlib.util.find_spec(name) for name in NEEDED[engine])


@every_engine
def test_an_engine_that_is_not_installed_names_its_extra(
    tiny: Callable[[str], Tiny], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in NEEDED[engine] else found(name, *a)
    )
    with pytest.raises(vj.MissingExtra, match=rf"engine='{engine}' needs the extra '{engine}': pip install 'vjaccel\["):
        vj.Embedder(f"local:{tiny('cls').folder}", engine=engine)  # type: ignore[arg-type]  # a word from a table


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"engine": "tensorrt"}, vj.InvalidInput, "'tensorrt' is none of torch, onnx, openvino"),
        ({"engine": "onnx", "device": "gpu"}, vj.NotSupported, "runs on the CPU here, and device is 'gpu'"),
        ({"engine": "openvino", "dtype": "float16"}, vj.NotSupported, "computes in float32 here, not float16"),
        ({"engine": "openvino", "workers": 2}, vj.NotSupported, "one batch at a time, on all cores"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    tiny: Callable[[str], Tiny], options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        vj.Embedder(f"local:{tiny('cls').folder}", **options)  # type: ignore[arg-type]  # options of all kinds


def test_a_function_has_no_engine() -> None:
    with pytest.raises(vj.InvalidInput, match="engine= cannot be given"):
        vj.Embedder(lambda texts: np.ones((len(texts), 2)), engine="onnx")


def test_torch_is_no_part_of_an_identity(tiny: Callable[[str], Tiny]) -> None:
    with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu") as embedder:
        assert embedder.identity.engine is None


@every_engine
@pytest.mark.parametrize("kind", ["cls", "dense", "mean"])
def test_vectors_are_those_of_torch_and_the_export_is_made_once(
    tiny: Callable[[str], Tiny], engine: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed: it needs an older transformers than is here")
    monkeypatch.setenv("VJACCEL_CACHE_DIR", str(tmp_path))
    folder, model = tiny(kind)
    for _ in range(2):
        with vj.Embedder(f"local:{folder}", engine=engine) as embedder:  # type: ignore[arg-type]  # a word from a table
            assert embedder.identity.engine == engine
            np.testing.assert_allclose(embedder.embed(TEXTS).embeddings, model.encode(TEXTS), rtol=0, atol=1e-5)
        (place,) = (tmp_path / "exported").iterdir()
        made = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
        assert made
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == made
