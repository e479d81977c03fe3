"""Voyage AI."""

from __future__ import annotations

from vjaccel.embedding.limits import Answer
from vjaccel.embedding.providers.remote import Connection, RemoteProvider

__all__ = ["VoyageProvider"]


class VoyageProvider(RemoteProvider):
    """``voyage:MODEL``."""

    name = "voyage"
    extra = "voyage"
    keys = ("VOYAGE_API_KEY",)
    # It takes 1000 texts; smaller requests come back sooner, and more of them go on at once.
    texts_per_request = 256
    tokens_per_request = 120_000
    able = frozenset({"dimensions", "truncate"})
    role_option = "input_type"
    roles = {"query": "query", "document": "document"}  # noqa: RUF012  # constant

    def connect(self, key: str) -> Connection:
        import voyageai

        # It counts attempts where others count what comes after the first.
        client = voyageai.AsyncClient(api_key=key, base_url=self.base_url, timeout=self.options.timeout, max_retries=1)
        return Connection(client, None)  # it opens a session for each request

    async def request(self, texts: list[str], role: str | None) -> Answer:
        reply = await self.client.embed(
            texts, model=self.model, input_type=role, truncation=self.options.truncate != "error",
            output_dimension=self.options.dimensions,
        )  # fmt: skip
        return Answer(reply.embeddings, reply.total_tokens)
