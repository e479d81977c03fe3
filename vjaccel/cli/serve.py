"""`vjaccel serve`: a model as a service that speaks OpenAI's API."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from vjaccel.cli.listening import listening
from vjaccel.cli.options import (
    Address,
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
from vjaccel.cli.serve_options import (
    BatchesAtOnce,
    Drain,
    Host,
    MaxBody,
    MaxLatency,
    MaxTexts,
    MaxWaiting,
    Names,
    Port,
    ReplicaResources,
    Replicas,
    ServeEngine,
)
from vjaccel.cli.viewing import logged
from vjaccel.embedding import Embedder
from vjaccel.errors import InvalidInput, MissingExtra
from vjaccel.observe import LogFormat

if TYPE_CHECKING:
    from vjaccel.serve.app import Limits

__all__ = ["serve"]

logger = logging.getLogger("vjaccel.cli")

TOKEN = "VJACCEL_SERVE_TOKEN"  # noqa: S105  # the name of the variable


def serve(
    model: Model = "local:all-MiniLM-L6-v2",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Names = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    workers: BatchesAtOnce = None,
    batch_tokens: BatchTokens = None,
    truncate: Truncate = "end",
    prompt: Prompt = None,
    base_url: BaseUrl = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    shared_limits: SharedLimits = None,
    cache: Cache = None,
    engine: ServeEngine = "local",
    replicas: Replicas = None,
    address: Address = None,
    resources: ReplicaResources = None,
    max_texts: MaxTexts = 2048,
    max_body: MaxBody = 16 << 20,
    max_waiting: MaxWaiting = 8192,
    max_latency: MaxLatency = 0.003,
    drain: Drain = 30.0,
    log_format: LogFormatOption = "text",
    log_level: LogLevelOption = None,
) -> None:
    """Serve embeddings to OpenAI's clients: /v1/embeddings and /v1/models, beside /healthz and /readyz.

    The texts of all requests are embedded together; with --engine ray by several replicas, on one machine or many. With the
    variable VJACCEL_SERVE_TOKEN set, requests must bear that token.
    """
    spread = spread_of(engine, replicas, address, resources)
    try:
        import uvicorn  # noqa: F401  # before anything is begun

        from vjaccel.serve.app import Limits
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
    open_to = host if token is None and host not in ("127.0.0.1", "localhost", "::1") else None
    begun = partial(_say, log_format=log_format, open_to=open_to)
    if spread is None:
        _serve_here(options, name or [], limits, token, max_latency, drain, (host, port), begun)
    else:
        serve_on_ray(spread, options, name or [], limits, token, max_latency, drain, (host, port), begun)


def _serve_here(
    options: dict[str, Any],
    names: list[str],
    limits: Limits,
    token: str | None,
    max_latency: float,
    drain: float,
    where: tuple[str, int],
    begun: Callable[[str, tuple[str, int]], object],
) -> None:
    """Serve in this process until a signal comes; all as `serve_on_ray` has it."""
    import uvicorn

    from vjaccel.serve.app import Service, made_app

    with listening(*where) as listener, Embedder(**options) as embedder:
        known = tuple(dict.fromkeys([*names, embedder.model, embedder.model.partition(":")[2]]))
        service = Service(embedder, known, limits=limits, token=token, max_latency=max_latency)
        server = uvicorn.Server(
            uvicorn.Config(
                made_app(service), log_config=None, log_level="error", access_log=False, server_header=False,
                timeout_graceful_shutdown=max(1, round(drain)),
            )
        )  # fmt: skip
        begun(known[0], listener.getsockname()[:2])
        # The server takes these signals to drain, and raises them again when it has: that is no failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        server.run(sockets=[listener])


def _say(called: str, where: tuple[str, int], *, log_format: LogFormat, open_to: str | None) -> None:
    """Say where a model is; `open_to` is the host where anybody may use it."""
    url = f"http://{where[0]}:{where[1]}/v1"
    if log_format == "json":
        logger.info("%s is at %s", called, url, extra={"fields": {"model": called, "url": url}})
    else:
        # Whoever starts a service is to know where it is, whatever is logged.
        typer.echo(f"vjaccel: {called} is at {url}", err=True)
    if open_to is not None:
        logger.warning("anybody who can reach %s may use it: %s asks for a token", open_to, TOKEN)
