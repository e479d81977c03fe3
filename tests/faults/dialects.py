"""How each service's requests and replies look, as far as its SDK reads them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["DIALECTS", "Asked", "Dialect", "dialect_of"]


class Asked(NamedTuple):
    """What a request asks for."""

    model: str
    texts: list[str]
    dimensions: int | None = None
    packed: bool = False


class Dialect(NamedTuple):
    """What the end of a path says is spoken, how a request is read, and what the reply to it is."""

    ending: str
    read: Callable[[str, dict[str, Any]], Asked]
    reply: Callable[[list[np.ndarray], int | None, bool], dict[str, Any]]


def _openai_asked(path: str, body: dict[str, Any]) -> Asked:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    dimensions = body.get("dimensions") or body.get("output_dimension")
    return Asked(body["model"], texts, dimensions, body.get("encoding_format") == "base64")


def _openai_reply(vectors: list[np.ndarray], tokens: int | None, packed: bool) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(v) if packed else v.tolist()}
        for i, v in enumerate(vectors)
    ]
    used = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return {"object": "list", "data": data, "model": "m", **used}


def _cohere_reply(vectors: list[np.ndarray], tokens: int | None, packed: bool) -> dict[str, Any]:
    floats = [vector.tolist() for vector in vectors]
    return {"id": "1", "texts": [], "embeddings": {"float": floats}, "meta": {"billed_units": {"input_tokens": tokens}}}


def _google_asked(path: str, body: dict[str, Any]) -> Asked:
    requests = body["requests"]
    texts = ["".join(part["text"] for part in request["content"]["parts"]) for request in requests]
    return Asked(path.rpartition("/")[2].partition(":")[0], texts, requests[0].get("outputDimensionality"))


def _google_reply(vectors: list[np.ndarray], tokens: int | None, packed: bool) -> dict[str, Any]:
    return {"embeddings": [{"values": vector.tolist()} for vector in vectors]}


def _ollama_reply(vectors: list[np.ndarray], tokens: int | None, packed: bool) -> dict[str, Any]:
    return {"model": "m", "embeddings": [vector.tolist() for vector in vectors], "prompt_eval_count": tokens}


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


DIALECTS = (
    Dialect("/embeddings", _openai_asked, _openai_reply),
    Dialect(
        "/v2/embed", lambda path, body: Asked(body["model"], body["texts"], body.get("output_dimension")), _cohere_reply
    ),
    Dialect(":batchEmbedContents", _google_asked, _google_reply),
    Dialect(
        "/api/embed", lambda path, body: Asked(body["model"], body["input"], body.get("dimensions")), _ollama_reply
    ),
)
"""OpenAI's, which Voyage speaks too; Cohere's; Google's; Ollama's."""


def dialect_of(path: str) -> Dialect | None:
    """What is spoken at a path; None where nothing is."""
    return next((each for each in DIALECTS if path.partition("?")[0].endswith(each.ending)), None)
