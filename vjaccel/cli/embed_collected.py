"""`vjaccel embed INPUT -o lance:COLLECTION`: texts become rows of a collection."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.cli.embed_counted import estimated
from vjaccel.cli.embed_live import MAX_LATENCY, Live
from vjaccel.cli.embed_report import measured, telling
from vjaccel.cli.embed_reported import Reporting
from vjaccel.cli.stopping import Stopping
from vjaccel.collection import Collection, exists_at, open_collection
from vjaccel.collection.metadata import Refused, check_keys
from vjaccel.embedding import Embedder, Estimate
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines import (
    Collected,
    RayRun,
    RemoteModel,
    Source,
    Target,
    TextRow,
    embed_into,
    embed_into_on_ray,
    kept_before,
    kept_vectors,
    pool_for,
    texts_to_embed,
)
from vjaccel.errors import InvalidInput
from vjaccel.io import LANCE, Inputs, error_log, error_path, is_stored, named_after
from vjaccel.io.whole import writing
from vjaccel.observe import Seen, View

__all__ = ["check_collected", "check_columns", "collected", "collected_on_ray", "would_collect"]


def check_collected(output: str, precision: str, **asked: bool) -> None:
    """Refuse what a run into a collection cannot be asked.

    Raises
    ------
    InvalidInput
    """
    if output == LANCE:
        raise InvalidInput(f"the output {LANCE!r} names no collection: say it whole, as in lance:notes")
    if precision != "float32":
        raise InvalidInput(f"a collection has float32 vectors: leave --precision {precision} out")
    refused = [f"--{name.replace('_', '-')}" for name, given in asked.items() if given]
    if refused:
        raise InvalidInput(
            f"{refused[0]} is for files; into a collection the same command goes on, tries failed rows again, and brings rows "
            "up to date that have changed"
        )


def check_columns(rows: Inputs) -> None:
    """Refuse columns that rows of a collection cannot have, before anything is embedded.

    Raises
    ------
    InvalidInput
    """
    try:
        check_keys(name for name in rows.schema.names if name != rows.id_field)
    except Refused as exc:
        raise InvalidInput(f"the input has a column that a collection cannot take: {exc}; rename it") from exc


def collected(
    rows: Inputs | Live, embedder: Embedder, output: str, id_field: str | None, bar: View, stopping: Stopping,
    *, text_field: str, max_errors: int | None, price: float | None, reporting: Reporting,
) -> dict[str, Any]:  # fmt: skip
    """Embed everything into the collection; what is to be told of it."""
    with _target(rows, output, embedder, bar, stopping) as target:
        done = embed_into(
            _source(rows, id_field, text_field), embedder, target,
            max_latency=None if isinstance(rows, Inputs) else MAX_LATENCY, max_errors=max_errors,
            show=reporting.seeing(telling(bar, price)), took=reporting.took,
        )  # fmt: skip
    return _told(done, rows, output, price)


def collected_on_ray(
    ray: Any, rows: Inputs, options: dict[str, Any], spread: RayRun, output: str, id_field: str | None, bar: View,
    stopping: Stopping, *, text_field: str, max_errors: int | None, price: float | None, reporting: Reporting,
) -> dict[str, Any]:  # fmt: skip
    """What `collected` does, on a cluster."""
    with pool_for(ray, rows, options, _beside(output), spread) as pool:
        reporting.begins(pool.model)
        with _target(rows, output, pool.model, bar, stopping) as target:
            done = embed_into_on_ray(
                pool, rows, _source(rows, id_field, text_field), target, max_errors=max_errors,
                show=reporting.seeing(telling(bar, price)), did=reporting.did, took=reporting.stored,
            )  # fmt: skip
    return _told(done, rows, output, price)


@contextmanager
def _target(
    rows: Inputs | Live, output: str, model: Embedder | RemoteModel, bar: View, stopping: Stopping
) -> Iterator[Target]:
    place, errors = output.removeprefix(LANCE), _beside(output)
    with ExitStack() as held:

        def opened(dim: int | None) -> Collection | None:
            if dim is None and not exists_at(place):
                return None
            if isinstance(model, Embedder):
                return held.enter_context(open_collection(place, dim, create=True, embedder=model))
            identity = replace(model.identity, dimensions=dim)
            return held.enter_context(open_collection(place, dim, create=True, model=identity))

        seen = kept = None
        if isinstance(rows, Inputs):
            # Nowhere beside a collection in a store, but for the shards of a cluster's workers, which must be somewhere.
            if not is_stored(place) or not isinstance(model, Embedder):
                kept = held.enter_context(kept_vectors(rows, model, errors, bar.say))
                if kept.found:
                    bar.say(
                        f"vjaccel: going on with {output}: {kept.found:,} rows were embedded by a run that was stopped"
                    )
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vjaccel-")))
            seen = held.enter_context(SeenTexts(folder / "seen.sqlite", "the same command"))
        log = held.enter_context(error_log(errors, of_stopped=True))
        stopping.say = f"stopped; what is done is in {place}, and the same command goes on"
        yield Target(opened, seen=seen, kept=kept, log=log)


def _beside(output: str) -> Path:
    """What errors and vectors of a run into a collection are kept beside; its folder is there from now on."""
    errors = named_after(output.removeprefix(LANCE))
    # A row may fail before there is a collection, which would make its folder.
    with writing(errors):
        errors.parent.mkdir(parents=True, exist_ok=True)
    return errors


def _told(done: Collected, rows: Inputs | Live, output: str, price: float | None) -> dict[str, Any]:
    failed = done.failures.total()
    return {
        "output": output,
        "errors": str(error_path(_beside(output))) if failed else None,
        "rows": done.rows,
        "bad_lines": rows.bad_lines,
        "stored": done.stored,
        "resumed": done.resumed,
        "updated": done.updated,
        "there": done.there,
        "failed": failed,
        "failures": dict(done.failures),
        **measured(done.statistics, price),
    }


def would_collect(
    rows: Inputs,
    embedder: Embedder,
    output: str,
    id_field: str | None,
    bar: View,
    *,
    text_field: str,
    price: float | None,
) -> dict[str, Any]:
    """What such a run would see; nothing is embedded, and nothing written."""
    place = output.removeprefix(LANCE)
    done, found, asked, duplicates = Collected(), Estimate(), 0, 0
    started = time.perf_counter()
    with ExitStack() as held:
        into = None
        if exists_at(place):
            into = held.enter_context(open_collection(place, embedder.dim, embedder=embedder))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vjaccel-")))
        ids, texts = (held.enter_context(SeenTexts(folder / name)) for name in ("ids.sqlite", "texts.sqlite"))
        source, target = _source(rows, id_field, text_field), Target(lambda _: into, seen=ids)
        for wanted, done in texts_to_embed(source, target, kept_before(rows, embedder, named_after(place))):
            own = texts.first(asked, wanted) == np.arange(asked, asked + len(wanted))
            found += embedder.estimate([wanted[i] for i in np.flatnonzero(own)], prompt=embedder.prompt_for("document"))
            asked, duplicates = asked + len(wanted), duplicates + len(wanted) - int(own.sum())
            bar.embedded(Seen(done.rows, rows.rows, None, time.perf_counter() - started), "counting")
    return estimated(rows, embedder, found, price) | {
        "settled": done.there + done.updated + done.resumed,
        "duplicates": duplicates,
        "refused": done.failures.total(),
        "failures": dict(done.failures),
    }


def _source(rows: Inputs | Live, id_field: str | None, text_field: str) -> Source:
    count = rows.rows if isinstance(rows, Inputs) else None
    return Source(partial(_groups, rows, id_field or "id"), text_field, _floats(rows), count)


def _floats(rows: Inputs | Live) -> set[str]:
    """The fields that are floats in some row; what comes line by line tells nothing before it is there."""
    from pyarrow import types

    if isinstance(rows, Live):
        return set()
    kinds = {field.name: field.type for field in rows.schema}
    return {name for name, kind in kinds.items() if types.is_floating(kind.value_type if types.is_list(kind) else kind)}


def _groups(rows: Inputs | Live, id_field: str) -> Iterator[list[TextRow]]:
    if isinstance(rows, Live):
        for text in rows.texts():
            yield [_text_row(rows.row(), text, id_field)]
        return
    for batch in rows.batches(CHUNK):
        records = batch.records()
        yield [
            _text_row(record, text, id_field, rows.numbered) for record, text in zip(records, batch.texts, strict=True)
        ]


def _text_row(record: dict[str, Any], text: Any, id_field: str, numbered: bool = False) -> TextRow:
    name = None if numbered else record.get(id_field)
    fields = {key: value for key, value in record.items() if key != id_field}
    return TextRow(None if name is None else str(name), text, fields)
