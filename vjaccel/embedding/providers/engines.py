"""What runs a local model instead of torch: ONNX Runtime or OpenVINO, as sentence-transformers' backends."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vjaccel.embedding.learned import cache_folder
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.errors import InvalidInput, MissingExtra, ModelUnavailable, NotSupported

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SETTINGS", "check_engine", "exported"]

NEEDED = {"torch": (), "onnx": ("onnxruntime", "optimum"), "openvino": ("openvino", "optimum")}
"""Engines, and the modules without which they do not work."""

SETTINGS: dict[str, dict[str, object]] = {
    # Its first provider may be a GPU's.
    "onnx": {"provider": "CPUExecutionProvider"},
    # Left to itself it computes in less than float32: vectors of MiniLM were off by 1.2e-3, with this by 1.9e-7.
    "openvino": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}},
}
"""What sentence-transformers is to be told of an engine."""


def check_engine(options: ProviderOptions) -> None:
    """Refuse an engine that there is not, or that cannot do what is asked.

    Raises
    ------
    InvalidInput, MissingExtra, NotSupported
    """
    engine = options.engine
    if engine not in NEEDED:
        raise InvalidInput(f"engine {engine!r} is none of {', '.join(NEEDED)}")
    if engine == "torch":
        return
    if options.device not in ("auto", "cpu"):
        raise NotSupported(
            f"engine={engine!r} runs on the CPU here, and device is {options.device!r}: use engine='torch'"
        )
    if options.dtype not in ("auto", "float32"):
        raise NotSupported(f"engine={engine!r} computes in float32 here, not {options.dtype}: use engine='torch'")
    if engine == "openvino" and options.workers not in (None, 1):
        raise NotSupported("OpenVINO runs one batch at a time, on all cores: leave workers= out")
    if any(importlib.util.find_spec(name) is None for name in NEEDED[engine]):
        raise MissingExtra(f"engine={engine!r}", engine)


def exported(engine: str, folder: Path, digest: str, load: Callable[[Path, bool], SentenceTransformer]) -> Path:
    """Where the model in `folder` is in the form that `engine` runs: exported once, into the cache folder.

    Always from the model's own weights, whatever exported files it comes with: so that `digest` tells which vectors it gives.

    Parameters
    ----------
    load : callable
        From a folder, and whether to export, to the model.

    Raises
    ------
    ModelUnavailable
        It cannot be exported, or the cache folder cannot be written.
    """
    place = cache_folder() / "exported" / f"{digest[:32]}-{engine}"
    if place.is_dir():
        return place
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        with warnings.catch_warnings():
            # What exporters say of their own ways (that torch means to give up tracing) is for who writes them.
            warnings.simplefilter("ignore")
            load(folder, True).save_pretrained(str(partial), create_model_card=False)
            gc.collect()  # the exporter's model and its temporary folder, which hold each other
        try:
            partial.rename(place)
        except OSError:
            if not place.is_dir():  # another process was there first
                raise
    except OSError as exc:
        if isinstance(exc, ModelUnavailable):
            raise
        raise ModelUnavailable(f"the model in {folder} cannot be exported for {engine} to {place}: {exc}") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return place
