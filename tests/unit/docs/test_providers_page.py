"""The page on remote providers: its blocks run, and its tables say what the code does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import vjaccel as vj
from tests.faults.server import FaultServer
from vjaccel.embedding.limits import faults
from vjaccel.embedding.providers.azure import AzureProvider
from vjaccel.embedding.providers.cohere import CohereProvider
from vjaccel.embedding.providers.google import GoogleProvider
from vjaccel.embedding.providers.ollama import OllamaProvider
from vjaccel.embedding.providers.openai import OpenAIProvider
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.remote import RemoteProvider
from vjaccel.embedding.providers.voyage import VoyageProvider

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text(encoding="utf-8")
USING, WRITING = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PROVIDERS = (OpenAIProvider, AzureProvider, CohereProvider, VoyageProvider, GoogleProvider, OllamaProvider)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_the_table_has_each_provider_with_its_extra_its_keys_and_its_address(provider: type[RemoteProvider]) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{provider.name}:")]
    _, _, extra, key, address, holds, _ = (cell.strip() for cell in row.split("|"))
    assert extra == f"`{provider.extra}`"
    assert f"`{provider.keys[0]}`" in key
    assert provider.url_name is None or f"`{provider.url_name}`" in address
    assert holds == "the same" or f"{provider.texts_per_request} texts" in holds


def test_every_code_of_a_fault_is_in_the_table() -> None:
    codes = {value.code for value in vars(faults).values() if isinstance(value, faults.Fault)} - {"PROVIDER_REFUSED"}
    assert codes
    assert [code for code in sorted(codes) if f"| `{code}` |" not in PAGE] == []


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        exec(USING.replace("http://localhost:8000/v1", server.url), {})
    assert capsys.readouterr().out.startswith("9 0 ")


def test_the_provider_of_the_example_embeds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def __init__(self, key: str, url: str | None, retries: int) -> None:
            self.closed = False

        async def embed(self, texts: list[str], model: str) -> Any:
            return type("Reply", (), {"vectors": [[1.0, float(len(text))] for text in texts], "tokens": 2})

        async def close(self) -> None:
            self.closed = True

    names: dict[str, Any] = {}
    exec(WRITING, names)
    monkeypatch.setitem(sys.modules, "acme", type("acme", (), {"AsyncClient": Client}))
    provider = names["AcmeProvider"]("m", ProviderOptions(base_url="http://localhost:1"))
    reply = provider.embed(["a", "bb"], "")
    provider.close()
    assert (reply.vectors.tolist(), reply.tokens, provider.client.closed) == ([[1, 1], [1, 2]], 2, True)
    with pytest.raises(vj.ProviderRefused, match="set the variable ACME_API_KEY"):
        names["AcmeProvider"]("m", ProviderOptions())
