"""`vjaccel search`: the rows of an embedded file that are closest to a query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from vjaccel.arrays import Corpus
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.providers.urls import is_local
from vjaccel.errors import FileFormatError, InvalidInput, ModelUnavailable, NotSupported
from vjaccel.io import VectorFile

__all__ = ["search"]


def search(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A parquet file that `vjaccel embed` wrote.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many rows.")] = 5,
    backend: Annotated[str | None, typer.Option(help="As in numpy, torch:gpu, jax.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the file's model is, if not where it was. Another one is refused.")
    ] = None,
    device: Annotated[str, typer.Option(help="For the model: auto, cpu, gpu, gpu:1, mps.")] = "auto",
    prompt: Annotated[
        str | None, typer.Option(help="Put before the query. [default: the model's own for queries]")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load weights that are pickled, which can run any code.")
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option(help="Where a remote provider's service is. [default: where the file says, on this machine]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines: id, score, text, index.")] = False,
) -> None:
    """Find the rows closest to a query. Closest by cosine; the query is embedded by the model that made the file."""
    vectors = VectorFile(file)
    try:
        identity = ModelIdentity.from_dict(vectors.made_by["identity"])
        if identity.precision != "float32":
            raise NotSupported(
                f"{file} holds {identity.precision} codes, and only files of float32 vectors are searched: "
                "embed without --precision"
            )
        with Embedder(
            model or f"{identity.provider}:{identity.model}", device=device, prompt=prompt,
            dimensions=identity.dimensions, normalize=identity.normalized, trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle, base_url=base_url or _endpoint(file, identity),
        ) as embedder:  # fmt: skip
            _same_model(file, identity, embedder.identity)
            wanted = embedder.embed_query(query).embeddings[0]
        records = _closest(file, vectors, wanted, k, backend) if vectors.rows else []
    finally:
        vectors.close()
    _show(records, as_json)


def _endpoint(file: Path, identity: ModelIdentity) -> str | None:
    """Where the file says that its model is. A key is sent there, so that it is believed of this machine's network alone."""
    if identity.endpoint is not None and not is_local(identity.endpoint):
        raise InvalidInput(
            f"{file} was made at {identity.endpoint}: pass --base-url {identity.endpoint} if you trust it"
        )
    return identity.endpoint


def _same_model(file: Path, made_by: ModelIdentity, found: ModelIdentity) -> None:
    """Refuse a model that gives other vectors: by its weights, or by its name where nobody knows those."""
    if made_by.digest is None and (found.provider, found.model) != (made_by.provider, made_by.model):
        raise ModelUnavailable(
            f"{file} was made by {made_by.provider}:{made_by.model}, and {found.provider}:{found.model} is another model"
        )
    if found.digest != made_by.digest:
        raise ModelUnavailable(
            f"{file} was made by another {made_by.model!r} than the one here: the digests of their weights differ "
            f"({str(made_by.digest)[:12]} and {str(found.digest)[:12]})"
        )


def _closest(file: Path, vectors: VectorFile, wanted: np.ndarray, k: int, backend: str | None) -> list[dict[str, Any]]:
    if len(wanted) != vectors.dim:
        raise FileFormatError(f"{file} has vectors of width {vectors.dim}, and the model gives {len(wanted)}")
    rows, places = vectors.vectors()
    values, indices = Corpus(rows, backend=backend).topk(wanted, k)
    return [
        {"id": row.id, "score": float(value), "text": row.text, "index": int(place)}
        for row, value, place in zip(vectors.found(places[indices]), values, places[indices], strict=True)
    ]


def _show(records: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for record in records:
            typer.echo(json.dumps(record, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("score", justify="right", style="cyan")
    table.add_column("id", style="dim")
    table.add_column("text", overflow="fold")
    for record in records:
        table.add_row(f"{record['score']:.3f}", record["id"], record["text"])
    Console(highlight=False, markup=False, emoji=False).print(table)
