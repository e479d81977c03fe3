"""What holds for a request: what it asks, what is configured for its provider or operation, and what is configured for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from vjaccel.arrays import get_backend
from vjaccel.batch.given import Vectors
from vjaccel.batch.plain import PLAIN
from vjaccel.batch.providers import Chosen
from vjaccel.batch.requests import BatchEmbeddingRequest, BatchVectorRequest
from vjaccel.config import BatchConfig, EmbeddingConfig, OperationSettings, ProviderSettings, VectorConfig
from vjaccel.errors import InvalidInput

__all__ = ["CHANGES", "Plan", "Settings"]

CHANGES = ("insert", "update", "delete")
"""Operations that change a collection."""
READY_MADE = "the embedder was given ready-made, with limits of its own"
ONE_BATCH = "the request is one batch"
NO_SETTINGS, NOTHING = OperationSettings(), ProviderSettings()


class Plan(NamedTuple):
    """How a request is done.

    Attributes
    ----------
    batch_size, at_once : int
    timeout : float or None
    use_cache : bool
    options : mapping
        The request's, with the backend that it comes to.
    not_applicable : dict of str to str
        Settings that can do nothing for it, and why.
    """

    batch_size: int
    at_once: int
    timeout: float | None
    use_cache: bool
    options: Mapping[str, Any]
    not_applicable: dict[str, str]


class Settings:
    """Turns requests into plans."""

    def __init__(self, config: BatchConfig) -> None:
        self._config = config

    def embedding(self, request: BatchEmbeddingRequest, chosen: Chosen, optimal: int) -> Plan:
        """For texts, of which `optimal` in a batch are best."""
        config = self._config.embedding_config
        own = config.provider_settings.get(chosen.provider, NOTHING)
        size = _size(request.batch_size, own.batch_size, config, optimal)
        most = min(config.max_concurrent_batch, own.max_concurrent_batch or config.max_concurrent_batch)
        at_once = min(most, request.max_concurrent or chosen.embedder.workers)
        use_cache = config.enable_cache if request.enable_cache is None else request.enable_cache
        lacking: dict[str, str] = {}
        asked = request.enable_cache or "enable_cache" in config.model_fields_set
        if use_cache and asked and not chosen.embedder.has_cache:
            lacking["enable_cache"] = "the embedder has no cache"
        if chosen.ready:
            limits = ("model", "timeout", "rate_limit_rpm", "rate_limit_tpm")
            set_ = [name for name in limits if getattr(own, name) is not None]
            lacking |= {f"provider_settings.{chosen.provider}.{name}": READY_MADE for name in set_}
        if request.max_concurrent not in (None, 1) and len(request.texts) <= size:
            lacking["max_concurrent"] = ONE_BATCH
        lacking |= self._unused_pool("texts are put together by their embedder")
        return Plan(size, at_once, request.timeout or config.default_timeout, use_cache, request.options, lacking)

    def vectors(self, request: BatchVectorRequest, vectors: Vectors, optimal: int) -> Plan:
        """For vectors, of which `optimal` in a batch are best."""
        config = self._config.vector_config
        own = config.operation_settings.get(request.operation, NO_SETTINGS)
        size = _size(request.batch_size, own.batch_size, config, optimal)
        most = min(config.max_concurrent_batch, own.max_concurrent_batch or config.max_concurrent_batch)
        at_once = min(most, request.max_concurrent or most)
        lacking: dict[str, str] = {}
        options = dict(request.options)
        device = _device(options.get("backend"), vectors)
        one_at_a_time = None
        if request.operation in CHANGES:
            one_at_a_time = "a collection is changed by one at a time"
        elif device is not None:
            one_at_a_time = f"{device} does one batch at a time, cut into tiles of its own"
        elif not config.enable_parallel:
            one_at_a_time = "enable_parallel is off"
        if one_at_a_time is not None:
            at_once = 1
            if request.max_concurrent not in (None, 1):
                lacking["max_concurrent"] = one_at_a_time
            if "worker_count" in config.model_fields_set:
                lacking["worker_count"] = one_at_a_time
        if not config.enable_simd:
            if request.collection is not None:
                lacking["enable_simd"] = "a collection is searched by the kernels of its own backend"
            elif options.get("backend") is not None or device is not None or vectors.on_device:
                lacking["enable_simd"] = "the kernels are the named backend's own"
            else:
                options["backend"] = PLAIN
        if vectors.is_array:
            lacking |= self._unused_pool("the vectors are an array, which is used as it is")
        timeout = request.timeout or own.timeout or config.default_timeout
        return Plan(size, at_once, timeout, False, options, lacking)

    def _unused_pool(self, why: str) -> dict[str, str]:
        is_set = "memory_pool_size" in self._config.performance_config.model_fields_set
        return {"memory_pool_size": why} if is_set else {}


def _size(asked: int | None, own: int | None, config: EmbeddingConfig | VectorConfig, optimal: int) -> int:
    if asked is not None and asked > config.max_batch_size:
        raise InvalidInput(
            f"batch_size is {asked}, and max_batch_size is {config.max_batch_size}; ask for less, or raise it"
        )
    return min(asked or own or config.default_batch_size or optimal, config.max_batch_size)


def _device(spec: Any, vectors: Vectors) -> str | None:
    """Where a request is computed, if that is no CPU."""
    if spec is None:
        return vectors.on_device if vectors.on_device and "cpu" not in vectors.on_device else None
    backend = get_backend(spec) if isinstance(spec, str) else spec
    return None if backend.device == "cpu" else f"{backend.name}:{backend.device}"
