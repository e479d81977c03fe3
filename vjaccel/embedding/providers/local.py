"""sentence-transformers models on this machine: our tokenising, planning and threads around the model's own modules."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjaccel.arrays.devices import spelled
from vjaccel.arrays.threads import processors
from vjaccel.embedding.models import check_code, check_weights, digest, locate
from vjaccel.embedding.planner import batch_cost, plan
from vjaccel.embedding.providers.asked import refuse_others
from vjaccel.embedding.providers.engines import SETTINGS, check_engine, exported
from vjaccel.embedding.providers.protocol import DeviceFailed, ModelIdentity, Prepared, ProviderOptions, Reply
from vjaccel.embedding.providers.threads import one_torch_thread_each
from vjaccel.embedding.providers.tokens import fast_tokens
from vjaccel.embedding.providers.windows import Windows
from vjaccel.errors import BackendUnavailable, InvalidInput, MissingExtra, ModelUnavailable, NotSupported

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["LocalProvider"]

CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 65536
CHARACTERS_PER_TOKEN = 4
"""For models that do not let their tokens be counted: about what English has."""

OPTIONS = ("device", "dtype", "dimensions", "normalize", "revision", "truncate", "engine")
ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}


class LocalProvider:
    """A model in torch on one device.

    On a CPU several worker threads run a batch each, in one torch thread each: measured, that gives more tokens a second
    than one batch in all threads, and the same vectors.
    """

    batch_texts: int | None = None
    tuned_as: str | None
    """What the best budget of a batch depends on, beside the texts; None where it was given, or is not to be learned."""

    def __init__(self, model: str, options: ProviderOptions) -> None:
        try:
            import sentence_transformers  # noqa: F401  # only whether it is there
            import torch
        except ImportError as exc:
            raise MissingExtra("embedding with local models", "local") from exc
        refuse_others(options, OPTIONS, "a local model asks no service")
        check_engine(options)
        self._torch = torch
        self._name = model
        self._device = _device(torch, options.device if options.engine == "torch" else "cpu")
        self._dtype = _dtype(torch, options.dtype, self._device)
        self._folder = locate(model, revision=options.revision, allow_pickle=options.allow_pickle)
        check_weights(self._folder, allow_pickle=options.allow_pickle)
        check_code(self._folder, trust_remote_code=options.trust_remote_code)
        self._model: SentenceTransformer = self._loaded(options)
        self._normalizes = _normalizing(self._model, options.normalize)
        self._normalize_again = options.normalize is True or (options.dimensions is not None and self._normalizes)
        self.dimensions = _width(self._model, options.dimensions)
        self._prompts: dict[str, str] = dict(self._model.prompts or {})
        self._default_prompt = self._prompts.get(self._model.default_prompt_name or "", "")
        self._tokens = fast_tokens(self._model)
        self._options = options
        _check_truncate(options.truncate, self._model, counts=self._tokens is not None)
        self._constants: dict[str, dict[str, Any]] = {}
        on_cpu = self._device.type == "cpu"
        # The other engines use all cores for one batch.
        self.workers = options.workers or (processors() if on_cpu and options.engine == "torch" else 1)
        budget = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self.batch_tokens = options.batch_tokens or budget * (1 if self._tokens else CHARACTERS_PER_TOKEN)
        self._one_torch_thread = on_cpu and self.workers > 1
        learns = options.batch_tokens is None and self._tokens is not None and options.truncate != "chunk"
        self.tuned_as = self._told() if learns else None

    @staticmethod
    def devices() -> list[str]:
        """Those that torch sees, as ``gpu:0``, ``mps`` and ``cpu``."""
        try:
            import torch
        except ImportError as exc:
            raise MissingExtra("embedding with local models", "local") from exc
        seen = [f"gpu:{i}" for i in range(torch.cuda.device_count())]
        return [*seen, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]

    def _loaded(self, options: ProviderOptions) -> SentenceTransformer:
        def load(folder: Path, export: bool) -> SentenceTransformer:
            more = (
                {"dtype": self._dtype} if options.engine == "torch" else {"export": export, **SETTINGS[options.engine]}
            )
            return _load(folder, self._name, str(self._device), options, more)

        if options.engine == "torch":
            return load(self._folder, False)
        return load(exported(options.engine, self._folder, self._digest, load), False)

    # What it is

    @cached_property
    def _digest(self) -> str:
        return digest(self._folder)

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity(
            "local", self._name, self._digest, self.dimensions, prompt, self._normalizes,
            revision=self._options.revision, dtype=str(self._dtype).removeprefix("torch."),
            truncate=self._options.truncate, engine=None if self._options.engine == "torch" else self._options.engine,
        )  # fmt: skip

    def prompt(self, role: str | None) -> str:
        if role is None:
            return self._default_prompt
        # Every model has an empty "document" prompt; "passage" is what many call theirs.
        return next((self._prompts[name] for name in ROLES[role] if self._prompts.get(name)), "")

    def _told(self) -> str:
        on = f"{processors()} cores" if self._device.type == "cpu" else self._device.type
        if self._device.type == "cuda":
            on = str(self._torch.cuda.get_device_name(self._device))
        dtype = str(self._dtype).removeprefix("torch.")
        return f"local:{self._name} in {dtype} by {self._options.engine} on {on}, {self.workers} at once"

    # Tokenising

    def prepare(self, texts: list[str], prompt: str) -> Prepared:
        if self._tokens is None:
            _check_characters(texts)
            # What a model reads in its own way it also counts in its own way; characters are enough to plan by.
            lengths = np.fromiter((len(text) + len(prompt) for text in texts), np.int64, len(texts))
            # One that has no limit has nothing to cut.
            chunks = np.ones_like(lengths) if self._options.truncate == "chunk" else None
            return Prepared(list(texts), lengths, np.zeros_like(lengths), counted=False, chunks=chunks)
        ways = {"end": self._tokens.cut_off, "error": self._tokens.refused, "chunk": self._tokens.in_windows}
        try:
            return ways[self._options.truncate](texts, prompt)
        except TypeError:
            _check_characters(texts)  # the tokenizer says of these only that they are no input
            raise

    # Inference

    def embed(self, items: list[Any], prompt: str) -> torch.Tensor | Reply:
        embed = self._of_windows if self._options.truncate == "chunk" and self._tokens is not None else self._vectors
        if self._device.type != "cuda":
            return embed(items, prompt)
        try:
            # A kernel that is no operator of torch's own runs on the current device, whatever its tensors are on.
            with self._torch.cuda.device(self._device):
                found = embed(items, prompt)
                # What goes wrong there is said now, and not where the vectors are looked at, which is next anyway.
                self._torch.cuda.current_stream().synchronize()
        except RuntimeError as exc:
            if not _is_given_up(self._torch, exc):
                raise
            raise DeviceFailed(str(exc).strip().partition("\n")[0]) from exc
        return found

    def _vectors(self, items: list[Any], prompt: str) -> torch.Tensor:
        torch = self._torch
        with torch.inference_mode():
            features = self._features(items, prompt)
            vectors = self._model(features)["sentence_embedding"].float()
            vectors = vectors[:, : self.dimensions]
            if self._normalize_again:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            return vectors.cpu() if self._device.type == "mps" else vectors  # no backend takes arrays on MPS

    def _of_windows(self, items: list[Windows], prompt: str) -> Reply:
        """Each text's vector: the mean of its windows', weighted by how many of its tokens are in each, of norm one again.

        So does OpenAI's cookbook, "Embedding texts that are longer than the model's maximum context length".
        """
        torch = self._torch
        lengths = np.concatenate([item.lengths for item in items])
        shares = np.concatenate([item.weights / item.weights.sum() for item in items]).astype(np.float32)
        counts = np.array([item.count for item in items])
        text = np.repeat(np.arange(len(items)), counts)
        number = np.arange(len(text)) - np.repeat(np.cumsum(counts) - counts, counts)
        means = None
        waiting, padded = plan(lengths, self.batch_tokens, None, batch_cost(self.batch_tokens)), 0
        while waiting:
            # A batch of the run is as large as its texts are long; one text may have more windows than memory has room for.
            part = waiting.pop()
            size = int(lengths[part].max()) * len(part)
            try:
                vectors = self._vectors([items[text[i]].row(number[i]) for i in part], prompt)
            except Exception as exc:
                if len(part) == 1 or not self.is_out_of_memory(exc):
                    raise
                self.batch_tokens = max(1, min(self.batch_tokens, size // 2))
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
                continue
            padded += size
            with torch.inference_mode():
                if means is None:
                    means = torch.zeros(len(items), vectors.shape[1], device=vectors.device)
                weighted = vectors * torch.from_numpy(shares[part]).to(vectors.device)[:, None]
                means.index_add_(0, torch.from_numpy(text[part]).to(vectors.device), weighted)
        assert means is not None  # a batch has an item, and an item a window
        if self._normalizes and len(text) > len(items):
            with torch.inference_mode():
                # Not those of one window, which are as they would be without windows, to the last bit.
                several = torch.from_numpy(counts > 1).to(means.device)[:, None]
                means = torch.where(several, torch.nn.functional.normalize(means, dim=1), means)
        return Reply(means, padded=padded)

    def _features(self, items: list[Any], prompt: str) -> dict[str, Any]:
        if self._tokens is None:
            features: dict[str, Any] = self._model.preprocess(items, prompt=prompt or None)
        else:
            features = {**self._constant_features(prompt), **self._tokens.padded(items, self._torch.from_numpy)}
        if self._device.type == "cpu":
            return features
        return {name: self._moved(value) if hasattr(value, "to") else value for name, value in features.items()}

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        # Only from pinned memory does a copy overlap with what the device is still computing.
        pinned = value.pin_memory() if self._device.type == "cuda" else value
        return pinned.to(self._device, non_blocking=True)

    def _constant_features(self, prompt: str) -> dict[str, Any]:
        """What the model's own preparing adds to every batch beside tensors, such as the length of the prompt."""
        assert self._tokens is not None
        with self._tokens.lock:
            if prompt not in self._constants:
                whole = self._model.preprocess(["a"], prompt=prompt or None)
                self._constants[prompt] = {k: value for k, value in whole.items() if not hasattr(value, "shape")}
            return self._constants[prompt]

    # Threads

    def begun(self) -> None:
        if self._one_torch_thread:
            one_torch_thread_each.begun(self._torch)

    def started(self) -> None:
        if self._one_torch_thread:
            self._torch.set_num_threads(1)

    def halt(self) -> None:
        pass

    def ended(self) -> None:
        if self._one_torch_thread:
            one_torch_thread_each.ended(self._torch)

    def is_out_of_memory(self, exc: BaseException) -> bool:
        return isinstance(exc, MemoryError | self._torch.OutOfMemoryError) or "can't allocate memory" in str(exc)

    def device_memory(self) -> int | None:
        return int(self._torch.cuda.memory_reserved(self._device)) if self._device.type == "cuda" else None

    def close(self) -> None:
        del self._model, self._tokens
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()


