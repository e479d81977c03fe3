"""`vjaccel embed`: files of texts in, their rows and vectors out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vjaccel.cli.embed_collected import LANCE, check_collected, check_columns, collected, would_collect
from vjaccel.cli.embed_counted import counted
from vjaccel.cli.embed_live import Live, embed_live
from vjaccel.cli.embed_monitored import monitored
from vjaccel.cli.embed_on_ray import batches_at_once, engines, spread_out
from vjaccel.cli.embed_report import measured, show, telling
from vjaccel.cli.embed_reported import Reporting
from vjaccel.cli.stopping import Stopping
from vjaccel.cli.viewing import viewed
from vjaccel.embedding import Embedder, Progress
from vjaccel.embedding.precision import Precision
from vjaccel.engines import FileRun, Report, Standing, connected, embed_files, embed_files_on_ray, standing
from vjaccel.errors import InvalidInput
from vjaccel.io import Inputs, check_output, check_parts, error_path
from vjaccel.observe import HOST, STALLED, LogFormat, LogLevel, View

__all__ = ["embed"]

SOME_FAILED = 3

Tell = Callable[[Progress, int], None]
PART_ROWS = 100_000

Format = Literal["txt", "jsonl", "csv", "parquet"]
Truncate = Literal["end", "error", "chunk"]


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files: txt, jsonl, csv (each also .gz), parquet; - is standard input."),
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
        Format | None,
        typer.Option(help="Instead of what a file's name says; standard input is jsonl if it begins with {, else txt."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="local:NAME, where NAME is a folder, a packaged model, or one of the hub; or a remote provider's, as "
            "openai:NAME, cohere:NAME, voyage:NAME, google:NAME, ollama:NAME, azure:NAME."
        ),
    ] = "local:all-MiniLM-L6-v2",
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, gpu:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16, bfloat16: what the model computes in.")] = "auto",
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a batch, padding included.")] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N|MIN:MAX", help="Batches at once; with --engine ray how many workers. [default: 1:]"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Put before every text. [default: the model's own for documents]")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Keep this many leading numbers of a vector (Matryoshka).")
    ] = None,
    truncate: Annotated[
        Truncate,
        typer.Option(help="Of texts that are too long: their end is cut off, an error, or windows' mean (chunk)."),
    ] = "end",
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
    shared_limits: Annotated[
        str | None, typer.Option(help="redis://HOST, where these two are counted for all that name it.")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Where vectors are kept for other runs: disk, a folder, redis://HOST; none by default."),
    ] = None,
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
    log_format: Annotated[
        LogFormat, typer.Option(help="What is said on standard error: text, or lines of json.")
    ] = "text",
    log_level: Annotated[
        LogLevel | None,
        typer.Option(help="From which on: debug, info, warning, error. [default: warning; info of json]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the inputs, count tokens, and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Serve /metrics, /healthz and /readyz for Prometheus here; 0 is any free port."
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Where: an address of this machine. Others than 127.0.0.1 let others read it.")
    ] = HOST,
    stalled_after: Annotated[
        float, typer.Option(min=0.0, help="Seconds without anything coming of a run, for /healthz to say so.")
    ] = STALLED,
) -> None:
    """Embed the texts of files. The output has the inputs' rows, in order, with all their columns, and an `embedding`.

    What is done is kept beside the output: the same command goes on where a run was stopped.
    """
    to_collection = output.startswith(LANCE)
    live = output == "-" or (to_collection and inputs == ["-"] and not dry_run)
    if to_collection:
        check_collected(output, precision, restart=restart, overwrite=overwrite, retry_failed=retry_failed)
    elif live:
        _check_live(
            inputs,
            precision,
            restart=restart,
            resume=resume,
            retry_failed=retry_failed,
            dry_run=dry_run,
            as_json=as_json,
            overwrite=overwrite,
            price=price is not None,
        )
    else:
        check_output(Path(output), inputs, folder=shards)
        if shards:
            check_parts(Path(output))
    by, on_ray = engines(engine or [])
    spread, at_once = None, None
    if on_ray:
        refused = {
            "--report": report_path is not None,
            "-o -": live,
            "-o lance:": to_collection,
            "the input -": "-" in inputs,
            "--dry-run": dry_run,
        }
        spread = spread_out(workers, resources, shard_rows, refused)
    else:
        others = {"--address": address, "--resources": resources, "--shard-rows": None if shards else shard_rows}
        at_once = batches_at_once(workers, others)
    if shards and (live or to_collection):
        raise InvalidInput("--shards is for an output that is files: leave it out")
    if restart and (resume or retry_failed):
        raise InvalidInput("--restart begins anew, and --resume and --retry-failed go on: give one of them")
    reporting = Reporting(
        report_path, output, inputs, to_file=not (live or to_collection), price=price, dry_run=dry_run
    )
    if resume and "-" in inputs:
        raise InvalidInput(
            "standard input is gone when it has been read, so that no run over it can be resumed: name a file"
        )
    if "" in inputs:
        raise InvalidInput("an input has no name: name a file, or - for standard input")
    if cache == "memory":
        raise InvalidInput(
            "a cache in memory ends with the command, which embeds a text once anyway: say --cache disk, or a folder"
        )
    with ExitStack() as held:
        stopping = held.enter_context(Stopping())
        title = f"{model} -> {output}"
        bar = held.enter_context(viewed(title, log_format, log_level, watch=watch))
        held.enter_context(monitored(metrics_port, metrics_host, stalled_after, bar))
        part_rows = (shard_rows or PART_ROWS) if shards else None
        asked = FileRun(Path(output), restart, overwrite, retry_failed, max_errors, part_rows)
        rows = None
        if not live:
            rows = held.enter_context(
                Inputs(
                    inputs, text_field=text_field, id_field=id_field, input_format=input_format,
                    skip_bad_lines=skip_bad_lines, seen=bar.read,
                )
            )  # fmt: skip
            stopping.leave = rows.close
            # What the files alone tell is said before a model is loaded.
            if to_collection:
                check_columns(rows)
            else:
                standing(rows, asked)
        bar.loading()
        options: dict[str, Any] = {
            "model": model, "device": device, "dtype": dtype, "batch_tokens": batch_tokens, "dimensions": dimensions,
            "prompt": prompt, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle, "truncate": truncate,
            "precision": precision, "engine": by, "cache": cache, "base_url": base_url, "timeout": timeout,
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
            "shared_limits": shared_limits,
        }  # fmt: skip
        if spread is not None and rows is not None:
            ray = held.enter_context(connected(address, spread.resources))
            embed_there = partial(embed_files_on_ray, ray, rows, options, asked, spread)
            report = _embedded(rows, embed_there, asked, bar, price, stopping)
            show(report, as_json=as_json)
            raise typer.Exit(SOME_FAILED if _some_failed(report) else 0)
        held.enter_context(reporting)
        embedder = held.enter_context(Embedder(**options, workers=at_once))
        reporting.begins(embedder, rows)
        source = rows or held.enter_context(
            closing(Live(inputs[0], text_field, input_format, skip_bad_lines=skip_bad_lines))
        )
        if to_collection and dry_run and rows is not None:
            report = would_collect(rows, embedder, output, id_field, bar, text_field=text_field, price=price)
        elif to_collection:
            report = collected(
                source,
                embedder,
                output,
                id_field,
                bar,
                stopping,
                text_field=text_field,
                max_errors=max_errors,
                price=price,
                reporting=reporting,
            )
        elif isinstance(source, Live):
            stopping.say = "stopped; the rows that were printed are done, and nothing else is kept"
            # A bar would be drawn among the lines.
            shown = bar if watch or log_format == "json" else None
            done = embed_live(source, embedder, sys.stdout.buffer, max_errors, shown, reporting)
            if done["bad_lines"]:
                typer.echo(f"vjaccel: passed over {done['bad_lines']:,} bad lines", err=True)
            raise typer.Exit(SOME_FAILED if done["failed"] else 0)
        elif dry_run:
            report = counted(source, embedder, asked, bar, price)
        else:
            embed_here = partial(embed_files, source, embedder, asked)
            report = _embedded(source, embed_here, asked, bar, price, stopping, reporting.seeing)
    show(report | reporting.said, as_json=as_json)
    if not dry_run and _some_failed(report):
        raise typer.Exit(SOME_FAILED)


def _some_failed(report: dict[str, Any]) -> bool:
    return bool(report.get("failed")) and report.get("standing") != Standing.FINISHED


def _check_live(inputs: list[str], precision: str, **asked: bool) -> None:
    if precision in ("int8", "uint8"):
        raise InvalidInput(
            f"--precision {precision} takes its ranges from all rows, and -o - gives each at once: name a file"
        )
    refused = [f"--{name.removeprefix('as_').replace('_', '-')}" for name, given in asked.items() if given]
    if refused or len(inputs) > 1:
        what = f"{', '.join(refused)} cannot be asked" if refused else "there is one input"
        raise InvalidInput(f"-o - gives each row of one input as it comes, and keeps nothing: {what} with it")


def _embedded(
    inputs: Inputs,
    embed: Callable[[Tell, Callable[[int], object]], Report],
    asked: FileRun,
    bar: View,
    price: float | None,
    stopping: Stopping,
    seeing: Callable[[Tell], Tell] = lambda tell: tell,
) -> dict[str, Any]:
    """Embed everything into the output; what is to be told of it. `embed` is told how, and what begins, is shown."""
    output = asked.output

    def begun(settled: int) -> None:
        written = "written anew" if asked.restart else "written"
        stopping.say = f"stopped; {output} is not {written} yet: {asked.goes_on} goes on where this one was stopped"
        if inputs.from_stdin:
            stopping.say = f"stopped; {output} was not written, and standard input cannot be resumed"
        if settled:
            bar.say(f"vjaccel: going on with {output}: {settled:,} of {inputs.rows:,} rows are settled")

    report = embed(seeing(telling(bar, price)), begun)
    return {
        "standing": report.standing,
        "output": str(output),
        "errors": str(error_path(output)) if report.failed else None,
        "rows": report.rows,
        "bad_lines": inputs.bad_lines,
        "resumed": report.resumed,
        "duplicates": report.duplicates,
        "empty": report.empty,
        "failed": report.failed,
        "failures": report.failures,
        **report.made_by,
        **measured(report.statistics, price),
    }
