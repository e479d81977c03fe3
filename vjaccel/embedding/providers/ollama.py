"""Ollama, on this machine or another."""

from __future__ import annotations

import os

from vjaccel.embedding.limits import Answer
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.remote import Connection, RemoteProvider
from vjaccel.embedding.providers.urls import checked_url

__all__ = ["OllamaProvider"]


class OllamaProvider(RemoteProvider):
    """``ollama:MODEL`` or ``ollama:MODEL:TAG``, at OLLAMA_HOST or `base_url`. Its cloud alone wants a key."""

    name = "ollama"
    extra = "ollama"
    keys = ("OLLAMA_API_KEY",)
    needs_key = False
    texts_per_request = 64
    tokens_per_request = 64 * 8192
    able = frozenset({"dimensions", "truncate"})

    def _address(self, options: ProviderOptions) -> str | None:
        # Known, as another server there has other vectors; the SDK reads it for itself, since it may have no scheme.
        host = os.environ.get("OLLAMA_HOST", "")
        if options.base_url or not host:
            return super()._address(options)
        return checked_url(host if "://" in host else f"http://{host}")

    def connect(self, key: str) -> Connection:
        import ollama

        client = ollama.AsyncClient(host=self.options.base_url, timeout=self.options.timeout)
        return Connection(client, client.close)

    async def request(self, texts: list[str], role: str | None) -> Answer:
        reply = await self.client.embed(
            model=self.model, input=texts, truncate=self.options.truncate != "error", dimensions=self.options.dimensions
        )
        return Answer(reply.embeddings, reply.prompt_eval_count)