def _device(torch: Any, asked: str) -> Any:
    seen = LocalProvider.devices()
    wanted = seen[0] if asked == "auto" else spelled(asked.lower())
    if wanted == "gpu":
        wanted = "gpu:0"
    if wanted not in seen:
        raise BackendUnavailable(
            f"there is no device {asked!r} for local models: torch {torch.__version__} sees {', '.join(seen)}",
            reason=f"no device {asked!r}",
        )
    return torch.device(wanted.replace("gpu", "cuda"))


def _is_given_up(torch: Any, exc: RuntimeError) -> bool:
    """Whether CUDA's driver has given the device up for this process, so that all that is asked of it fails from now on."""
    # Before 2.8 torch had no exception for these. What its libraries say of themselves, and memory, are other things.
    of_driver = isinstance(exc, getattr(torch, "AcceleratorError", RuntimeError)) and str(exc).startswith("CUDA error")
    return of_driver and "CUBLAS" not in str(exc) and "out of memory" not in str(exc)


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


def _load(
    folder: Path, name: str, device: str, options: ProviderOptions, model_kwargs: dict[str, Any]
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=options.trust_remote_code,
            backend=options.engine,
            model_kwargs=model_kwargs,
        )
    except Exception as exc:
        reason = str(exc).strip().partition("\n")[0]
        hint = "; read it, and pass trust_remote_code=True if you trust it" if "trust_remote_code" in str(exc) else ""
        raise ModelUnavailable(f"the model {name!r} cannot be loaded: {type(exc).__name__}: {reason}{hint}") from exc
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


def _check_truncate(truncate: str, model: SentenceTransformer, *, counts: bool) -> None:
    """Refuse what needs the tokens of a text where they cannot be counted, unless there is no limit to them."""
    if truncate != "end" and not counts and (model.max_seq_length or math.inf) < math.inf:
        raise NotSupported(
            f"truncate={truncate!r} needs to count tokens, and this model reads texts in its own way: use truncate='end'"
        )


def _check_characters(texts: list[str]) -> None:
    """Raise UnicodeEncodeError for half a surrogate pair, which no tokenizer takes."""
    for text in texts:
        text.encode()
