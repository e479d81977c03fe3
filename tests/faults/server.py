"""A server that speaks the embeddings APIs of OpenAI and others (`dialects`), and fails as it is told.

A text's vector is made from its digest, so that anyone can say what it has to be. In a test it is `FaultServer`, a context
manager; in another process ``python -m tests.faults.server --port 0`` prints its port and serves until it is ended. ``GET
/count`` says what it has seen, ``POST /script`` adds faults.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np

from tests.faults.dialects import Asked, Dialect, dialect_of

__all__ = ["FAULTS", "FaultServer", "Manner", "vector"]

MODEL = "m"

FAULTS = (
    "ok", "429", "429-date", "429-bare", "quota", "500", "503", "401", "403", "404", "413", "reset", "slow", "late",
    "truncated", "cut", "text", "page", "object", "strings", "base64", "count", "order", "duplicate", "nan", "width",
)  # fmt: skip
"""What may stand in a script, each with a number behind ``=`` where one is wanted: ``429=2`` asks to wait 2 seconds."""


def vector(text: str, width: int = 8) -> np.ndarray:
    """The float32 vector that the server gives for a text."""
    digest = hashlib.shake_256(text.encode()).digest(4 * width)
    return (np.frombuffer(digest, "<u4") / 2.0**31 - 1.0).astype(np.float32)


@dataclass
class Manner:
    """How the server is while nothing goes wrong.

    `key` refuses another one; `base64` and `dimensions` are whether it takes these options; `most_texts` and `most_bytes` are
    what a request and a text may hold; a text with `poison` in it makes a 400, one with `crash` in it a 500, and what has `nan`
    or `odd` in it gets a vector with a NaN, or one that is too wide; `info` is what ``/info`` says.
    """

    width: int = 8
    latency: float = 0.0
    latency_per_text: float = 0.0
    key: str | None = None
    base64: bool = True
    dimensions: bool = True
    most_texts: int | None = None
    most_bytes: int | None = None
    poison: str = "poison"
    crash: str = "crash!"
    nan: str = "nan!"
    odd: str = "odd!"
    usage: bool = True
    info: dict[str, Any] | None = None


@dataclass
class Counts:
    """What was seen, counted under a lock: requests, how many at once, when, and for each text how often what was done."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    embedded: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    times: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=16))


