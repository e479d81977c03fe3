"""`vjaccel embed`: files of texts in, their rows and vectors out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NoReturn

import typer

from vjaccel.cli.embed_asked import Asked
from vjaccel.cli.embed_collected import collected, collected_on_ray, would_collect
from vjaccel.cli.embed_counted import counted
from vjaccel.cli.embed_live import Live, embed_live
from vjaccel.cli.embed_monitored import check_monitored, monitored
from vjaccel.cli.embed_on_ray import check_model, connecting, engines, placed
from vjaccel.cli.embed_options import (
    AsJson,
    Dimensions,
    DryRun,
    EngineOption,
    IdField,
    InputFiles,
    InputFormatOption,
    MaxErrors,
    MetricsHost,
    MetricsPort,
    Output,
    Overwrite,
    PrecisionOption,
    Price,
    ReportPath,
    Resources,
    Restart,
    Resume,
    RetryFailed,
    ShardRows,
    Shards,
    SkipBadLines,
    StalledAfter,
    TextField,
    Timeout,
    Watch,
    Workers,
)
from vjaccel.cli.embed_report import measured, show, telling
from vjaccel.cli.embed_reported import Reporting
from vjaccel.cli.options import (
    Address,
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
from vjaccel.engines import RayRun, Report, Standing, embed_files, embed_files_on_ray
from vjaccel.errors import InvalidInput
from vjaccel.io import Inputs, error_path
from vjaccel.observe import View
from vjaccel.pages.words import counted as how_many

__all__ = ["embed"]

SOME_FAILED = 3

logger = logging.getLogger("vjaccel.cli")

Tell = Callable[[Progress, int], None]


def embed(
    inputs: InputFiles,
    output: Output,
    text_field: TextField = "text",
    id_field: IdField = None,
    input_format: InputFormatOption = None,
    model: Model = "local:all-MiniLM-L6-v2",
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
    workers: Workers = None,
    prompt: Prompt = None,
    dimensions: Dimensions = None,
    truncate: Truncate = "end",
    precision: PrecisionOption = "float32",
    engine: EngineOption = None,
    address: Address = None,
    resources: Resources = None,
    shards: Shards = False,
    shard_rows: ShardRows = None,
    skip_bad_lines: SkipBadLines = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    base_url: BaseUrl = None,
    timeout: Timeout = 120.0,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    shared_limits: SharedLimits = None,
    cache: Cache = None,
    restart: Restart = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    retry_failed: RetryFailed = False,
    max_errors: MaxErrors = None,
    price: Price = None,
    report_path: ReportPath = None,
    watch: Watch = False,
    log_format: LogFormatOption = "text",
    log_level: LogLevelOption = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = None,
    stalled_after: StalledAfter = None,
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
    spread, at_once = placed(asked, workers, address, resources, on_ray=on_ray)
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
        if spread is None:
            bar.loading()
        else:
            check_model(address, model)
            bar.loading(connecting(address))
        if asked.begun_before:
            stopping.say = (
                f"stopped; nothing more was done: {asked.run.goes_on} goes on where {output} was stopped before"
            )
        held.enter_context(reporting)
        if spread is not None and rows is not None:
            ray = held.enter_context(connected(address, spread.resources))
            bar.loading()
            report = _run_on_ray(ray, spread, asked, rows, options, bar, stopping, reporting)
        else:
            embedder = held.enter_context(Embedder(**options, workers=at_once))
            reporting.begins(embedder)
            # A bar would be drawn among the lines.
            shown = bar if watch or log_format == "json" else None
            report = _run_here(asked, rows, embedder, bar, shown, stopping, reporting)
    show(report | reporting.said, as_json=as_json)
    if not dry_run and report.get("failed") and report.get("standing") != Standing.FINISHED:
        raise typer.Exit(SOME_FAILED)


def _run_on_ray(
    ray: Any,
    spread: RayRun,
    asked: Asked,
    rows: Inputs,
    options: dict[str, Any],
    bar: View,
    stopping: Stopping,
    reporting: Reporting,
) -> dict[str, Any]:
    """Embed on a cluster, with embedders of `options`; what is to be told of it."""
    if asked.to_collection:
        return collected_on_ray(
            ray, rows, options, spread, asked.output, asked.id_field, bar, stopping,
            text_field=asked.text_field, max_errors=asked.max_errors, price=asked.price, reporting=reporting,
        )  # fmt: skip
    run = partial(embed_files_on_ray, ray, rows, options, asked.run, spread)
    return _embedded(rows, run, asked, bar, stopping, reporting)


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

    def when_kept(settled: int) -> None:
        reporting.kept()
        written = "written anew" if asked.restart else "written"
        stopping.say = f"stopped; {output} is not {written} yet: {run.goes_on} goes on where this one was stopped"
        if inputs.from_stdin:
            stopping.say = f"stopped; {output} was not written, and standard input cannot be resumed"
        if settled:
            bar.say(f"vjaccel: going on with {output}: {settled:,} of {inputs.rows:,} rows are settled")

    report = embed(reporting.seeing(telling(bar, asked.price)), when_kept)
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
