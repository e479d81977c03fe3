"""Texts into vectors: what a user holds. The runs are in `whole` and `streamed`, what drives them in `driver`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np

from vjaccel.arrays.protocol import Backend
from vjaccel.arrays.registry import get_backend
from vjaccel.closing import AsyncClosing
from vjaccel.embedding.arguments import (
    OnError,
    check_latency,
    check_on_error,
    check_out,
    check_whole,
    checked_most,
    checked_prompt,
    checked_texts,
)
from vjaccel.embedding.assembled import settled
from vjaccel.embedding.cache import Cache
from vjaccel.embedding.described import described
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.estimate import Estimate, estimated
from vjaccel.embedding.held import Held, Means
from vjaccel.embedding.in_thread import embedded_in_thread, streamed_in_thread
from vjaccel.embedding.precision import Precision, Quantizer
from vjaccel.embedding.providers.asked import check_options
from vjaccel.embedding.providers.protocol import Expecting, ModelIdentity, ProviderOptions
from vjaccel.embedding.providers.registry import make_providers
from vjaccel.embedding.reading import LiveReader, Reader
from vjaccel.embedding.result import EmbeddingResult, Progress
from vjaccel.embedding.spread import mapped
from vjaccel.embedding.streamed import streamed
from vjaccel.embedding.whole import whole
from vjaccel.embedding.width import Width
from vjaccel.embedding.window import WINDOW, Window
from vjaccel.errors import InvalidInput, InvalidType

__all__ = ["Embedder"]


class Embedder(AsyncClosing):
    """Embeds texts with a local model, anyone's provider, or a function.

    Parameters
    ----------
    model : str or callable
        ``local:NAME``, where NAME is a folder, a model of the hub's cache, ``all-MiniLM-L6-v2`` (packaged: extra ``minilm``) or
        a model of the hub; ``PROVIDER:REST`` for another provider; or a function, async or not, from a list of texts to an
        array (n, dim).
    device : str
        ``auto`` (a GPU if there is one), ``cpu``, ``gpu``, ``gpu:1``, ``mps``. Several, as ``gpu:0,1``, ``gpu:all`` or
        ``gpu:0,cpu``, have the model each, and take the next batch as each is free; a slow one takes none that the others
        would have done sooner.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        What the model computes in; ``auto`` is float32. Vectors are float32.
    workers : int, optional
        Batches at once. By default one for each core on a CPU, one on a GPU.
    batch_tokens : int, optional
        Tokens of one batch, padding included. By default what is usual for the device at first, then what is best by what
        batches have taken, which is remembered in the user's cache folder (``VJACCEL_CACHE_DIR`` names another).
    dimensions : int, optional
        Keep this many leading numbers of each vector (Matryoshka), normalized again if they were.
    prompt : str, optional
        Put before every text; by default the model's own for no particular role.
    normalize : bool, optional
        True: vectors of norm one. False: without the model's own normalizing. By default what the model does.
    revision : str, optional
        Of a model of the hub.
    trust_remote_code : bool
        Run code that comes with the model.
    allow_pickle : bool
        Load weights that are pickled, which can run any code.
    truncate : {"end", "error", "chunk"}
        What becomes of a text that is longer than the model takes: its end is cut off, and counted; or it is an error,
        ``TOKEN_LIMIT_EXCEEDED``; or it is cut into windows that overlap by an eighth, each with the prompt, and its vector is
        their vectors' mean, weighted by their tokens, of norm one again where the model's are.
    precision : {"float32", "int8", "uint8", "binary", "ubinary"}
        What vectors are given out as: numbers, or codes of them as sentence-transformers' `quantize_embeddings` makes them.
        int8 and uint8 are steps between the smallest and the largest number of each column: of all of an `embed`'s vectors, or
        those of a `stream`'s first result. The cache, `on_batch` and the checks have the numbers.
    engine : {"torch", "onnx", "openvino"}
        What runs a local model on a CPU; ``onnx`` and ``openvino`` are extras, and export the model once, to the cache folder.
    calibration : array_like, shape (m, dim), optional
        Vectors like those to come, of which int8 and uint8 take their ranges instead: so that codes of several runs agree.
    base_url : str, optional
        Where a remote provider's service is, used as given.
    timeout : float
        Seconds for a batch of a remote provider, all its attempts together.
    requests_per_minute, tokens_per_minute : int, optional
        What a remote provider may send in any minute, with all embedders of this process that use the same key there.
    shared_limits : "redis://...", optional
        Where those two are counted instead, for all processes and machines that name the same place: see docs/providers.md.
    name : str, optional
        What a function's vectors are known by: those of a function without one are cached for this embedder alone.
    cache : {None, "memory", "disk"}, path, "redis://..." or Cache
        Where vectors are kept, so that the same text is not embedded again: see docs/cache.md.

    Raises
    ------
    UnknownProvider, ModelUnavailable, ProviderRefused, MissingExtra, BackendUnavailable, InvalidInput, InvalidType

    Examples
    --------
    >>> import vjaccel as vj
    >>> with vj.Embedder("local:all-MiniLM-L6-v2") as embedder:  # doctest: +SKIP
    ...     embedder.embed(["melt butter"]).embeddings.shape
    (1, 384)
    """

    def __init__(
        self,
        model: str | Callable[..., Any] = "local:all-MiniLM-L6-v2",
        *,
        device: str = "auto",
        dtype: str = "auto",
        workers: int | None = None,
        batch_tokens: int | None = None,
        dimensions: int | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        truncate: Literal["end", "error", "chunk"] = "end",
        precision: Precision = "float32",
        calibration: object = None,
        engine: Literal["torch", "onnx", "openvino"] = "torch",
        base_url: str | None = None,
        timeout: float = 120.0,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        shared_limits: str | None = None,
        name: str | None = None,
        cache: str | os.PathLike[str] | Cache | None = None,
    ) -> None:
        options = ProviderOptions(
            device, dtype, workers, batch_tokens, dimensions, normalize, revision, trust_remote_code, allow_pickle,
            truncate=truncate, engine=engine, base_url=base_url, timeout=timeout, requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute, shared_limits=shared_limits,
        )  # fmt: skip
        check_options(options)
        self._options = options
        self._precision: Precision = precision
        self._calibration = calibration
        Quantizer(precision, calibration)  # which refuses what makes no sense
        self._prompt = checked_prompt(prompt)
        if name is not None and not callable(model):
            raise InvalidInput(f"name={name!r} is for a function; a model has the name in its specification")
        providers = make_providers(model, options, name)
        self._provider = next(iter(providers.values()))
        self._given, self._name = model, name
        self._model = model if isinstance(model, str) else f"function:{self._provider.identity('').model}"
        self._cache = cache
        expect = self._provider.expect if isinstance(self._provider, Expecting) else None
        self._means = Means(
            self._model, Held(providers, cache, lasting=not callable(model) or name is not None),
            Width(self._provider.dimensions, expect), partial(Quantizer, precision, calibration),
            windowed=truncate == "chunk",
        )  # fmt: skip
        self._digest: str | None = None

    # What it is

    def __repr__(self) -> str:
        others = {"precision": self._precision if self._precision != "float32" else None, "prompt": self._prompt}
        return described(self._model, self.dim, self._digest, self._options, others | {"cache": self._cache})

    @property
    def identity(self) -> ModelIdentity:
        """What determines the vectors that `embed` gives. The first call reads the whole of a local model's weights."""
        identity = self._provider.identity(self._prompt_for(None, None))
        self._digest = identity.digest
        return replace(identity, dimensions=self.dim, precision=self._precision)

    @property
    def model(self) -> str:
        """``provider:name``, as it was asked for; a function is ``function:`` and what it is known by."""
        return self._model

    @property
    def options(self) -> ProviderOptions:
        """What its provider was asked for."""
        return self._options

    @property
    def workers(self) -> int:
        """Batches at once, at most."""
        return self._means.held.workers

    @property
    def has_cache(self) -> bool:
        """Whether vectors are kept."""
        return self._means.held.cache is not None

    @property
    def dim(self) -> int | None:
        """The width of a vector; None where only the first vector will tell, and has not yet."""
        return self._means.width.known

    def prompt_for(self, role: Literal["query", "document"] | None) -> str:
        """What is put before texts of a role: this embedder's own prompt, or the model's for that role; may be empty."""
        return self._provider.prompt(role) if self._prompt is None else self._prompt

    def quantizer(self) -> Quantizer:
        """A new one of what makes codes of this embedder's vectors; it gives float32 back as it is."""
        return self._means.quantizer()

    def count_tokens(self, texts: Iterable[str], *, prompt: str | None = None) -> np.ndarray | None:
        """Tokens of each text as the model will see them, int64 (n,); None where nobody can count them.

        Raises
        ------
        InvalidInput, InvalidType
            `texts` is one text, or the embedder is closed; one of them is no text.
        """
        items = list(checked_texts(texts))
        strange = next((i for i, text in enumerate(items) if not isinstance(text, str)), None)
        if strange is not None:
            raise InvalidType(f"a text is a str; number {strange} is {type(items[strange]).__name__}")
        with self._means.held.run():
            ready = self._provider.prepare(items, self._prompt_for(None, prompt))
        return ready.lengths if ready.counted else None

    def estimate(self, texts: Iterable[str], *, prompt: str | None = None) -> Estimate:
        """What `embed` would see of `texts`: duplicates, what the cache has, tokens, batches. Nothing is embedded.

        Raises
        ------
        InvalidInput
            `texts` is one text, or the embedder is closed.
        """
        items, prompt = iter(checked_texts(texts)), self._prompt_for(None, prompt)
        found, seen = Estimate(), set[bytes]()
        with self._means.held.run():
            keys = self._means.held.keys(prompt)
            while chunk := list(islice(items, CHUNK)):
                found += estimated(chunk, prompt, self._provider, self._means.held.cache, keys, seen)
        return found

    def get_optimal_batch_size(self, length: int | None = None) -> int:
        """The tokens, padding included, that a batch is best given, as far as this run and earlier ones on this machine tell.

        Parameters
        ----------
        length : int, optional
            Of texts of so many tokens; by default of those that most is known of.

        Returns
        -------
        int
            `batch_tokens` where that was given. Before anything is known, and for what learns nothing (functions, remote
            providers, models whose tokens cannot be counted), what the provider begins with; of those in characters or bytes.
        """
        device = self._means.held.devices[0]
        return self._provider.batch_tokens if device.tuner is None else device.tuner.best(length)

    # Embedding

    def embed(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        on_error: OnError = "raise",
        backend: str | Backend | None = None,
        out: np.ndarray | None = None,
        max_errors: int | None = None,
        use_cache: bool = True,
        progress: Callable[[Progress], object] | None = None,
    ) -> EmbeddingResult:
        """Embed all of `texts`.

        Parameters
        ----------
        texts : iterable of str
            An empty text is embedded as the model does; what is no text is that item's error.
        prompt : str, optional
            Instead of the embedder's own.
        on_error : {"raise", "collect"}
            When some texts fail: raise at the end, with the whole result, or return it.
        backend : str or Backend, optional
            Leave the vectors on this backend's device, as its arrays; otherwise they are NumPy. Float32 only.
        out : ndarray or memmap, shape (n, dim), float32, optional
            Written to, and the result's `embeddings`. Float32 only.
        max_errors : int, optional
            Stop once more texts than this have failed.
        use_cache : bool
            False neither looks into the cache nor fills it.
        progress : callable, optional
            Called with a `Progress` after each batch.

        Returns
        -------
        EmbeddingResult

        Raises
        ------
        EmbeddingErrors
            Some texts failed; its `result` has all the others.
        TooManyErrors
            More than `max_errors` failed, and the run was stopped.
        InvalidInput
            `texts` is one text, `out` has another shape or dtype, or the embedder is closed.
        """
        check_on_error(on_error)
        items = list(checked_texts(texts))
        target = get_backend(backend) if isinstance(backend, str) else backend
        if target is not None and len(self._means.held.devices) > 1:
            raise InvalidInput(
                f"backend= leaves the vectors where they are computed, and device={self._options.device!r} is several places"
            )
        if out is not None:
            check_out(out, len(items), self.dim, on_device=target is not None)
        if self._precision != "float32" and (target is not None or out is not None):
            raise InvalidInput(f"backend= and out= are for float32 vectors, and precision is {self._precision!r}")
        most, prompt = checked_most(max_errors), self._prompt_for(None, prompt)
        return settled(whole(self._means, items, prompt, target, out, most, progress, use_cache=use_cache), on_error)

    def embed_query(self, texts: str | Iterable[str], **options: Any) -> EmbeddingResult:
        """As `embed`, one text or many, with the model's own prompt for queries."""
        return self._embed_as("query", texts, options)

    def embed_document(self, texts: str | Iterable[str], **options: Any) -> EmbeddingResult:
        """As `embed`, one text or many, with the model's own prompt for documents (passages)."""
        return self._embed_as("document", texts, options)

    def stream(
        self,
        texts: Iterable[str],
        *,
        chunk_size: int = CHUNK,
        max_latency: float | None = None,
        ordered: bool = True,
        prompt: str | None = None,
        on_error: OnError = "raise",
        max_errors: int | None = None,
        deduplicate: bool = True,
        dim: int | None = None,
        total: int | None = None,
        on_batch: Callable[[np.ndarray, np.ndarray], object] | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Iterator[EmbeddingResult]:
        """Embed an iterable of any length in constant memory: a result for each `chunk_size` texts, in their order.

        Two chunks are read ahead of the one that is given out. An iterator that is closed or dropped stops what runs, and
        leaves no thread. Parameters and errors are those of `embed`; with ``on_error="raise"`` the first chunk with a failure
        raises. Indices in errors, and the statistics, count over the whole stream so far.

        Parameters
        ----------
        max_latency : float, optional
            Seconds that a text may wait for others to come: for sources that do not always have a next one at once. They are
            read in a thread of their own. Where that is shorter than what reading `chunk_size` texts takes, results have fewer.
        ordered : bool
            False gives a result as soon as it is there; its `start` says which texts it is of. Texts are then embedded once
            within a result only.
        deduplicate : bool
            Embed a text once that comes again within 100,000 texts, whose vectors are held for that. False where the caller
            knows that none does.
        dim : int, optional
            How wide the vectors of this model are that there were before: another width is an error from the first on.
        total : int, optional
            How many texts there are, where the caller knows: `progress`, the metrics and the log have it.
        on_batch : callable, optional
            Told the numbers of texts in the stream, int64 (n,), and their vectors, float32 (n, dim), as soon as these are
            there, in the thread that embedded them: for what keeps them from being lost.
        """
        check_whole("chunk_size", chunk_size)
        check_on_error(on_error)
        self._means.held.check_open()
        check_latency(max_latency)
        if dim is not None:
            check_whole("dim", dim)
            known = self._means.width.first(dim)
            if known != dim:
                raise InvalidInput(f"dim={dim} contradicts the model, whose vectors have width {known}")
        window = Window(WINDOW if ordered else 0) if deduplicate else None
        most, prompt, source = checked_most(max_errors), self._prompt_for(None, prompt), checked_texts(texts)

        def reading() -> Reader | LiveReader:
            return Reader(source, chunk_size) if max_latency is None else LiveReader(source, chunk_size, max_latency)

        return streamed(
            self._means, reading, prompt, window, most, total, progress, on_batch, on_error, ordered=ordered
        )

    async def aembed(self, texts: Iterable[str], **options: Any) -> EmbeddingResult:
        """`embed`, without blocking the event loop. When the task is cancelled, the run stops after its next batch."""
        return await embedded_in_thread(self.embed, texts, options)

    async def astream(
        self, texts: Iterable[str] | AsyncIterable[str], **options: Any
    ) -> AsyncIterator[EmbeddingResult]:
        """`stream`, without blocking the event loop.

        `texts` is read in another thread, one and the same for all of it; an async iterable in this loop.
        """
        async with aclosing(streamed_in_thread(self.stream, texts, options)) as chunks:
            async for chunk in chunks:
                yield chunk

    def map_dataset(
        self,
        dataset: Any,
        *,
        text_column: str = "text",
        column: str = "embedding",
        workers: tuple[int, int | None] = (1, None),
        batch_size: int = CHUNK,
        cpus: float = 1.0,
        gpus: float = 0.0,
        on_error: OnError = "raise",
    ) -> Any:
        """A ``ray.data.Dataset`` with the vectors of its texts as documents: by actors, each with an embedder like this one.

        Parameters
        ----------
        dataset : ray.data.Dataset
        column : str
            Of the vectors, lists of one width. With ``on_error="collect"`` they are null where a text has failed, and a column
            ``{column}_error`` says why.
        workers : tuple of (int, int or None)
            How many actors there are at least and at most. What may be sent in a minute is shared out among the most.
        batch_size : int
            Rows that are embedded together; a text that comes twice among them is embedded once.
        cpus, gpus : float
            Of each actor.

        Returns
        -------
        ray.data.Dataset
            Nothing is embedded before it is read. Rows have all their columns; their order is that of `dataset` where Ray Data
            is told to keep it, by ``DataContext.execution_options.preserve_order``.

        Raises
        ------
        MissingExtra, InvalidInput
        ClusterError
            No node has that many CPUs or GPUs.
        """
        options = asdict(self._options) | {
            "model": self._given, "name": self._name, "prompt": self._prompt, "precision": self._precision,
            "calibration": self._calibration, "cache": self._cache,
        }  # fmt: skip
        check_on_error(on_error)
        return mapped(dataset, options, text_column, column, workers, batch_size, cpus, gpus, on_error)

    # Holding and letting go

    def close(self) -> None:
        """Let go of the model, once no run needs it. Closing twice is fine; embedding afterwards is an error."""
        self._means.held.close()

    # Below

    def _embed_as(
        self, role: Literal["query", "document"], texts: str | Iterable[str], options: dict[str, Any]
    ) -> EmbeddingResult:
        prompt = self._prompt_for(role, options.pop("prompt", None))
        return self.embed([texts] if isinstance(texts, str) else texts, prompt=prompt, **options)

    def _prompt_for(self, role: Literal["query", "document"] | None, prompt: str | None) -> str:
        return self.prompt_for(role) if prompt is None else str(checked_prompt(prompt))
