"""`vjaccel collection`: vectors that last, made, filled, searched and written out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

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
from vjaccel.cli.stopping import Stopping
from vjaccel.collection import Collection, ShardedCollection, exists_at, open_collection
from vjaccel.collection.judging import judged_vector
from vjaccel.collection.texts import TEXT
from vjaccel.embedding import ModelIdentity
from vjaccel.engines import beside_of, export_rows, import_rows
from vjaccel.engines.importing import BATCH
from vjaccel.engines.standing import manifest_of, run_path
from vjaccel.errors import InvalidInput
from vjaccel.io import (
    VectorRows,
    check_output,
    error_log,
    error_path,
    made_by,
    named_after,
    stated_width,
    vector_rows,
    whole_pair,
)
from vjaccel.observe import RunBar

__all__ = ["collection"]

SOME_FAILED = 3

collection = typer.Typer(
    help="Vectors that last: make a collection, fill it, search it, write it out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Place = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its folder, or an address as s3://bucket/notes.")]
Where = Annotated[str | None, typer.Option(help="SQL over id and the metadata, as in \"lang = 'en' AND year > 2001\".")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@collection.command()
def create(
    place: Place,
    dim: Annotated[int, typer.Option(min=1, help="The width of the vectors.")],
    metric: Annotated[
        Literal["cosine", "dot", "euclidean", "sqeuclidean", "manhattan"], typer.Option(help="What it is searched by.")
    ] = "cosine",
    shards: Annotated[
        int | None, typer.Option(min=1, help="Over how many datasets, searched at once. [default: one, not sharded]")
    ] = None,
) -> None:
    """Make an empty collection."""
    with (
        Collection.open(place, dim, metric, create=True)
        if shards is None
        else ShardedCollection.open(place, dim, metric, shards=shards, create=True)
    ) as made:
        over = "" if shards is None else f", over {shards} shards"
        typer.echo(f"{place}: {len(made):,} rows of width {made.dim}, {made.metric}{over}")


@collection.command("import")
def import_(
    place: Place,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="parquet or jsonl with a field embedding; npy, with a jsonl of its name."),
    ],
    id_field: Annotated[
        str, typer.Option(help="The field that holds the id; without one, the row's number over all files.")
    ] = "id",
    metric: Annotated[
        Literal["cosine", "dot", "euclidean", "sqeuclidean", "manhattan"] | None,
        typer.Option(help="Of a collection that is not there yet. [default: cosine]"),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Of a collection that is not there yet. [default: one, not sharded]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace rows that are there otherwise; without it, each is an error.")
    ] = False,
    same_model: Annotated[
        bool,
        typer.Option("--same-model", help="Files that do not say which model made them are of the one that is known."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put the rows of files in. Rows that are there just so are passed over: the same command goes on where one was stopped."""
    errors = named_after(place)
    with ExitStack() as held:
        stopping = held.enter_context(Stopping())
        bar = held.enter_context(RunBar())
        widths = [_width(path) for path in files]  # of all: what is wrong with a file is said before rows are put in
        dim = next(filter(None, widths), None)
        _check_pairs(files)
        if dim is None and not exists_at(place):
            raise InvalidInput(
                f"no row has a vector, which would say how wide those of a new collection at {place} are: make it with "
                "`vjaccel collection create`"
            )
        model = _model(files, place, same_model=same_model)
        new = dim is not None
        into = held.enter_context(
            open_collection(place, dim, metric, create=new, model=model)
            if shards is None
            else ShardedCollection.open(place, dim, metric, shards=shards, create=new, model=model)
        )
        stopping.say = "stopped; what is done is kept, and the same command goes on"
        log = held.enter_context(error_log(errors, of_stopped=True))
        done = import_rows(_batches(files, id_field), into, replace_others=replace, log=log, show=bar.read)
        rows = len(into)
    failed = done.failures.total()
    report = {
        "collection": place, "rows": rows, "read": done.rows, "added": done.added, "replaced": done.replaced,
        "there": done.there, "failed": failed, "failures": dict(done.failures),
        "errors": str(error_path(errors)) if failed else None,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        typer.echo(
            f"{place}: {done.added:,} rows added, {done.replaced:,} replaced, {done.there:,} were there; it has {rows:,}"
        )
        if failed:
            codes = ", ".join(f"{code} {count:,}" for code, count in done.failures.items())
            typer.echo(f"{failed:,} rows were not taken ({codes}): see {report['errors']}")
    if failed:
        raise typer.Exit(SOME_FAILED)


@collection.command()
def search(
    place: Place,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What to look for, embedded by the collection's model.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Instead of a query: the id of a row whose neighbours are looked for.")
    ] = None,
    k: Count = 5,
    where: Where = None,
    backend: Backend = None,
    model: QueryModel = None,
    device: QueryDevice = "auto",
    prompt: QueryPrompt = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    base_url: QueryBaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines: id, score, metadata.")] = False,
) -> None:
    """Find the closest rows, exactly."""
    if (query is None) == (like is None):
        raise InvalidInput("say what to look for: a query, or --like and the id of a row")
    of_a_query = {
        "--model": model is not None, "--device": device != "auto", "--prompt": prompt is not None,
        "--trust-remote-code": trust_remote_code, "--allow-pickle": allow_pickle, "--base-url": base_url is not None,
    }  # fmt: skip
    given = [name for name, asked in of_a_query.items() if asked]
    if query is None and given:
        raise InvalidInput(f"{given[0]} is of the model that embeds a query, and --like embeds none: leave it out")
    with _there(place, backend) as found:
        if query is not None:
            if found.model is None:
                raise InvalidInput(f"{place} does not say which model its vectors are of: search with --like and an id")
            wanted = embedded_query(
                place, ModelIdentity.from_dict(found.model), query, model=model, device=device, prompt=prompt,
                trust_remote_code=trust_remote_code, allow_pickle=allow_pickle, base_url=base_url,
            )  # fmt: skip
        else:
            row = found.get([str(like)])
            if not len(row):
                raise InvalidInput(f"there is no row with the id {like!r} in {place}")
            wanted = row.vectors[0]
        hits = found.search(wanted, k, where=where)
    records = [{"id": hit.id, "score": hit.score, "metadata": hit.metadata} for hit in hits]
    show_found(records, "metadata", as_json=as_json)


