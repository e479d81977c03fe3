"""A headless Chromium, driven through its own pipe: no driver and no package besides the browser."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Page", "chromium"]

PATIENCE = 60.0
"""Seconds that any one answer may take."""

# Chromium reads commands from its descriptor 3 and answers on 4. The pipes may have those numbers themselves, crossed.
_LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A running Chromium."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest, self._number = read, write, b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and wait for its answer; events that come meanwhile are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": arguments} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            got = os.read(self._read, 1 << 20)
            if not got:
                raise RuntimeError("Chromium has ended")
            self._rest += got
        text, _, self._rest = self._rest.partition(b"\0")
        message = dict(json.loads(text))
        if "method" in message:
            self.events.append(message)
        return message

    @contextmanager
    def page(self, path: Path, *, width: int, dark: bool = False) -> Iterator[Page]:
        """The file at `path` as a page `width` wide, once its plots are drawn."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        del self.events[:]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Page.navigate", url=path.resolve().as_uri())
        page.until("document.documentElement?.dataset.drawn")
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)


class Page:
    """An open page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **arguments)

    def evaluate(self, script: str) -> Any:
        """What the expression `script` gives, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def dark(self, on: bool) -> None:
        """Ask for dark or for light, as a reader does in the system's settings, and wait until it is drawn."""
        before = self.evaluate("document.documentElement.dataset.drawn")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.until(f"document.documentElement.dataset.drawn !== {json.dumps(before)}")

    def resize(self, width: int) -> None:
        """Make the window `width` wide, and wait until the plots have followed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.settle()

    def settle(self) -> None:
        """Wait until every plot is as wide as its place."""
        self.until(
            "[...document.querySelectorAll('.plot')].every(x => Math.abs(x._fullLayout.width - x.clientWidth) < 1)"
        )

    def until(self, script: str) -> None:
        """Wait until the expression `script` is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({script})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never came true: {script}; {self.complaints()}")
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """Errors and warnings that the page has made so far."""
        found = []
        for event in self._browser.events:
            values = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(values["exceptionDetails"].get("exception", values["exceptionDetails"])))
            elif event["method"] == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                found.append(values["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
                found.append(str([x.get("value", x.get("description")) for x in values["args"]]))
        return found

    def requests(self) -> list[str]:
        """Every address that the page has asked for so far."""
        sent = (e["params"] for e in self._browser.events if e["method"] == "Network.requestWillBeSent")
        return [values["request"]["url"] for values in sent]

    def picture(self, path: Path, element: str | None = None, scale: float = 1.0) -> None:
        """Write the whole page, or the first `element` of it (a CSS selector), as a PNG."""
        box = self.evaluate(
            f"(() => {{ const r = document.querySelector({json.dumps(element or 'html')}).getBoundingClientRect();"
            " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}; })()"
        )
        shot = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=box | {"scale": scale}
        )
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(program: str | None = None) -> Iterator[Browser]:
    """A headless Chromium without a network.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    program = program or shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("chromium is not installed: apt-get install chromium")
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        options = [
            "--headless=new",
            "--no-sandbox",  # in a container as root there is no other way; it opens files of ours alone
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--proxy-server=127.0.0.1:9",  # nobody listens there
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        ]
        process = subprocess.Popen(  # noqa: S603  # the program that was found above
            [sys.executable, "-c", _LAUNCH, str(commands_out), str(answers_in), program, *options],
            pass_fds=(commands_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(answers_in)
        try:
            yield Browser(answers_out, commands_in)
        finally:
            process.terminate()
            process.wait()
            os.close(commands_in)
            os.close(answers_out)
