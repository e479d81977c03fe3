"""`vjaccel serve`: a model as a service that speaks OpenAI's API."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack
from typing import Annotated, Any, Literal

import typer

from vjaccel.cli.listening import listening
from vjaccel.cli.options import (
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
)
from vjaccel.cli.serve_on_ray import serve_on_ray, spread_of
from vjaccel.cli.viewing import logged
from vjaccel.embedding import Embedder
from vjaccel.errors import InvalidInput, MissingExtra

__all__ = ["serve"]

logger = logging.getLogger("vjaccel.cli")

TOKEN = "VJACCEL_SERVE_TOKEN"  # noqa: S105  # the name of the variable


def serve(
    model: Model = "local:all-MiniLM-L6-v2",
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free, and says which.")] = 8000,
    name: Annotated[
        list[str] | None,
        typer.Option(help="What requests may call the model, beside its own name; may be given again."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Batches at once.")] = None,
    batch_tokens: BatchTokens = None,
    truncate: Truncate = "end",
    prompt: Prompt = None,
    base_url: BaseUrl = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    shared_limits: SharedLimits = None,
    cache: Cache = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where: this process, or replicas on a Ray cluster.")
    ] = "local",
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN:MAX", help="How many with --engine ray, by the requests that there are. [default: 1]"
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT. [default: RAY_ADDRESS, or a Ray of its own here]"
        ),
    ] = None,
    resources: Annotated[
        str | None, typer.Option(help="Of each replica, as in gpu=1 or cpu=4,gpu=1. [default: cpu=1]")
    ] = None,
    max_texts: Annotated[int, typer.Option(min=1, help="In one request.")] = 2048,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of one request.")] = 16 << 20,
    max_waiting: Annotated[
        int,
        typer.Option(min=1, help="Texts that may wait in all, of each replica; then requests are answered with 429."),
    ] = 8192,
    max_latency: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a text may wait for others to be embedded with.")
    ] = 0.003,
    drain: Annotated[
        float, typer.Option(min=0.0, help="Seconds that requests have when the service is stopped.")
    ] = 30.0,
    log_format: LogFormatOption = "text",
    log_level: LogLevelOption = None,
) -> None:
    """Serve embeddings to OpenAI's clients: /v1/embeddings and /v1/models, beside /healthz and /readyz.

    The texts of all requests are embedded together; with --engine ray by several replicas, on one machine or many. With the
    variable VJACCEL_SERVE_TOKEN set, requests must bear that token.
    """
    spread = spread_of(engine, replicas, address, resources)
    try:
        import uvicorn

        from vjaccel.serve.app import Limits, Service, made_app
    except ImportError as exc:
        raise MissingExtra("vjaccel serve", "serve") from exc
    token = os.environ.get(TOKEN)
    if token == "":
        raise InvalidInput(f"{TOKEN} is set to nothing: give it a token, or unset it to take all requests")
    logged(log_format, log_level)
    limits = Limits(max_texts, max_body, max_waiting)
    options: dict[str, Any] = {
        "model": model, "device": device, "dtype": dtype, "workers": workers, "batch_tokens": batch_tokens,
        "truncate": truncate, "prompt": prompt, "base_url": base_url, "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute, "shared_limits": shared_limits, "cache": cache,
    }  # fmt: skip
    with ExitStack() as held:

        def begun(called: str, where: tuple[str, int]) -> None:
            url = f"http://{where[0]}:{where[1]}/v1"
            if log_format == "json":
                logger.info("%s is at %s", called, url, extra={"fields": {"model": called, "url": url}})
            else:
                # Whoever starts a service is to know where it is, whatever is logged.
                typer.echo(f"vjaccel: {called} is at {url}", err=True)
            if token is None and host not in ("127.0.0.1", "localhost", "::1"):
                logger.warning("anybody who can reach %s may use it: %s asks for a token", host, TOKEN)

        if spread is not None:
            serve_on_ray(spread, options, name or [], limits, token, max_latency, drain, (host, port), begun)
            return
        listener = held.enter_context(listening(host, port))
        embedder = held.enter_context(Embedder(**options))
        names = tuple(dict.fromkeys([*(name or []), embedder.model, embedder.model.partition(":")[2]]))
        service = Service(embedder, names, limits=limits, token=token, max_latency=max_latency)
        server = uvicorn.Server(
            uvicorn.Config(
                made_app(service), log_config=None, log_level="error", access_log=False, server_header=False,
                timeout_graceful_shutdown=max(1, round(drain)),
            )
        )  # fmt: skip
        begun(names[0], listener.getsockname()[:2])
        # The server takes these signals to drain, and raises them again when it has: that is no failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        server.run(sockets=[listener])
