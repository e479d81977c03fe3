"""What a request is answered when the model fails, in OpenAI's words."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

import vjaccel as vj
from vjaccel.embedding.providers.protocol import BatchFailed
from vjaccel.errors import ProviderRefused
from vjaccel.serve.app import Service, made_app


@pytest.mark.parametrize(
    ("cause", "code"),
    [(RuntimeError("all devices are out of order"), "RuntimeError"), (ProviderRefused("no key"), ProviderRefused.code)],
    ids=["a framework's own", "the library's"],
)
def test_an_error_that_ends_a_run_is_502_with_its_message(cause: Exception, code: str) -> None:
    def fails(texts: list[str]) -> np.ndarray:
        raise BatchFailed("it has failed", then="stop") from cause

    with (
        vj.Embedder(fails) as embedder,
        TestClient(made_app(Service(embedder, ("m",))), raise_server_exceptions=False) as client,
    ):
        found = client.post("/v1/embeddings", json={"model": "m", "input": ["a", "b"]})
    assert found.status_code == 502
    error = found.json()["error"]
    assert (error["message"], error["type"], error["code"]) == (f"the model has failed: {cause}", "server_error", code)
