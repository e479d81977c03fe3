"""The embedders of a processor, by their providers: those that it was given, and those that the configuration describes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from vjaccel.config import EmbeddingConfig, ProviderSettings
from vjaccel.embedding import Embedder
from vjaccel.errors import InvalidInput, InvalidType, UnknownProvider

__all__ = ["Chosen", "Embedders", "Given"]

CUSTOM = "custom"
NO_SETTINGS = ProviderSettings()

Given: TypeAlias = Embedder | Callable[..., Any]


class Chosen(NamedTuple):
    """The embedder for a request.

    Attributes
    ----------
    provider, model : str
    embedder : Embedder
    ready : bool
        Whether it was given as an `Embedder`, whose limits are its own.
    """

    provider: str
    model: str
    embedder: Embedder
    ready: bool


class Embedders:
    """Finds embedders, makes those that are configured when they are first asked for, and closes what it has made."""

    def __init__(self, config: EmbeddingConfig, given: Given | Mapping[str, Given] | None) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], Embedder] = {}
        self._given: dict[str, Chosen] = {}
        named = dict(given) if isinstance(given, Mapping) else {} if given is None else {None: given}
        try:
            for name, one in named.items():
                chosen = self._taken(name, one)
                self._given[chosen.provider] = chosen
        except BaseException:
            self.close()
            raise

    def names(self) -> list[str]:
        """The providers that are given or configured."""
        return sorted({*self._given, *self._config.provider_settings})

    def settings(self, provider: str) -> ProviderSettings:
        """What is configured for a provider."""
        return self._config.provider_settings.get(provider, NO_SETTINGS)

    def chosen(self, provider: str | None, model: str | None) -> Chosen:
        """The embedder of a provider, with that model.

        Raises
        ------
        UnknownProvider
            It is neither given nor configured, or none is named and there are several.
        InvalidInput
            It has another model, or none is named.
        """
        names = self.names()
        if provider is None:
            if len(names) != 1:
                has = f"it has {', '.join(names)}: name one" if names else "it has none: give it embedder="
                raise UnknownProvider(
                    f"the request names no provider, and the processor does not have one alone; {has}"
                )
            (provider,) = names
        if provider in self._given:
            found = self._given[provider]
            if model is not None and model not in (found.model, f"{provider}:{found.model}"):
                raise InvalidInput(f"the embedder of {provider!r} has the model {found.model!r}, not {model!r}")
            return found
        if provider not in self._config.provider_settings:
            has = f"there are {', '.join(names)}" if names else "there is none"
            raise UnknownProvider(
                f"the provider {provider!r} is neither in embedder= nor in embedding_config.provider_settings; {has}"
            )
        return self._configured(provider, model)

    def close(self) -> None:
        """Close what was made here."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for embedder in made:
            embedder.close()

    def _taken(self, name: str | None, one: object) -> Chosen:
        if isinstance(one, Embedder):
            provider, _, model = one.model.partition(":")
            return Chosen(name or (CUSTOM if provider == "function" else provider), model, one, ready=True)
        if not callable(one):
            raise InvalidType(
                f"embedder is an Embedder, a function, or a mapping of them by provider, not {type(one).__name__}"
            )
        provider = name or CUSTOM
        embedder = Embedder(one, cache=self._cache)
        self._made[provider, ""] = embedder
        return Chosen(provider, embedder.model.partition(":")[2], embedder, ready=False)

    def _configured(self, provider: str, model: str | None) -> Chosen:
        found = self.settings(provider)
        model = model or found.model
        if model is None:
            where = f"embedding_config.provider_settings.{provider}.model"
            raise InvalidInput(f"the provider {provider!r} needs a model: name it in the request, or in {where}")
        with self._lock:
            if (provider, model) not in self._made:
                remote = {
                    "requests_per_minute": found.rate_limit_rpm,
                    "tokens_per_minute": found.rate_limit_tpm,
                    "timeout": found.timeout,
                    # A local model knows best how many batches at once its device bears.
                    "workers": None if provider == "local" else found.max_concurrent_batch,
                }
                options: dict[str, Any] = {key: value for key, value in remote.items() if value is not None}
                try:
                    self._made[provider, model] = Embedder(f"{provider}:{model}", cache=self._cache, **options)
                except InvalidInput as exc:
                    raise InvalidInput(f"embedding_config.provider_settings.{provider}: {exc}") from exc
            return Chosen(provider, model, self._made[provider, model], ready=False)

    @property
    def _cache(self) -> str | None:
        return self._config.cache if self._config.enable_cache else None

    def there(self) -> Iterable[Chosen]:
        """Those that can be had without naming a model."""
        for name in self.names():
            if name in self._given or self.settings(name).model is not None:
                yield self.chosen(name, None)
