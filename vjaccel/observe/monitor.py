"""Metrics of this process for Prometheus, and its health, over HTTP: off until somebody makes a `Monitor`."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from vjaccel.closing import Closing
from vjaccel.errors import InvalidInput, MissingExtra, OutputError
from vjaccel.observe.health import STALLED, Answer, healthy, ready
from vjaccel.observe.processes import bury, died_with_this_process, page, shared_folder
from vjaccel.observe.scrapes import Scrapes
from vjaccel.telemetry import Happened, RunBegan, listening, running

__all__ = ["HOST", "Load", "Monitor", "Source"]

logger = logging.getLogger("vjaccel.observe")

HOST = "127.0.0.1"
"""Nobody is asked who they are: whoever can reach the port can read the page."""

PATIENCE = 10.0
"""Seconds that a client may take to say what it wants."""

POLL = 0.1
"""Seconds until a server that is to end sees it."""


class Load(NamedTuple):
    """What a processor has to do: requests under way, and batches that wait for a thread."""

    active: int
    queued: int


class Source(NamedTuple):
    """A processor to be watched, beside all runs: what it has to do, and what is wrong with it."""

    load: Callable[[], Load]
    problems: Callable[[], Sequence[str]]


class Monitor(Closing):
    """Counts what happens in this process from now on, and serves ``/metrics``, ``/healthz`` and ``/readyz``.

    Needs the extra ``metrics``. Where ``PROMETHEUS_MULTIPROC_DIR`` names a folder, the page is the sum over all processes that
    share it.

    Parameters
    ----------
    port : int or None
        0 is any that is free; None serves nothing: then another process of the same folder does.
    host : str
        An address of this machine; others than 127.0.0.1 let others read the page.
    interval : float
        Seconds after which gauges that must be looked at, such as memory, are brought up to date.
    stalled_after : float
        Seconds without anything coming of a run after which ``/healthz`` says so.
    source : Source, optional

    Raises
    ------
    OutputError
        The port is in use, or the host is no address of this machine.
    InvalidInput
        The folder of several processes is not there.
    MissingExtra

    Examples
    --------
    >>> import urllib.request
    >>> with Monitor() as monitor:
    ...     page = urllib.request.urlopen(f"{monitor.url}/metrics").read().decode()
    >>> "vjaccel_memory_bytes" in page
    True
    """

    def __init__(
        self,
        port: int | None = 0,
        host: str = HOST,
        *,
        interval: float = 1.0,
        stalled_after: float = STALLED,
        source: Source | None = None,
    ) -> None:
        self._stalled_after = stalled_after
        self._source = source
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._scrapes = Scrapes()
        self._failed_to_look = False
        self._held = ExitStack()
        folder = shared_folder()
        try:
            # Not before it is wanted.
            from prometheus_client import make_wsgi_app

            from vjaccel.observe.metrics import Metrics, shared_metrics
        except ModuleNotFoundError as exc:
            raise MissingExtra("metrics", "metrics") from exc
        server = None if port is None else _server(port, host)
        self._shared = folder is not None
        with _lock:
            self._metrics = shared_metrics() if self._shared else Metrics()
        if server is not None:
            pages = _Pages(make_wsgi_app(page(self._metrics.registry, folder)), folder, self._health, self._scrapes)
            server.set_app(pages)
            self._url: str | None = _url(server, host)
            thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="vjaccel-metrics", daemon=True)
            thread.start()
            self._held.callback(_stop, server, thread)
        else:
            self._url = None
        if source is not None:
            with _lock:
                _sources.append(source)
            self._held.callback(_removed, _sources, source)
        self._held.enter_context(listening(self._heard))
        with _lock:
            _monitors.append(self)
        self._held.callback(_removed, _monitors, self)
        if folder is not None:
            died_with_this_process()
        self._look()
        looking = threading.Thread(target=self._looks, args=(interval,), name="vjaccel-look", daemon=True)
        looking.start()
        self._held.callback(looking.join)
        self._held.callback(self._ended.set)

    @property
    def url(self) -> str | None:
        """Where it is served, as ``http://127.0.0.1:9464``; None where it is not."""
        return self._url

    def rendered(self) -> bytes:
        """The page ``/metrics``, for whoever serves it in another way: Prometheus' text, version 0.0.4."""
        from prometheus_client import generate_latest

        folder = shared_folder()
        if folder is not None:
            bury(folder)
        found: bytes = generate_latest(page(self._metrics.registry, folder))
        return found

    def last_scrape(self, say: Callable[[float], object]) -> None:
        """Wait until what has been counted by now was scraped by each that scrapes; where nobody does return at once.

        Parameters
        ----------
        say : callable
            Called before it waits, with the seconds that this may take: somewhat more than there were between two scrapes
            of the one that comes most seldom, and no more than a minute.
        """
        self._tries_to_look()
        seconds = self._scrapes.due()
        if seconds is not None:
            say(seconds)
            self._scrapes.wait()

    def close(self) -> None:
        """Count and serve no more. Closing twice is fine."""
        self._held.close()

    def _heard(self, happened: Happened) -> None:
        if isinstance(happened.event, RunBegan):
            self._begun.set()
        if self._counts():
            self._metrics.heard(happened)

    def _counts(self) -> bool:
        """Whether it is the one that counts: all monitors of a process have the same metrics where there is a shared folder."""
        return not self._shared or _monitors[:1] == [self]

    def _look(self) -> None:
        if not self._counts():
            return
        with _lock:
            sources = list(_sources)
        self._metrics.look(running(), [source.load() for source in sources])

    def _looks(self, interval: float) -> None:
        while not self._ended.wait(interval):
            self._tries_to_look()
        self._tries_to_look()  # so that nothing is left of what is over, where other processes go on

    def _tries_to_look(self) -> None:
        """Look, where nobody could be told that it cannot be done: the next look may be better."""
        try:
            self._look()
        except Exception as exc:
            if not self._failed_to_look:
                logger.warning(
                    "gauges are not as they are, as one cannot be looked at: %s: %s", type(exc).__name__, exc
                )
            self._failed_to_look = True

    def _health(self, path: str) -> Answer | None:
        if path == "/readyz":
            return ready(begun=self._begun.is_set(), takes_requests=self._source is not None)
        if path == "/healthz":
            problems = () if self._source is None else self._source.problems()
            return healthy(running(), problems, self._stalled_after)
        return None


