"""An object store that speaks what pyarrow asks of S3: objects are put into a dict, and read whole or by ranges over HTTP."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Objects", "object_store"]


class Objects(dict[str, bytes]):
    """What is in the store, by ``bucket/key``.

    Attributes
    ----------
    environment : dict
        By which pyarrow finds the store.
    ranges : list of str
        The ranges that were asked for.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.ranges: list[str] = []
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip


@contextmanager
def object_store() -> Iterator[Objects]:
    """One that is there until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            asked = urlsplit(self.path)
            found = objects.get(unquote(asked.path).strip("/"))
            if "list-type" in asked.query:
                found = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
            if found is None:
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", body, {})
                return
            headers = {"ETag": f'"{hashlib.sha256(found).hexdigest()}"', "Last-Modified": formatdate(0, usegmt=True)}
            wanted = self.headers.get("Range")
            if wanted is None:
                self._send(200, found, body, headers)
                return
            objects.ranges.append(wanted)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = found[int(first) : int(last) + 1]
            place = f"bytes {first}-{int(first) + len(part) - 1}/{len(found)}"
            self._send(206, part, body, headers | {"Content-Range": place})

        def _send(self, code: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        objects = Objects(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield objects
        finally:
            server.shutdown()
            thread.join()
