"""Cohere."""

from __future__ import annotations

from functools import partial

from vjaccel.embedding.limits import Answer, BadReply
from vjaccel.embedding.providers.remote import Connection, RemoteProvider

__all__ = ["CohereProvider"]


class CohereProvider(RemoteProvider):
    """``cohere:MODEL``. Texts are documents where nobody says what they are, since the service insists on a kind."""

    name = "cohere"
    extra = "cohere"
    keys = ("CO_API_KEY", "COHERE_API_KEY")
    url_name = "CO_API_URL"
    texts_per_request = 96
    tokens_per_request = 96 * 128_000
    able = frozenset({"dimensions", "truncate"})
    role_option = "input_type"
    roles = {"query": "search_query", "document": "search_document", None: "search_document"}  # noqa: RUF012  # constant

    def connect(self, key: str) -> Connection:
        import cohere

        client = cohere.AsyncClientV2(api_key=key, base_url=self.base_url, timeout=self.options.timeout, max_retries=0)
        return Connection(client, partial(client.__aexit__, None, None, None))

    async def request(self, texts: list[str], role: str | None) -> Answer:
        sizes = {} if self.options.dimensions is None else {"output_dimension": self.options.dimensions}
        reply = await self.client.embed(
            model=self.model, texts=texts, input_type=role or "search_document", embedding_types=["float"],
            truncate="NONE" if self.options.truncate == "error" else "END", request_options={"max_retries": 0}, **sizes,
        )  # fmt: skip
        vectors = getattr(getattr(reply, "embeddings", None), "float_", None)
        if vectors is None:
            raise BadReply("cohere answered without vectors of floats")
        billed = getattr(getattr(reply, "meta", None), "billed_units", None)
        tokens = getattr(billed, "input_tokens", None)
        return Answer(vectors, None if tokens is None else int(tokens))