_lock = threading.Lock()
_sources: list[Source] = []
_monitors: list[Monitor] = []


def _removed(known: list[Any], one: object) -> None:
    with _lock:
        known.remove(one)


class _Pages:
    """What is served, as WSGI wants it."""

    def __init__(
        self, metrics: Any, folder: Path | None, health: Callable[[str], Answer | None], scrapes: Scrapes
    ) -> None:
        self._metrics, self._folder, self._health, self._scrapes = metrics, folder, health, scrapes

    def __call__(self, environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            if self._folder is not None:
                bury(self._folder)
            by_prometheus = "HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS" in environ
            ended = self._scrapes.began(environ.get("REMOTE_ADDR", ""), by_prometheus=by_prometheus)
            return _Page(self._metrics(environ, start), ended)
        answer = self._health(path) if environ["REQUEST_METHOD"] in ("GET", "HEAD") else None
        if answer is None:
            answer = Answer(404, {"status": "not found", "there are": ["/metrics", "/healthz", "/readyz"]})
        body = json.dumps(answer.body).encode() + b"\n"
        said = {200: "200 OK", 404: "404 Not Found", 503: "503 Service Unavailable"}[answer.status]
        start(said, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


class _Page(list[bytes]):
    """The body of an answer, which the server closes when it is sent."""

    def __init__(self, parts: Iterable[bytes], sent: Callable[[], object]) -> None:
        super().__init__(parts)
        self.close = sent


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks for the host's full name, and waits for it where no name server answers.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of a run."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        """Whoever is scraped each second is not told so."""


def _server(port: int, host: str) -> _Server:
    """One that is bound, and serves nothing yet."""
    if not 0 <= port <= 65535:
        raise InvalidInput(f"metrics cannot be served at port {port}: ports are 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        kind = _Server6 if family == socket.AF_INET6 else _Server
        return make_server(host, port, _nothing, kind, _Handler)
    except OSError as exc:
        why = (exc.strerror or str(exc)).lower()
        raise OutputError(f"metrics cannot be served at {host}, port {port}: {why}; name another") from exc


def _nothing(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
    return []


def _url(server: _Server, host: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"


def _stop(server: _Server, thread: threading.Thread) -> None:
    server.shutdown()
    thread.join()
    server.server_close()
