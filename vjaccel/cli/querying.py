"""The model that made vectors, to embed a query for them, and what was found."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.providers.urls import is_local
from vjaccel.errors import InvalidInput, ModelUnavailable, NotSupported

__all__ = ["embedded_query", "show_found"]


def embedded_query(
    place: str,
    made_by: ModelIdentity,
    query: str,
    *,
    model: str | None,
    device: str,
    prompt: str | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    base_url: str | None,
) -> np.ndarray:
    """The vector of a query, float32 (dim,), by the model whose vectors are at `place`.

    Raises
    ------
    ModelUnavailable
        The model that is here is another one.
    InvalidInput
        The vectors were made by a service elsewhere, and nobody said that it is to be asked.
    NotSupported
        They are codes.
    """
    if made_by.precision != "float32":
        raise NotSupported(
            f"{place} holds {made_by.precision} codes, and only float32 vectors are searched: embed without --precision"
        )
    with Embedder(
        model or f"{made_by.provider}:{made_by.model}", device=device, prompt=prompt, dimensions=made_by.dimensions,
        normalize=made_by.normalized, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle,
        base_url=base_url or _endpoint(place, made_by),
    ) as embedder:  # fmt: skip
        _check_same(place, made_by, embedder.identity)
        found: np.ndarray = embedder.embed_query(query).embeddings[0]
    return found


def show_found(records: list[dict[str, Any]], last: str, *, as_json: bool) -> None:
    """Print rows that were found as JSON lines, or as a table of their score, id and what is under the key `last`."""
    if as_json:
        for record in records:
            typer.echo(json.dumps(record, ensure_ascii=False, default=str))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right", style="cyan")
    table.add_column("id", style="dim")
    table.add_column(last, overflow="fold")
    for record in records:
        table.add_row(f"{record['score']:.3f}", record["id"], _in_a_cell(record[last]))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _in_a_cell(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else ", ".join(f"{key}: {said}" for key, said in value.items())


def _endpoint(place: str, made_by: ModelIdentity) -> str | None:
    """Where the model is said to be. A key is sent there, so that it is believed of this machine's network alone."""
    if made_by.endpoint is not None and not is_local(made_by.endpoint):
        raise InvalidInput(
            f"{place} was made at {made_by.endpoint}: pass --base-url {made_by.endpoint} if you trust it"
        )
    return made_by.endpoint


def _check_same(place: str, made_by: ModelIdentity, found: ModelIdentity) -> None:
    """Refuse a model that gives other vectors: by its weights, or by its name where nobody knows those."""
    if made_by.digest is None and (found.provider, found.model) != (made_by.provider, made_by.model):
        raise ModelUnavailable(
            f"{place} was made by {made_by.provider}:{made_by.model}, and {found.provider}:{found.model} is another model"
        )
    if found.digest != made_by.digest:
        raise ModelUnavailable(
            f"{place} was made by another {made_by.model!r} than the one here: the digests of their weights differ "
            f"({str(made_by.digest)[:12]} and {str(found.digest)[:12]})"
        )
