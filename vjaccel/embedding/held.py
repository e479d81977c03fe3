"""What an embedder holds while runs go on: its provider, its cache, what is learned of batches and of vectors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

from vjaccel.embedding.cache import Cache, CacheKeys, flights_of, open_cache
from vjaccel.embedding.devices import Device
from vjaccel.embedding.learned import remember, tuner_of
from vjaccel.embedding.lookup import Lookup
from vjaccel.embedding.precision import Quantizer
from vjaccel.embedding.providers.protocol import Provider
from vjaccel.embedding.run import Known
from vjaccel.embedding.width import Width
from vjaccel.embedding.window import Window
from vjaccel.errors import InvalidInput

__all__ = ["Held", "Means"]


class Held:
    """Providers of one model with their cache and tuners, let go of when the embedder is closed and no run needs them.

    Parameters
    ----------
    providers : mapping of str to Provider
        By the names of several devices; or the one.
    cache : None, str, Path or Cache
        As `open_cache` takes it; one that is a `Cache` is its owner's to close.
    lasting : bool
        Whether the model's name tells it from others, so that another embedder may find its vectors.
    """

    def __init__(
        self, providers: Mapping[str, Provider], cache: str | os.PathLike[str] | Cache | None, *, lasting: bool
    ) -> None:
        self._providers = tuple(providers.values())
        # Another function, or the same one tomorrow, may have the same name and give other vectors.
        self._here_alone = "" if lasting else f" {uuid4().hex}"
        # Of one key are devices of one kind, and what one of them learns is true of all.
        keys = {provider.tuned_as: provider for provider in self._providers}
        self._tuners = {key: tuner_of(key, provider) for key, provider in keys.items() if key is not None}
        self.devices = tuple(
            Device(provider, None if provider.tuned_as is None else self._tuners[provider.tuned_as], name)
            for name, provider in providers.items()
        )
        self.cache = open_cache(cache)
        self._closes_cache = self.cache is not cache
        self._lock = threading.Lock()
        self._closed = False
        self._runs = 0

    @property
    def workers(self) -> int:
        """Batches at once, at most."""
        return sum(device.provider.workers for device in self.devices)

    def keys(self, prompt: str) -> CacheKeys | None:
        """The keys of texts with `prompt` before them; None without a cache."""
        if self.cache is None:
            return None
        identity = self._providers[0].identity(prompt)
        return CacheKeys(replace(identity, model=identity.model + self._here_alone))

    @contextmanager
    def knowing(self, prompt: str, window: Window | None, *, use_cache: bool = True) -> Iterator[Known]:
        """What a run knows of texts before it embeds them."""
        keys = self.keys(prompt) if use_cache else None
        if self.cache is None or keys is None:
            yield Known(window, None)
            return
        with flights_of(self.cache).run() as flyer:
            yield Known(window, Lookup(self.cache, keys, flyer))

    @contextmanager
    def run(self) -> Iterator[None]:
        """What a run is inside of: all is let go of when the last one has ended."""
        with self._lock:
            self.check_open()
            self._runs += 1
        try:
            yield
        finally:
            for key, tuner in self._tuners.items():
                if tuner.lessons:
                    remember(key, tuner.learned())
            with self._lock:
                self._runs -= 1
                last = self._closed and not self._runs
            if last:
                self._let_go()

    def device_memory(self) -> int | None:
        """Bytes that all devices' own memory holds; None where that is known of none."""
        found = [taken for device in self.devices if (taken := device.provider.device_memory()) is not None]
        return sum(found) if found else None

    def check_open(self) -> None:
        """Refuse what comes after `close`."""
        if self._closed:
            raise InvalidInput("this embedder is closed; make another")

    def close(self) -> None:
        """Let go, now or when the last run has ended."""
        with self._lock:
            last = not self._closed and not self._runs
            self._closed = True
        if last:
            self._let_go()

    def _let_go(self) -> None:
        for provider in self._providers:
            provider.close()
        if self._closes_cache and self.cache is not None:
            self.cache.close()


@dataclass(frozen=True)
class Means:
    """What all runs of an embedder embed with.

    Attributes
    ----------
    model : str
        ``provider:name``.
    held : Held
    width : Width
        Of the vectors.
    quantizer : callable
        Makes a new one of what makes codes of a run's vectors.
    windowed : bool
        Whether texts that are too long are cut into windows.
    """

    model: str
    held: Held
    width: Width
    quantizer: Callable[[], Quantizer]
    windowed: bool
