"""What stands before the replicas, in the proxy of Ray Serve: a request whose replica has ended is put to another one."""

from __future__ import annotations

from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vjaccel.serve.replies import Refused

__all__ = ["Front", "middlewares"]

ATTEMPTS = 2
"""How often a request is put to a replica: a text that ends its process must not end one after the other."""


class Front:
    """Answers 503 where Serve itself would answer 500 without a word, or that there is no such path.

    What a request asks for can be asked again, as nothing is changed by it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        heard = _Heard(receive)
        for _ in range(ATTEMPTS):
            reply = _Reply(send)
            await self._app(dict(scope), heard.from_the_start(), reply)
            if reply.begun or heard.gone:
                return
            if reply.absent:
                refused = Refused(503, "the service is being stopped", code="stopping", headers={"Retry-After": "5"})
                break
        else:
            refused = Refused(
                503, "what was asked was lost with a replica; ask again", code="lost", headers={"Retry-After": "1"}
            )
        await _send(refused, send)


def middlewares() -> list[Middleware]:
    """What the proxies of Serve put before all else; they are told where to find this."""
    return [Middleware(Front)]


class _Heard:
    """What a client has said, for whoever asks first and for whoever asks again."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []

    @property
    def gone(self) -> bool:
        return any(message["type"] == "http.disconnect" for message in self._messages)

    def from_the_start(self) -> Receive:
        place = 0

        async def receive() -> Message:
            nonlocal place
            if place == len(self._messages):
                self._messages.append(await self._receive())
            place += 1
            return self._messages[place - 1]

        return receive


class _Reply:
    """Passes on what a replica answers, and keeps back what Serve says where there is none."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.absent = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: dict[bytes, Any] = {name.lower(): value for name, value in message.get("headers", [])}
            # Our own is JSON.
            self.absent = message["status"] == 404 and not headers.get(b"content-type", b"").startswith(
                b"application/json"
            )
            self.begun = not self.absent
        if self.begun:
            await self._send(message)


async def _send(refused: Refused, send: Send) -> None:
    headers = {"Content-Type": "application/json"} | refused.headers
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": refused.body()})
