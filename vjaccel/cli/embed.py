"""`vjaccel embed`: files of texts in, their rows and vectors out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from vjaccel.cli.embed_asked import Asked, InputFormat
from vjaccel.cli.embed_collected import collected, collected_on_ray, would_collect
from vjaccel.cli.embed_counted import counted
from vjaccel.cli.embed_live import Live, embed_live
from vjaccel.cli.embed_monitored import check_monitored, monitored
from vjaccel.cli.embed_on_ray import batches_at_once, engines, spread_out
from vjaccel.cli.embed_report import measured, show, telling
from vjaccel.cli.embed_reported import Reporting
from vjaccel.cli.options import (
    AllowPickle,
    BaseUrl,
    BatchTokens,
    Cache,
    Device,
    Dtype,
    LogFormatOption,
    LogLevelOption,
    Model,
    Prompt,
    RequestsPerMinute,
    SharedLimits,
    TokensPerMinute,
    Truncate,
    TrustRemoteCode,
)
from vjaccel.cli.stopping import Stopping
from vjaccel.cli.viewing import viewed
from vjaccel.cluster import connected
from vjaccel.embedding import Embedder, Progress
from vjaccel.embedding.precision import Precision
from vjaccel.engines import Report, Standing, embed_files, embed_files_on_ray
from vjaccel.errors import InvalidInput
from vjaccel.io import Inputs, error_path
from vjaccel.observe import HOST, STALLED, View
from vjaccel.pages.words import counted as how_many

__all__ = ["embed"]

SOME_FAILED = 3

logger = logging.getLogger("vjaccel.cli")

Tell = Callable[[Progress, int], None]


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files: txt, jsonl, csv (each also .gz), parquet, also as s3://BUCKET/KEY; lance:DIR, a Lance dataset; "
            "- is standard input.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="A file to write: parquet, jsonl or npy; lance:DIR for a collection; - gives each row at once.",
        ),
    ],
    text_field: Annotated[str, typer.Option(help="The field that holds the text.")] = "text",
    id_field: Annotated[
        str | None, typer.Option(help="The field that holds the id. [default: id; without one, the row's number]")
    ] = None,
    input_format: Annotated[
        InputFormat | None,
        typer.Option(help="Instead of what a file's name says; standard input is jsonl if it begins with {, else txt."),
    ] = None,
    model: Model = "local:all-MiniLM-L6-v2",
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN:MAX",
            help="Batches at once, by default as many as pay; with --engine ray how many workers, by default 1: and no end.",
        ),
    ] = None,
    prompt: Prompt = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Keep this many leading numbers of a vector (Matryoshka).")
    ] = None,
    truncate: Truncate = "end",
    precision: Annotated[
        Precision, typer.Option(help="What vectors are written as. int8 and uint8 are steps of the run's own ranges.")
    ] = "float32",
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="torch|onnx|openvino|local|ray",
            help="What runs a local model on a CPU: torch, onnx, openvino; and where: local, this machine, or ray, a cluster. "
            "May be given for each. [default: torch and local]",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT. [default: RAY_ADDRESS, or a Ray of its own here]"
        ),
    ] = None,
    resources: Annotated[
        str | None, typer.Option(help="Of each worker with --engine ray, as in gpu=1 or cpu=4,gpu=1. [default: cpu=1]")
    ] = None,
    shards: Annotated[
        bool, typer.Option("--shards", help="The output is a folder of files of this format, part-00000 and so on.")
    ] = False,
    shard_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rows of each such file [default: 100000], and that a worker does at once [default: by how many there are].",
        ),
    ] = None,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Pass over lines that are no rows.")] = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    base_url: BaseUrl = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a batch of a remote provider, all attempts together.")
    ] = 120.0,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    shared_limits: SharedLimits = None,
    cache: Cache = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever an earlier run has left.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where an earlier run was stopped; so does the same command without it."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output of which it is not known how it was made.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Embed only the rows that failed, and complete the output.")
    ] = False,
    max_errors: Annotated[int | None, typer.Option(min=0, help="Stop when more rows than this have failed.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Of a million tokens, in any currency: the cost is then said.")
    ] = None,
    report_path: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a page of what the run was like: an HTML file."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show stages, workers, rates, batches and errors live, on a terminal.")
    ] = False,
    log_format: LogFormatOption = "text",
    log_level: LogLevelOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the inputs, count tokens, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve /metrics, /healthz and /readyz for Prometheus here; 0 is any free port. If it is scraped, the command "
            "ends after one more scrape by each that does.",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None,
        typer.Option(help=f"Where: an address of this machine. Others let others read it. [default: {HOST}]"),
    ] = None,
    stalled_after: Annotated[
        float | None,
        typer.Option(
            min=0.0, help=f"Seconds without anything coming of a run, for /healthz to say so. [default: {STALLED:g}]"
        ),
    ] = None,
) -> None:
    """Embed the texts of files. The output has the inputs' rows, in order, with all their columns, and an `embedding`.

    What is done is kept beside the output: the same command goes on where a run was stopped.
    """
    asked = Asked(
        inputs, output, text_field, id_field, input_format, skip_bad_lines, precision, restart, resume, overwrite,
        retry_failed, max_errors, price, shards, shard_rows, dry_run, as_json,
    )  # fmt: skip
    asked.check()
    check_monitored(metrics_port, metrics_host, stalled_after)
    by, on_ray = engines(engine or [])
    spread, at_once = None, None
    if on_ray:
        refused = {"-o -": output == "-", "the input -": "-" in inputs, "--dry-run": dry_run}
        spread = spread_out(workers, resources, shard_rows, refused)
    else:
        others = {"--address": address, "--resources": resources, "--shard-rows": None if shards else shard_rows}
        at_once = batches_at_once(workers, others)
    reporting = Reporting(report_path, output, inputs, to_file=asked.to_file, price=price, dry_run=dry_run)
    if cache == "memory":
        raise InvalidInput(
            "a cache in memory ends with the command, which embeds a text once anyway: say --cache disk, or a folder"
        )
    options: dict[str, Any] = {
        "model": model, "device": device, "dtype": dtype, "batch_tokens": batch_tokens, "dimensions": dimensions,
        "prompt": prompt, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle, "truncate": truncate,
        "precision": precision, "engine": by, "cache": cache, "base_url": base_url, "timeout": timeout,
        "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
        "shared_limits": shared_limits,
    }  # fmt: skip
    with ExitStack() as held:
        stopping = held.enter_context(Stopping())
        bar = held.enter_context(viewed(f"{model} -> {output}", log_format, log_level, watch=watch))
        monitored(metrics_port, metrics_host, stalled_after, bar)
        rows = None
        if not asked.live:
            rows = held.enter_context(asked.opened(bar.read))
            stopping.leave = rows.close
            reporting.reads(rows)
            asked.check_inputs(rows)
        bar.loading()
        if asked.begun_before:
            stopping.say = (
                f"stopped; nothing more was done: {asked.run.goes_on} goes on where {output} was stopped before"
            )
        held.enter_context(reporting)
        if spread is not None and rows is not None:
            ray = held.enter_context(connected(address, spread.resources))
            if asked.to_collection:
                report = collected_on_ray(
                    ray, rows, options, spread, output, id_field, bar, stopping,
                    text_field=text_field, max_errors=max_errors, price=price, reporting=reporting,
                )  # fmt: skip
            else:
                run = partial(embed_files_on_ray, ray, rows, options, asked.run, spread)
                report = _embedded(rows, run, asked, bar, stopping, reporting)
        else:
            embedder = held.enter_context(Embedder(**options, workers=at_once))
            reporting.begins(embedder)
            # A bar would be drawn among the lines.
            shown = bar if watch or log_format == "json" else None
            report = _run_here(asked, rows, embedder, bar, shown, stopping, reporting)
    show(report | reporting.said, as_json=as_json)
    if not dry_run and report.get("failed") and report.get("standing") != Standing.FINISHED:
        raise typer.Exit(SOME_FAILED)


def _run_here(
    asked: Asked,
    rows: Inputs | None,
    embedder: Embedder,
    bar: View,
    shown: View | None,
    stopping: Stopping,
    reporting: Reporting,
) -> dict[str, Any]:
    """Embed on this machine; what is to be told of it. `shown` is what may be drawn beside rows on standard output."""
    if rows is None:
        live = Live(asked.inputs[0], asked.text_field, asked.input_format, skip_bad_lines=asked.skip_bad_lines)
        with closing(live):
            if not asked.to_collection:
                _embedded_live(live, embedder, asked, shown, stopping, reporting)
            return _collected(live, embedder, asked, bar, stopping, reporting)
    if asked.to_collection and asked.dry_run:
        return would_collect(
            rows, embedder, asked.output, asked.id_field, bar, text_field=asked.text_field, price=asked.price
        )
    if asked.to_collection:
        return _collected(rows, embedder, asked, bar, stopping, reporting)
    if asked.dry_run:
        return counted(rows, embedder, asked.run, bar, asked.price)
    run = partial(embed_files, rows, embedder, asked.run)
    return _embedded(rows, run, asked, bar, stopping, reporting)


def _embedded_live(
    live: Live, embedder: Embedder, asked: Asked, shown: View | None, stopping: Stopping, reporting: Reporting
) -> NoReturn:
    """Embed onto standard output, where nothing can be said but rows."""
    stopping.say = "stopped; the rows that were printed are done, and nothing else is kept"
    done = embed_live(live, embedder, sys.stdout.buffer, asked.max_errors, shown, reporting)
    if done["bad_lines"]:
        logger.warning("passed over %s", how_many(done["bad_lines"], "bad line"))
    raise typer.Exit(SOME_FAILED if done["failed"] else 0)


def _collected(
    source: Inputs | Live, embedder: Embedder, asked: Asked, bar: View, stopping: Stopping, reporting: Reporting
) -> dict[str, Any]:
    return collected(
        source, embedder, asked.output, asked.id_field, bar, stopping,
        text_field=asked.text_field, max_errors=asked.max_errors, price=asked.price, reporting=reporting,
    )  # fmt: skip


def _embedded(
    inputs: Inputs,
    embed: Callable[[Tell, Callable[[int], object]], Report],
    asked: Asked,
    bar: View,
    stopping: Stopping,
    reporting: Reporting,
) -> dict[str, Any]:
    """Embed everything into the output; what is to be told of it. `embed` is told how, and what begins, is shown."""
    output, run = asked.output, asked.run

    def begun(settled: int) -> None:
        reporting.kept()
        written = "written anew" if asked.restart else "written"
        stopping.say = f"stopped; {output} is not {written} yet: {run.goes_on} goes on where this one was stopped"
        if inputs.from_stdin:
            stopping.say = f"stopped; {output} was not written, and standard input cannot be resumed"
        if settled:
            bar.say(f"vjaccel: going on with {output}: {settled:,} of {inputs.rows:,} rows are settled")

    report = embed(reporting.seeing(telling(bar, asked.price)), begun)
    return {
        "standing": report.standing,
        "output": str(run.output),
        "errors": str(error_path(run.output)) if report.failed else None,
        "rows": report.rows,
        "bad_lines": inputs.bad_lines,
        "resumed": report.resumed,
        "duplicates": report.duplicates,
        "empty": report.empty,
        "failed": report.failed,
        "failures": report.failures,
        **report.made_by,
        **measured(report.statistics, asked.price),
    }
