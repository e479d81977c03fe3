"""`vjaccel embed INPUT -o lance:COLLECTION`: texts become rows of a collection."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.cli.embed_counted import estimate_report
from vjaccel.cli.embed_live import MAX_LATENCY, Live
from vjaccel.cli.embed_report import measured, telling
from vjaccel.cli.stopping import Stopping
from vjaccel.collection import Collection
from vjaccel.collection.metadata import Refused, check_keys
from vjaccel.embedding import Embedder, Estimate
from vjaccel.embedding.driver import CHUNK
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines import TextRow, embed_into, kept_before, kept_vectors, left_to_embed
from vjaccel.errors import InvalidInput
from vjaccel.io import Inputs, error_log, error_path, named_after
from vjaccel.observe import Seen, View

__all__ = ["LANCE", "check_collected", "check_columns", "collected", "counted_into"]

LANCE = "lance:"
"""What an output begins with that is a collection."""


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
    *, text_field: str, max_errors: int | None, price: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Embed everything into the collection; what is to be told of it."""
    place = output.removeprefix(LANCE)
    errors = named_after(place)
    total = rows.rows if isinstance(rows, Inputs) else None
    local = "://" not in place

    with ExitStack() as held:

        def opened(dim: int | None) -> Collection | None:
            if dim is None and not Collection.exists(place):
                return None
            return held.enter_context(Collection.open(place, dim, create=True, embedder=embedder))

        seen = kept = None
        if isinstance(rows, Inputs):
            if local:
                kept = held.enter_context(kept_vectors(rows, embedder, errors, bar.say))
                if kept.found:
                    bar.say(
                        f"vjaccel: going on with {output}: {kept.found:,} rows were embedded by a run that was stopped"
                    )
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vjaccel-")))
            seen = held.enter_context(SeenTexts(folder / "seen.sqlite", "the same command"))
        log = held.enter_context(error_log(errors, of_stopped=True))
        stopping.say = f"stopped; what is done is in {place}, and the same command goes on"
        done = embed_into(
            _groups(rows, id_field or "id"), embedder, opened, text_field, seen=seen, kept=kept,
            max_latency=None if isinstance(rows, Inputs) else MAX_LATENCY, max_errors=max_errors, log=log,
            show=telling(bar, price, total),
        )  # fmt: skip
    failed = done.failures.total()
    return {
        "output": output,
        "errors": str(error_path(errors)) if failed else None,
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


def counted_into(
    rows: Inputs,
    embedder: Embedder,
    output: str,
    id_field: str | None,
    bar: View,
    *,
    text_field: str,
    price: float | None,
) -> dict[str, Any]:
    """What a run into the collection would embed; nothing is embedded, and nothing written."""
    place = output.removeprefix(LANCE)
    prompt, found, started = embedder.prompt_for("document"), Estimate(), time.perf_counter()
    done, settled, duplicates, failed = 0, 0, 0, Counter[str]()
    with ExitStack() as held:
        into = None
        if Collection.exists(place):
            into = held.enter_context(Collection.open(place, embedder=embedder))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="vjaccel-")))
        seen = held.enter_context(SeenTexts(folder / "seen.sqlite"))
        same = held.enter_context(SeenTexts(folder / "texts.sqlite"))
        kept = kept_before(rows, embedder, named_after(place))
        for group in _groups(rows, id_field or "id"):
            wanted, others = left_to_embed(done, group, into, text_field, seen)
            missing = [i for i in wanted if not kept[done + i]]
            settled += others.there + others.updated + len(wanted) - len(missing)
            failed.update(others.failures)
            texts = [group[i].text for i in missing]
            own = same.first(done, texts) == np.arange(done, done + len(texts))
            found += embedder.estimate([text for text, new in zip(texts, own, strict=True) if new], prompt=prompt)
            duplicates += int((~own).sum())
            done += len(group)
            bar.embedded(Seen(done, rows.rows, None, time.perf_counter() - started), "counting")
    return estimate_report(rows, embedder, found, price, settled=settled, duplicates=duplicates, refused=dict(failed))


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
