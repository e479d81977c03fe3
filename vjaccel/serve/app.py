"""The HTTP side of the service: OpenAI's routes, health and metrics, limits, a token."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from vjaccel.embedding import Embedder
from vjaccel.errors import InvalidInput, VjaccelError
from vjaccel.observe import Load, Monitor, Source
from vjaccel.serve.batching import Answer, Batcher, Busy
from vjaccel.serve.replies import Asked, Refused, embeddings, read
from vjaccel.telemetry import operation

__all__ = ["Limits", "Service", "made_app"]

logger = logging.getLogger("vjaccel.serve")

GONE = 499
"""What whoever has left is answered, where nobody reads it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service takes.

    Attributes
    ----------
    texts : int
        In one request.
    body_bytes : int
        Of one request.
    waiting : int
        Texts that may wait or be under way, of all requests together.
    """

    texts: int = 2048
    body_bytes: int = 16 << 20
    waiting: int = 8192


class Service:
    """One model's texts and the names that it is asked for by.

    Parameters
    ----------
    embedder : Embedder
    names : tuple of str
        What requests may call the model; the first is what it is listed as.
    prompt : str or None
        Put before every text, instead of the embedder's own.
    limits : Limits or None
        What it takes; by default those of `Limits`.
    token : str or None
        What requests must bear; None takes all.
    max_latency : float
        Seconds that a text may wait for others to be embedded with.
    """

    def __init__(
        self,
        embedder: Embedder,
        names: tuple[str, ...],
        *,
        prompt: str | None = None,
        limits: Limits | None = None,
        token: str | None = None,
        max_latency: float = 0.003,
    ) -> None:
        self.names = names
        self.limits = limits or Limits()
        self.token = token
        self.started = int(time.time())
        self.draining = False
        self._embedder = embedder
        self._prompt, self._max_latency = prompt, max_latency
        self._batcher: Batcher | None = None
        self._monitor: Monitor | None = None
        self._active = 0

    def begin(self) -> None:
        """Take texts from now on."""
        source = Source(self._load, lambda: [self.problem] if self.problem else [])
        self._monitor = Monitor(None, source=source)
        self._batcher = Batcher(
            self._embedder, self._prompt, max_waiting=self.limits.waiting, max_latency=self._max_latency
        )

    def end(self) -> None:
        """Do what is there, and stop."""
        self.draining = True
        if self._batcher is not None:
            self._batcher.close()
        if self._monitor is not None:
            self._monitor.close()

    def metrics(self) -> bytes:
        """The page for Prometheus."""
        assert self._monitor is not None  # begun before the first request
        return self._monitor.rendered()

    def _load(self) -> Load:
        return Load(self._active, 0 if self._batcher is None else self._batcher.waiting)

    @property
    def problem(self) -> str | None:
        """What is wrong, if anything."""
        stalled = 0.0 if self._batcher is None else self._batcher.stalled
        return f"nothing was done for {stalled:.0f} s, and texts are waiting" if stalled else None

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._batcher is not None and not self.draining

    async def embedded(self, asked: Asked, request: Request) -> bytes:
        """The body of the answer to a request.

        Raises
        ------
        Refused
        """
        self._active += 1
        try:
            with operation("serve.embeddings", "http"):
                return await self._embedded(asked, request)
        finally:
            self._active -= 1

    async def _embedded(self, asked: Asked, request: Request) -> bytes:
        self._check(asked)
        assert self._batcher is not None  # begun before the first request
        try:
            future = self._batcher.submit(asked.input)
        except Busy as exc:
            raise Refused(429, str(exc), code="busy", headers={"Retry-After": str(exc.seconds)}) from exc
        except InvalidInput as exc:
            raise Refused(503, str(exc), code="stopping", headers={"Retry-After": "5"}) from exc
        try:
            answer = await _unless_gone(asyncio.wrap_future(future), request)
        except Refused:
            raise
        except Exception as exc:  # a framework's own, where all devices have failed
            code = exc.code if isinstance(exc, VjaccelError) else type(exc).__name__
            logger.warning("a request has failed: %s", code)
            raise Refused(502, f"the model has failed: {exc}", code=code) from exc
        return embeddings(asked, answer, _cut(asked, answer))

    def _check(self, asked: Asked) -> None:
        if asked.model not in self.names:
            known = ", ".join(repr(name) for name in self.names)
            raise Refused(404, f"there is no model {asked.model!r} here, but {known}", "model", "model_not_found")
        if len(asked.input) > self.limits.texts:
            raise Refused(
                413,
                f"{len(asked.input)} texts in one request are more than {self.limits.texts}",
                "input",
                "too_many_texts",
            )
        dim = self._embedder.dim
        if asked.dimensions is not None and dim is not None and asked.dimensions > dim:
            raise Refused(400, f"dimensions is {asked.dimensions}, and the model's vectors have {dim}", "dimensions")


def made_app(service: Service) -> FastAPI:
    """The application; it begins and ends `service` with itself."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.begin()
        yield
        await asyncio.to_thread(service.end)

    # No pages of documentation: they would load scripts from elsewhere.
    app = FastAPI(title="vjaccel", docs_url=None, redoc_url=None, lifespan=life)

    @app.exception_handler(Refused)
    async def refused(request: Request, exc: Refused) -> Response:
        return Response(exc.body(), exc.status, exc.headers, "application/json")

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, exc: HTTPException) -> Response:
        where = f"{request.method} {request.url.path}"
        said = {404: f"there is nothing at {where}", 405: f"{where} is not taken: ask with another method"}
        body = Refused(exc.status_code, said.get(exc.status_code, str(exc.detail))).body()
        return Response(body, exc.status_code, exc.headers, "application/json")

    @app.post("/v1/embeddings")
    async def create(request: Request) -> Response:
        _check_token(request, service.token)
        asked = read(await _body(request, service.limits.body_bytes))
        return Response(await service.embedded(asked, request), media_type="application/json")

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        _check_token(request, service.token)
        return {"object": "list", "data": [_model(name, service.started) for name in service.names]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> dict[str, Any]:
        _check_token(request, service.token)
        if name not in service.names:
            raise Refused(404, f"there is no model {name!r} here", "model", "model_not_found")
        return _model(name, service.started)

    @app.get("/healthz")
    async def healthz() -> Response:
        wrong = service.problem
        return Response(wrong or "ok", 503 if wrong else 200, media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("ok" if service.ready else "not ready", 200 if service.ready else 503, media_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(service.metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _model(name: str, since: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": since, "owned_by": "vjaccel"}


def _check_token(request: Request, token: str | None) -> None:
    given = request.headers.get("authorization", "").partition(" ")[2]
    if token is not None and not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(
            401, "the token is missing or wrong", code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"}
        )


async def _body(request: Request, most: int) -> bytes:
    told = request.headers.get("content-length", "0")
    parts, size = [], int(told) if told.isdigit() else 0
    if size <= most:
        size = 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > most:
                break
    if size > most:
        raise Refused(413, f"a request may have {most} bytes", code="too_large")
    return b"".join(parts)


async def _unless_gone(answer: asyncio.Future[Answer], request: Request) -> Answer:
    """The answer, or, when whoever asked has gone, its texts are taken back."""
    gone = asyncio.create_task(_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {answer, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Refused(GONE, "whoever asked has gone")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _cut(asked: Asked, answer: Answer) -> np.ndarray:
    """The vectors as they were asked for; an error of a text is one of its request."""
    if answer.errors:
        first = answer.errors[0]
        theirs = first.code in ("TOKEN_LIMIT_EXCEEDED", "INVALID_TEXT")
        more = f", and {len(answer.errors) - 1} others" if len(answer.errors) > 1 else ""
        raise Refused(
            400 if theirs else 502,
            f"input {first.index}: {first.message}{more}",
            "input" if theirs else None,
            first.code,
        )
    if asked.dimensions is None or asked.dimensions >= answer.vectors.shape[1]:
        return answer.vectors
    cut = answer.vectors[:, : asked.dimensions]
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    whole = np.linalg.norm(answer.vectors, axis=1, keepdims=True)
    # Of norm one again where they were, as the model's own Matryoshka dimensions are.
    return np.where(np.isclose(whole, 1.0, atol=1e-3), cut / np.where(norms == 0, 1, norms), cut)
