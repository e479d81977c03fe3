"""`vjaccel embed`: files of texts in, their rows and vectors out."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console

from vjaccel.embedding import Embedder, EmbeddingResult, EmbeddingStatistics, Progress
from vjaccel.errors import OutputError
from vjaccel.io import VECTORS, Inputs, Rows, check_output, error_log, error_path, open_output
from vjaccel.observe import RunBar

__all__ = ["embed"]

CHUNK = 4096
SOME_FAILED, INTERRUPTED = 3, 130

Format = Literal["txt", "jsonl", "csv", "parquet"]


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files: txt, jsonl, csv (each also .gz), parquet; - is standard input."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A file to write: parquet, jsonl or npy.")],
    text_field: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    id_field: Annotated[
        str | None, typer.Option(help="The field that holds the id. [default: id; without one, the row's number]")
    ] = None,
    input_format: Annotated[
        Format | None,
        typer.Option(help="Instead of what a file's name says; standard input is jsonl if it begins with {, else txt."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="local:NAME, where NAME is a folder, a packaged model, or one of the hub.")
    ] = "local:all-MiniLM-L6-v2",
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, gpu:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16, bfloat16: what the model computes in.")] = "auto",
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a batch, padding included.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Batches at once.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Put before every text. [default: the model's own for documents]")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Keep this many leading numbers of a vector (Matryoshka).")
    ] = None,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Pass over lines that are no rows.")] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load weights that are pickled, which can run any code.")
    ] = False,
    base_url: Annotated[str | None, typer.Option(help="Where a remote provider's service is, used as given.")] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a batch of a remote provider, all attempts together.")
    ] = 120.0,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="To a remote provider, in any minute.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the inputs, count tokens, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Embed the texts of files. The output has the inputs' rows, in order, with all their columns, and an `embedding`."""
    check_output(output, inputs)
    try:
        with ExitStack() as held:
            bar = held.enter_context(RunBar())
            rows = held.enter_context(
                Inputs(
                    inputs, text_field=text_field, id_field=id_field, input_format=input_format,
                    skip_bad_lines=skip_bad_lines, seen=bar.read,
                )
            )  # fmt: skip
            bar.loading()
            embedder = held.enter_context(
                Embedder(
                    model, device=device, dtype=dtype, workers=workers, batch_tokens=batch_tokens,
                    dimensions=dimensions, prompt=prompt, trust_remote_code=trust_remote_code,
                    allow_pickle=allow_pickle, base_url=base_url, timeout=timeout,
                    requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
                )
            )  # fmt: skip
            report = _counted(rows, embedder, bar) if dry_run else _embedded(rows, embedder, output, bar)
    except KeyboardInterrupt:
        typer.echo(f"vjaccel: stopped; {output} was not written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _show(report, as_json)
    if report.get("failed"):
        raise typer.Exit(SOME_FAILED)


def _embedded(inputs: Inputs, embedder: Embedder, output: Path, bar: RunBar) -> dict[str, Any]:
    """Embed everything into `output`; what is to be told of it."""
    prompt = embedder.prompt_for("document")
    waiting: deque[Rows] = deque()

    def texts() -> Iterator[Any]:
        for rows in inputs.batches(CHUNK):
            waiting.append(rows)
            yield from rows.texts

    def show(progress: Progress) -> None:
        bar.embedded(progress.done, total=inputs.rows, tokens=progress.tokens, seconds=progress.seconds)

    chunks = embedder.stream(texts(), chunk_size=CHUNK, prompt=prompt, on_error="collect", progress=show)
    # A provider may not know its width before its first vector; an output has to.
    known = [] if embedder.dim else _until_one_succeeds(chunks)
    width = embedder.dim or 0
    made_by = {
        "identity": replace(embedder.identity, prompt=prompt).to_dict(),
        "text_field": inputs.text_field,
        "id_field": inputs.id_field,
    }
    statistics: EmbeddingStatistics | None = None
    done = 0
    with error_log(output) as log, open_output(output, inputs.schema, width, inputs.rows, made_by) as file:
        for result in chain(known, chunks):
            rows = waiting.popleft()
            vectors = result.embeddings if result.ok.any() else np.full((len(rows), width), np.nan, np.float32)
            file.write(rows.columns, vectors, result.ok)
            log(asdict(error) | {"id": rows.ids[error.index - done]} for error in result.errors)
            done += len(rows)
            statistics = result.statistics
    failed = 0 if statistics is None else statistics.failed
    return {
        "output": str(output),
        "errors": str(error_path(output)) if failed else None,
        "rows": inputs.rows,
        "bad_lines": inputs.bad_lines,
        "failed": failed,
        **made_by,
        "statistics": None if statistics is None else _measured(statistics),
    }


def _until_one_succeeds(chunks: Iterator[EmbeddingResult]) -> list[EmbeddingResult]:
    """The first chunks, up to the one with the first vector.

    Raises
    ------
    OutputError
        There are chunks, and no vector.
    """
    found: list[EmbeddingResult] = []
    for result in chunks:
        found.append(result)
        if result.ok.any():
            return found
    if found:
        why = found[0].errors[0].message
        raise OutputError(f"no text could be embedded, so there is nothing to write; the first failed with {why}")
    return found


def _counted(inputs: Inputs, embedder: Embedder, bar: RunBar) -> dict[str, Any]:
    """What an embedding run would see; nothing is embedded."""
    prompt = embedder.prompt_for("document")
    tokens, longest, no_text, done = 0, 0, 0, 0
    counted = True
    started = time.perf_counter()
    for rows in inputs.batches(CHUNK):
        texts = [text for text in rows.texts if isinstance(text, str)]
        lengths = embedder.count_tokens(texts, prompt=prompt)
        no_text += len(rows) - len(texts)
        done += len(rows)
        if lengths is None:
            counted = False
        elif len(lengths):
            tokens, longest = tokens + int(lengths.sum()), max(longest, int(lengths.max()))
        bar.embedded(done, total=inputs.rows, tokens=None, seconds=time.perf_counter() - started)
    return {
        "rows": inputs.rows,
        "bad_lines": inputs.bad_lines,
        "no_text": no_text,
        "tokens": tokens if counted else None,
        "longest_tokens": longest if counted else None,
        "dimensions": embedder.dim,
        "columns": [*inputs.schema.names, VECTORS],
    }


def _measured(statistics: EmbeddingStatistics) -> dict[str, Any]:
    rates = {name: getattr(statistics, name) for name in ("texts_per_second", "tokens_per_second")}
    times = {name: getattr(statistics, name).isoformat(timespec="milliseconds") for name in ("started", "ended")}
    return asdict(statistics) | times | rates


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in _planned_lines(report) if "tokens" in report else _done_lines(report):
        console.print(line, markup=False)
    if report["bad_lines"]:
        console.print(f"passed over {report['bad_lines']:,} bad lines", style="yellow")


def _planned_lines(report: dict[str, Any]) -> Iterator[str]:
    tokens = "tokens unknown"
    if report["tokens"] is not None:
        tokens = f"{report['tokens']:,} tokens, the longest text {report['longest_tokens']:,}"
    yield f"would embed {report['rows'] - report['no_text']:,} texts: {tokens}"
    if report["no_text"]:
        yield f"{report['no_text']:,} rows have no text, and would fail"
    yield f"columns: {', '.join(report['columns'])}; vectors of width {report['dimensions']}"


def _done_lines(report: dict[str, Any]) -> Iterator[str]:
    found = report["statistics"]
    if found is not None:
        rates = [f"{found['texts_per_second'] or 0:,.0f} texts/s"]
        if found["tokens_per_second"] is not None:
            rates.append(f"{found['tokens_per_second']:,.0f} tokens/s")
        yield f"embedded {found['embedded']:,} texts in {found['seconds']:.1f} s: {', '.join(rates)}"
    if found is not None and found["truncated"]:
        yield f"{found['truncated']:,} texts were longer than the model takes; {found['tokens_lost']:,} tokens were cut off"
    yield f"wrote {report['output']}: {report['rows']:,} rows, vectors of width {report['identity']['dimensions']}"
    if report["failed"]:
        yield f"{report['failed']:,} texts failed: see {report['errors']}"
