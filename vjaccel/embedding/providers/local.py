"""sentence-transformers models on this machine: our tokenising, planning and threads around the model's own modules."""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjaccel.arrays.registry import spelled
from vjaccel.embedding.models import check_weights, digest, locate
from vjaccel.embedding.providers.protocol import ModelIdentity, Prepared, ProviderOptions
from vjaccel.errors import BackendUnavailable, InvalidInput, MissingExtra, ModelUnavailable, NotSupported

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["LocalProvider"]

CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 65536

ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}


class LocalProvider:
    """A model in torch on one device.

    On a CPU several worker threads run a batch each, in one torch thread each: measured, that gives more tokens a second
    than one batch in all threads, and the same vectors.
    """

    batch_texts: int | None = None

    def __init__(self, model: str, options: ProviderOptions) -> None:
        try:
            import sentence_transformers  # noqa: F401  # only whether it is there
            import torch
        except ImportError as exc:
            raise MissingExtra("embedding with local models", "local") from exc
        self._torch = torch
        self._name = model
        self._device = _device(torch, options.device)
        self._dtype = _dtype(torch, options.dtype, self._device)
        self._folder = locate(model, revision=options.revision, allow_pickle=options.allow_pickle)
        check_weights(self._folder, allow_pickle=options.allow_pickle)
        self._model: SentenceTransformer = _load(
            self._folder, model, str(self._device), self._dtype, trust_remote_code=options.trust_remote_code
        )
        self._normalizes = _normalizing(self._model, options.normalize)
        self._normalize_again = options.normalize is True or (options.dimensions is not None and self._normalizes)
        self.dimensions = _width(self._model, options.dimensions)
        on_cpu = self._device.type == "cpu"
        self.workers = options.workers or (_cores() if on_cpu else 1)
        self.batch_tokens = options.batch_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
        self._tokenizer = _fast_tokenizer(self._model)
        self._one_torch_thread = on_cpu and self.workers > 1
        self._runs = 0
        self._lock = threading.Lock()

    # What it is

    @cached_property
    def _digest(self) -> str:
        return digest(self._folder)

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("local", self._name, self._digest, self.dimensions, prompt, self._normalizes)

    def prompt(self, role: str | None) -> str:
        prompts: dict[str, str] = self._model.prompts or {}
        if role is None:
            return prompts.get(self._model.default_prompt_name or "", "")
        return next((prompts[name] for name in ROLES[role] if prompts.get(name)), "")

    # Tokenising

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        if self._tokenizer is None:
            # What a model reads in its own way it also counts in its own way; characters are enough to plan by.
            lengths = np.fromiter((len(text) + len(prompt) for text in texts), np.int64, len(texts))
            return Prepared(list(texts), lengths, np.zeros(len(texts), np.int64), counted=False)
        found = self._tokenizer(
            [prompt + text for text in texts] if prompt else texts,
            truncation=True,
            max_length=self._model.max_seq_length,
            return_attention_mask=False,
        )
        encodings = found.encodings
        lengths = np.fromiter((len(encoding.ids) for encoding in encodings), np.int64, len(texts))
        lost = np.fromiter((_overflow(encoding) for encoding in encodings), np.int64, len(texts))
        return Prepared(list(encodings), lengths, lost, counted=True)

    # Inference

    def embed(self, items: list[Any], prompt: str) -> torch.Tensor:
        torch = self._torch
        with torch.inference_mode():
            features = self._features(items, prompt)
            vectors = self._model(features)["sentence_embedding"].float()
            vectors = vectors[:, : self.dimensions]
            if self._normalize_again:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            return vectors

    def _features(self, items: list[Any], prompt: str) -> dict[str, Any]:
        features: dict[str, Any]
        if self._tokenizer is None:
            features = self._model.preprocess(items, prompt=prompt or None)
        else:
            features = {**self._constants(prompt), **_padded(self._torch, self._tokenizer, items)}
        if self._device.type == "cpu":
            return features
        return {name: self._moved(value) if hasattr(value, "to") else value for name, value in features.items()}

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        # Only from pinned memory does a copy overlap with what the device is still computing.
        pinned = value.pin_memory() if self._device.type == "cuda" else value
        return pinned.to(self._device, non_blocking=True)

    def _constants(self, prompt: str) -> dict[str, Any]:
        """What the model's own preparing adds to every batch beside tensors, such as the length of the prompt."""
        whole = self._model.preprocess(["a"], prompt=prompt or None)
        return {name: value for name, value in whole.items() if not hasattr(value, "shape")}

    # Threads

    def begun(self) -> None:
        with self._lock:
            self._runs += 1

    def started(self) -> None:
        if self._one_torch_thread:
            self._torch.set_num_threads(1)

    def ended(self) -> None:
        with self._lock:
            self._runs -= 1
            if self._one_torch_thread and not self._runs:
                # Workers set only their own number, but a part of it (MKL's) is the process': this thread's puts it back.
                self._torch.set_num_threads(self._torch.get_num_threads())

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError | self._torch.OutOfMemoryError) or "can't allocate memory" in str(exc)

    def close(self) -> None:
        del self._model
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()


