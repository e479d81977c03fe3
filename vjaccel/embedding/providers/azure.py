"""Azure's OpenAI."""

from __future__ import annotations

import os

from vjaccel.embedding.providers.openai import OpenAIProvider
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.remote import Connection, ServerLimits
from vjaccel.errors import ProviderRefused

__all__ = ["AzureProvider", "azure_or_openai"]

VERSION = "2024-10-21"


class AzureProvider(OpenAIProvider):
    """``azure:DEPLOYMENT``, at AZURE_OPENAI_ENDPOINT or `base_url`."""

    name = "azure"
    keys = ("AZURE_OPENAI_API_KEY",)
    url_name = "AZURE_OPENAI_ENDPOINT"

    def __init__(self, model: str, options: ProviderOptions) -> None:
        super().__init__(model, options)
        self.empty_texts, self.refuses_long = False, True
        if self.base_url is None:
            raise ProviderRefused(f"azure:{model} needs to know where: set {self.url_name}, or give base_url")

    def connect(self, key: str) -> Connection:
        import openai

        client = openai.AsyncAzureOpenAI(
            api_key=key, azure_endpoint=self.base_url or "https://unknown.invalid", azure_deployment=self.model,
            api_version=os.environ.get("OPENAI_API_VERSION") or VERSION, max_retries=0, timeout=self.options.timeout,
        )  # fmt: skip
        return Connection(client, client.close)

    async def limits(self) -> ServerLimits:
        return ServerLimits()  # those of OpenAI


def azure_or_openai(model: str, options: ProviderOptions) -> OpenAIProvider:
    """What ``openai:MODEL`` is: Azure where that alone is set up, as its SDK's users do it."""
    elsewhere = options.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
    made = OpenAIProvider if elsewhere or not os.environ.get("AZURE_OPENAI_ENDPOINT") else AzureProvider
    return made(model, options)
