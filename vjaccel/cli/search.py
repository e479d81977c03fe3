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
from vjaccel.cli.querying import embedded_query
from vjaccel.embedding import ModelIdentity
from vjaccel.errors import FileFormatError
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
        wanted = embedded_query(
            str(file), identity, query, model=model, device=device, prompt=prompt, trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle, base_url=base_url,
        )  # fmt: skip
        records = _closest(file, vectors, wanted, k, backend) if vectors.rows else []
    finally:
        vectors.close()
    _show(records, as_json)


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