@collection.command()
def info(place: Place, as_json: AsJson = False) -> None:
    """Say what is in it."""
    with _there(place) as found:
        versions = found.versions()
        report: dict[str, Any] = {
            "collection": place,
            "rows": len(found),
            "dim": found.dim,
            "metric": str(found.metric),
            "model": None if found.model is None else f"{found.model['provider']}:{found.model['model']}",
            "columns": {key: str(column) for key, column in found.columns.items()},
            "version": found.version,
            "versions": len(versions),
            "bytes": _bytes(place),
        }
        if isinstance(found, ShardedCollection):
            report["shards"] = {str(state.number): state.rows for state in found.shards()}
            report["resharding"] = found.is_resharding
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in report.items():
        if isinstance(value, dict):
            value = "\n".join(f"{key}: {kind}" for key, kind in value.items())
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str("not known" if value is None else value))
    Console(highlight=False, markup=False, emoji=False).print(table)


@collection.command()
def reshard(
    place: Place,
    shards: Annotated[int, typer.Option(min=1, help="How many there are to be, at least as many as there are.")],
) -> None:
    """Add shards to a sharded collection, and move to them what is theirs. It is there meanwhile; the same command goes on."""
    with _there(place) as found:
        if not isinstance(found, ShardedCollection):
            raise InvalidInput(
                f"{place} is one dataset: make a sharded collection with `vjaccel collection create --shards`, and import "
                "what `vjaccel collection export` writes"
            )
        with Stopping() as stopping:
            stopping.say = "stopped; the same command goes on"
            moved = found.reshard(shards)
        typer.echo(f"{place}: {moved:,} rows moved; {len(found):,} rows over {shards} shards")


