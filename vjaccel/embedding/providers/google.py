"""Google's Gemini API."""

from __future__ import annotations

from vjaccel.embedding.limits import Answer
from vjaccel.embedding.providers.remote import Connection, RemoteProvider

__all__ = ["GoogleProvider"]


class GoogleProvider(RemoteProvider):
    """``google:MODEL``."""

    name = "google"
    extra = "google"
    keys = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    texts_per_request = 100
    tokens_per_request = 100 * 8192
    role_option = "task_type"
    roles = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}  # noqa: RUF012  # constant

    def connect(self, key: str) -> Connection:
        import httpx
        from google import genai

        self._types = genai.types
        # Its own choice would be whichever HTTP library is installed for somebody else's sake.
        web = httpx.AsyncClient(timeout=self.options.timeout)
        http = genai.types.HttpOptions(
            base_url=self.base_url, timeout=int(self.options.timeout * 1000),
            retry_options=genai.types.HttpRetryOptions(attempts=1), httpx_async_client=web,
        )  # fmt: skip
        return Connection(genai.Client(api_key=key, vertexai=False, http_options=http).aio, web.aclose)

    async def request(self, texts: list[str], role: str | None) -> Answer:
        types = self._types
        reply = await self.client.models.embed_content(
            model=self.model,
            # Bare texts are the parts of one content to some models, and get one vector together.
            contents=[types.Content(parts=[types.Part(text=text)]) for text in texts],
            config=types.EmbedContentConfig(task_type=role, output_dimensionality=self.options.dimensions),
        )
        tokens = getattr(reply.usage_metadata, "prompt_token_count", None)
        return Answer([found.values for found in reply.embeddings or []], tokens)
