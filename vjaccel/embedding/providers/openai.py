"""OpenAI, and any server that speaks OpenAI's embeddings API: vLLM, TEI, infinity, LM Studio, LiteLLM."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from vjaccel.embedding.limits import Answer, BadReply, Changed
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.remote import Connection, RemoteProvider, ServerLimits

__all__ = ["OpenAIProvider"]


class OpenAIProvider(RemoteProvider):
    """``openai:MODEL``; with `base_url` at any compatible server, used as given."""

    name = "openai"
    extra = "openai"
    keys = ("OPENAI_API_KEY",)
    url_name = "OPENAI_BASE_URL"
    # OpenAI takes 2048 texts; smaller requests come back sooner, and more of them go on at once.
    texts_per_request = 256
    tokens_per_request = 300_000
    able = frozenset({"dimensions", "truncate"})

    def __init__(self, model: str, options: ProviderOptions) -> None:
        super().__init__(model, options)
        self.empty_texts = self.base_url is not None
        # OpenAI never cuts; another server may, whatever was asked, and its API has no word for that.
        self.refuses_long = self.base_url is None
        self._optional: dict[str, Any] = {"encoding_format": "base64"}
        if options.dimensions is not None:
            self._optional["dimensions"] = options.dimensions

    def connect(self, key: str) -> Connection:
        import openai

        client = openai.AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=self.options.timeout)
        return Connection(client, client.close)

    async def request(self, texts: list[str], role: str | None) -> Answer:
        sent = dict(self._optional)
        try:
            reply = await self.client.embeddings.create(model=self.model, input=texts, **sent)
        except Exception as exc:
            changed = self._without(exc, sent)
            if changed is None:
                raise
            raise changed from exc
        return Answer(_ordered(reply, len(texts)), _tokens(reply))

    def _without(self, exc: Exception, sent: dict[str, Any]) -> Changed | None:
        """Leave out, from now on, what this server does not take; the width of its vectors shows whether that will do."""
        # Once a request has succeeded, such words can only be those of a text.
        if self.proven or getattr(exc, "status_code", None) not in (400, 422):
            return None
        said = str(exc).lower()
        if sent["encoding_format"] == "base64" and ("encoding_format" in said or "base64" in said):
            self._optional["encoding_format"] = "float"
            return Changed("no base64")
        if "dimensions" in sent and ("dimensions" in said or "matryoshka" in said):
            del self._optional["dimensions"]
            return Changed("no dimensions")
        return None

    async def limits(self) -> ServerLimits:
        """TEI says at ``/info`` what a request may hold and whether texts are cut; others do not, and vLLM has no limit."""
        parts = urlsplit(str(self.base_url))
        said = await self.client.get(f"{parts.scheme}://{parts.netloc}/info", cast_to=object)
        told = said if isinstance(said, dict) else {}
        texts, cuts = told.get("max_client_batch_size"), told.get("auto_truncate")
        return ServerLimits(
            texts if isinstance(texts, int) and texts > 0 else None, cuts=cuts if isinstance(cuts, bool) else None
        )


def _ordered(reply: Any, count: int) -> list[Any]:
    """The vectors in the texts' order, whatever order they came in; None for a text of which nobody can tell."""
    data = getattr(reply, "data", None)
    if not isinstance(data, list):
        what = "a page of text, no JSON" if isinstance(reply, str) else "JSON without the vectors of texts (data)"
        raise BadReply(f"{count} texts were answered with {what}", tokens=_tokens(reply))
    if len(data) != count:
        raise BadReply(f"{count} texts were answered with {len(data)} vectors", tokens=_tokens(reply))
    found = [(getattr(item, "index", None), getattr(item, "embedding", None)) for item in data]
    times = Counter(index for index, _ in found if isinstance(index, int))
    vectors = {index: vector for index, vector in found if isinstance(index, int) and times[index] == 1}
    if not vectors.keys() & range(count):
        raise BadReply(
            f"{count} texts were answered with vectors of other numbers than 0 to {count - 1}, or of one more than once",
            tokens=_tokens(reply),
        )
    return [_numbers(vectors.get(index)) for index in range(count)]


def _numbers(vector: Any) -> Any:
    try:
        return np.frombuffer(base64.b64decode(vector), "<f4") if isinstance(vector, str) else vector
    except ValueError:
        return None


def _tokens(reply: Any) -> int | None:
    return getattr(getattr(reply, "usage", None), "prompt_tokens", None)