class FaultServer:
    """The server in threads of this process; its address for a client is `url`."""

    def __init__(self, *script: str, port: int = 0, **manner: Any) -> None:
        self.manner = Manner(**manner)
        self.counts = Counts()
        self.lock = threading.Lock()
        self.faults: deque[str] = deque()
        self.script(*script)
        self._server = _Threaded(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What a client takes for its `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def script(self, *faults: str) -> None:
        """Add what is to happen to the next requests, one each; ``500*3`` is that three times."""
        for fault in faults:
            what, _, times = fault.partition("*")
            if what.partition("=")[0] not in FAULTS:
                raise ValueError(f"fault {what!r} is none of {', '.join(FAULTS)}")
            self.faults.extend([what] * int(times or 1))

    def start(self) -> Self:
        """Serve, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving, and close what is open."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Threaded(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: FaultServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Threaded

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:  # the library's name
        owner = self.server.owner
        if self.path == "/count":
            counts = owner.counts
            with owner.lock:
                told: dict[str, Any] = {
                    "requests": counts.requests,
                    "most_at_once": counts.most_at_once,
                    "embedded": dict(counts.embedded),
                    "acknowledged": dict(counts.acknowledged),
                }
            self._reply(200, told)
        elif self.path == "/info" and owner.manner.info is not None:
            self._reply(200, owner.manner.info)
        else:
            self._reply(404, _error("no such place"))

    def do_POST(self) -> None:  # the library's name
        owner, counts = self.server.owner, self.server.owner.counts
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/script":
            owner.script(*body)
            self._reply(200, {})
            return
        with owner.lock:
            counts.requests += 1
            counts.at_once += 1
            counts.most_at_once = max(counts.most_at_once, counts.at_once)
            counts.times.append(time.monotonic())
            counts.bodies.append(body)
            fault = owner.faults.popleft() if owner.faults else "ok"
        try:
            self._embeddings(body, fault)
        finally:
            with owner.lock:
                counts.at_once -= 1

    def _embeddings(self, body: dict[str, Any], fault: str) -> None:
        owner, manner = self.server.owner, self.server.owner.manner
        dialect = dialect_of(self.path)
        if dialect is None:
            self._reply(404, _error(f"there is nothing at {self.path}"))
            return
        asked = dialect.read(self.path, body)
        texts = asked.texts
        what, _, number = fault.partition("=")
        time.sleep(manner.latency + manner.latency_per_text * len(texts))
        refusal = self._refusal(asked) or self._failed(what, float(number or 0))
        if refusal is not None:
            self._reply(*refusal)
            return
        if what == "reset":
            # With this a close sends a reset, and not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        tokens = sum(len(text.split()) + 2 for text in texts)
        with owner.lock:
            owner.counts.embedded.update(texts)
            owner.counts.sizes.append(len(texts))
            owner.counts.tokens.append(tokens)
        if what == "late":
            time.sleep(float(number))
        reply = json.dumps(self._answer(dialect, asked, what, tokens)).encode()
        if what == "truncated":
            reply = reply[: len(reply) // 2]
        elif what in ("text", "page"):
            reply = b"<html>a proxy's page</html>"
        kind = "text/html" if what == "page" else "application/json"
        self._send(200, reply, {"Content-Type": kind}, slow=float(number) if what == "slow" else 0.0, cut=what == "cut")
        with owner.lock:
            owner.counts.acknowledged.update(texts)

    def _refusal(self, asked: Asked) -> tuple[int, dict[str, Any]] | None:
        manner, texts = self.server.owner.manner, asked.texts
        key = self.headers["x-goog-api-key"] or (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if manner.key is not None and key != manner.key:
            return 401, _error(f"Incorrect API key provided: {key}", code="invalid_api_key")
        if asked.model != MODEL:
            return 404, _error(f"The model `{asked.model}` does not exist", code="model_not_found")
        if asked.packed and not manner.base64:
            return 400, _error("Unsupported encoding_format: base64", param="encoding_format")
        if asked.dimensions is not None and not manner.dimensions:
            return 400, _error("This model does not support specifying dimensions", param="dimensions")
        if manner.most_texts is not None and len(texts) > manner.most_texts:
            return 422, _error(f"batch size {len(texts)} > maximum allowed batch size {manner.most_texts}")
        if manner.most_bytes is not None and max(len(text.encode()) for text in texts) > manner.most_bytes:
            return 400, _error(f"This model's maximum context length is {manner.most_bytes} tokens")
        if any(manner.poison in text for text in texts):
            return 400, _error("a text cannot be processed", param="input")
        if any(manner.crash in text for text in texts):
            return 500, _error("it has crashed")
        return None

    def _failed(self, what: str, number: float) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        if what == "429":
            return 429, _error("Rate limit reached"), {"Retry-After": f"{number:g}"}
        if what == "429-date":
            date = email.utils.formatdate(time.time() + number, usegmt=True)
            return 429, _error("Rate limit reached"), {"Retry-After": date}
        if what == "429-bare":
            return 429, _error("Rate limit reached"), {}
        if what == "quota":
            return 429, _error("You exceeded your current quota", code="insufficient_quota"), {}
        if what.isdigit():
            return int(what), _error(f"it is {what} today"), {}
        return None

    def _answer(self, dialect: Dialect, asked: Asked, what: str, tokens: int) -> dict[str, Any]:
        manner = self.server.owner.manner
        width = (asked.dimensions if manner.dimensions else None) or manner.width
        vectors = [vector(text, width + (what == "width" or manner.odd in text)) for text in asked.texts]
        for text, found in zip(asked.texts, vectors, strict=True):
            if manner.nan in text:
                found[0] = np.nan
        if what == "nan":
            vectors[0][0] = np.nan
        if what == "count":
            vectors.pop()
        reply = dialect.reply(vectors, tokens if manner.usage else None, asked.packed)
        if what == "order":
            reply["data"] = reply["data"][::-1]
        elif what == "duplicate":
            reply["data"][-1]["index"] = 0
        elif what == "object":
            reply = {}
        elif what in ("strings", "base64"):
            for item in reply["data"]:
                item["embedding"] = ["x"] * width if what == "strings" else "@@@@"
        return reply

    def _reply(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), headers or {})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, slow: float = 0.0, cut: bool = False
    ) -> None:
        with self.server.owner.lock:
            self.server.owner.counts.statuses[status] += 1
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if cut:
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
                return
            pieces = 10 if slow else 1
            for i in range(pieces):
                time.sleep(slow / pieces)
                self.wfile.write(body[len(body) * i // pieces : len(body) * (i + 1) // pieces])
            return
        raise ConnectionError("the client has gone")


def _error(message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    # The detail is what Voyage says.
    return {"error": {"message": message, "type": "error", "param": param, "code": code}, "detail": message}


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of a request")
    parser.add_argument("--latency-per-text", type=float, default=0.0, help="seconds more for each text in it")
    parser.add_argument("--most-texts", type=int)
    parser.add_argument("--fault", action="append", default=[], help=f"one of {', '.join(FAULTS)}; times as in 500*3")
    asked = parser.parse_args()
    server = FaultServer(
        *asked.fault, port=asked.port, width=asked.width, latency=asked.latency, latency_per_text=asked.latency_per_text,
        most_texts=asked.most_texts,
    )  # fmt: skip
    print(server.url.rpartition(":")[2].partition("/")[0], flush=True)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