@collection.command()
def compact(place: Place) -> None:
    """Put small files together, and remove old versions. It happens by itself too, now and then."""
    with _there(place) as found:
        found.compact()
        typer.echo(f"{place}: {len(found):,} rows")


@collection.command()
def export(
    place: Place,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="parquet or jsonl; npy, with the ids and metadata in a jsonl beside.")
    ],
    where: Where = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write its rows to a file, which import reads."""
    check_output(output, [])
    for path in filter(None, (output, beside_of(output))):
        if path.exists() and not overwrite:
            raise InvalidInput(f"{path} is there: --overwrite would replace it")
    with Stopping(), RunBar() as bar, _there(place) as found:
        about = {} if found.model is None else {"identity": found.model, "id_field": "id"}
        if found.model is not None and TEXT in found.columns:
            about["text_field"] = TEXT
        with whole_pair(output, beside_of(output)) as written:
            rows = export_rows(found, written, where, about, bar.read)
            run_path(output).unlink(missing_ok=True)  # of a run whose output this was
    typer.echo(f"wrote {output}: {rows:,} rows, vectors of width {found.dim}")


def _there(place: str, backend: str | None = None) -> Collection:
    if not exists_at(place):
        raise InvalidInput(f"there is no collection at {place}; `vjaccel collection create` makes one")
    return open_collection(place, backend=backend)


def _batches(files: list[Path], id_field: str) -> Iterator[VectorRows]:
    start = 0
    for path in files:
        for rows in vector_rows(path, id_field, size=BATCH, start=start):
            yield rows
            start += len(rows)


def _width(path: Path) -> int | None:
    """The width of the first vector of a file, or that it states; None where nothing tells."""
    for rows in vector_rows(path, size=BATCH):
        for row in rows.vectors:
            vector, _ = judged_vector(row, None)
            if vector is not None:
                return len(vector)
    return stated_width(path)


def _check_pairs(files: list[Path]) -> None:
    """Refuse the ids of other rows than an npy file has, where the run that wrote it has said what it read.

    Raises
    ------
    InvalidInput
    """
    for path in files:
        beside, made = beside_of(path), manifest_of(path)
        if beside is None or made is None or not beside.exists():
            continue
        with beside.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if [*made["run"].get("inputs", {}).values()] != [digest]:
            raise InvalidInput(
                f"{beside} is not what {path} was embedded from, as {run_path(path)} says, so that it has not the ids of these "
                "vectors: move one of them away"
            )


def _model(files: list[Path], place: str, *, same_model: bool) -> ModelIdentity | None:
    """The model whose vectors files have, as those that know say; None where none does, or a collection there does not.

    Raises
    ------
    InvalidInput
        They have codes, or they or the collection are of several models, or of who knows which; `same_model` says that those
        that do not know are of the one of the others.
    """
    found = {path: _made_by(path) for path in files}
    said = {model for model in found.values() if model is not None}
    for path, model in found.items():
        if model is not None and model.precision != "float32":
            raise InvalidInput(
                f"{path} has {model.precision} codes, and a collection has float32 vectors: embed without --precision"
            )
    if len(said) > 1:
        raise InvalidInput("the files are of several models, and a collection has one")
    if exists_at(place):
        with open_collection(place) as before:
            if before.model is None:
                return None
            known = f"the collection at {place} does"
    else:
        known = "other files do" if said else ""
    silent = next((path for path, model in found.items() if model is None), None)
    if silent is not None and known and not same_model:
        raise InvalidInput(
            f"{silent} does not say which model its vectors are of, and {known}: --same-model says that it is the same"
        )
    return next(iter(said), None)


def _made_by(path: Path) -> ModelIdentity | None:
    """The model that made a file's vectors, as the file says, or what the run that wrote it left beside."""
    made = made_by(path) or (manifest_of(path) or {}).get("made_by")
    return None if made is None else ModelIdentity.from_dict(made["identity"])


def _bytes(place: str) -> int | None:
    """What it takes on the disk; None for one that is elsewhere."""
    if "://" in place:
        return None
    return sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