def _device(torch: Any, asked: str) -> Any:
    seen = [f"gpu:{i}" for i in range(torch.cuda.device_count())]
    seen += ["mps"] if torch.backends.mps.is_available() else []
    seen += ["cpu"]
    wanted = seen[0] if asked == "auto" else spelled(asked.lower())
    if wanted == "gpu":
        wanted = "gpu:0"
    if wanted not in seen:
        raise BackendUnavailable(
            f"there is no device {asked!r} for local models: torch {torch.__version__} sees {', '.join(seen)}",
            reason=f"no device {asked!r}",
        )
    return torch.device(wanted.replace("gpu", "cuda"))


def _dtype(torch: Any, asked: str, device: Any) -> Any:
    known = {"auto": torch.float32, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if asked not in known:
        raise InvalidInput(f"dtype {asked!r} is none of {', '.join(known)}")
    if device.type == "cpu" and asked in ("float16", "bfloat16"):
        native = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        wanted = ("avx512_fp16", "amx_fp16") if asked == "float16" else ("avx512_bf16", "amx_bf16", "bf16")
        if not any(native.get(name) for name in wanted):
            raise NotSupported(
                f"this CPU has no {asked} arithmetic and would emulate it, slower than float32: use float32"
            )
    return known[asked]


def _load(folder: Path, name: str, device: str, dtype: Any, *, trust_remote_code: bool) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": dtype},
        )
    except Exception as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise ModelUnavailable(f"the model {name!r} cannot be loaded: {type(exc).__name__}: {reason}") from exc
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.eval()


def _normalizing(model: SentenceTransformer, asked: bool | None) -> bool:
    """Whether vectors have norm one; where they shall not, the model's own last step is taken away."""
    last = model[len(model) - 1]
    if asked is False and type(last).__name__ == "Normalize":
        del model[len(model) - 1]
    return asked if asked is not None else type(last).__name__ == "Normalize"


def _width(model: SentenceTransformer, asked: int | None) -> int | None:
    full = model.get_embedding_dimension()
    if asked is not None and full is not None and asked > full:
        raise InvalidInput(f"dimensions={asked} is more than the {full} that the model has")
    return asked or full


def _fast_tokenizer(model: SentenceTransformer) -> Any:
    """The tokenizer, where batches can be made from its tokens as the model's own preparing would; else None."""
    from sentence_transformers.base.modules import Transformer

    first = model[0]
    if not isinstance(first, Transformer) or "message" in first.modalities or model.max_seq_length is None:
        return None
    tokenizer = model.tokenizer
    return tokenizer if getattr(tokenizer, "is_fast", False) else None


def _padded(torch: Any, tokenizer: Any, encodings: list[Any]) -> dict[str, Any]:
    width = max(len(encoding.ids) for encoding in encodings)
    shape = (len(encodings), width)
    ids = np.full(shape, tokenizer.pad_token_id or 0, np.int64)
    mask = np.zeros(shape, np.int64)
    types = np.full(shape, tokenizer.pad_token_type_id, np.int64)
    left = tokenizer.padding_side == "left"
    for row, encoding in enumerate(encodings):
        length = len(encoding.ids)
        place = slice(width - length, width) if left else slice(length)
        ids[row, place], mask[row, place], types[row, place] = encoding.ids, 1, encoding.type_ids
    features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if "token_type_ids" in tokenizer.model_input_names:
        features["token_type_ids"] = torch.from_numpy(types)
    return features


def _overflow(encoding: Any) -> int:
    return sum(len(part.ids) - sum(part.special_tokens_mask) for part in encoding.overflowing)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
