"""`vjaccel search`: the rows of an embedded file that are closest to a query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from vjaccel.arrays import Corpus
from vjaccel.cli.options import (
    AllowPickle,
    Backend,
    Count,
    QueryBaseUrl,
    QueryDevice,
    QueryModel,
    QueryPrompt,
    TrustRemoteCode,
)
from vjaccel.cli.querying import embedded_query, show_found
from vjaccel.embedding import ModelIdentity
from vjaccel.errors import FileFormatError
from vjaccel.io import VectorFile

__all__ = ["search"]


def search(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A parquet file that `vjaccel embed` wrote.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    k: Count = 5,
    backend: Backend = None,
    model: QueryModel = None,
    device: QueryDevice = "auto",
    prompt: QueryPrompt = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    base_url: QueryBaseUrl = None,
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
    show_found(records, "text", as_json=as_json)


def _closest(file: Path, vectors: VectorFile, wanted: np.ndarray, k: int, backend: str | None) -> list[dict[str, Any]]:
    if len(wanted) != vectors.dim:
        raise FileFormatError(f"{file} has vectors of width {vectors.dim}, and the model gives {len(wanted)}")
    rows, places = vectors.vectors()
    values, indices = Corpus(rows, backend=backend).topk(wanted, k)
    return [
        {"id": row.id, "score": float(value), "text": row.text, "index": int(place)}
        for row, value, place in zip(vectors.found(places[indices]), values, places[indices], strict=True)
    ]
