"""Devices that are made up, since here is one: each is a real model on the CPU, which may be held up, be slower, or fail.

``several:letters:32`` is no model but the letters of a text: a command that has it loads no library.

`install` is how a test, or a command that it begins, gets the provider ``several``; the environment says of a command's what
is to be slow (SEVERAL_SLOW, as ``gpu:1=0.05``: seconds a batch) and what fails (SEVERAL_FAILS: after so many batches).
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import vjaccel as vj
from tests.unit.cli.letters import LettersProvider
from vjaccel.embedding.providers.local import LocalProvider
from vjaccel.embedding.providers.protocol import DeviceFailed, ProviderOptions

__all__ = ["LETTERS", "MODEL", "SeveralProvider", "install"]

MODEL = "several:all-MiniLM-L6-v2"
LETTERS = "several:letters:32"


def _told(name: str) -> dict[str, float]:
    """What the environment says of devices."""
    said = (one.rpartition("=") for one in os.environ.get(name, "").split(",") if one)
    return {device: float(value) for device, _, value in said}


class _Letters(LettersProvider):
    batch_texts = 16


class SeveralProvider:
    """A `LocalProvider` on the CPU, or letters, that says it is on another device."""

    seen: ClassVar[Counter[str]] = Counter()
    slow: ClassVar[dict[str, float]] = _told("SEVERAL_SLOW")
    waits_for: ClassVar[dict[str, threading.Event]] = {}
    fails_after: ClassVar[dict[str, int]] = {device: int(batches) for device, batches in _told("SEVERAL_FAILS").items()}
    loaded: ClassVar[list[str]] = []
    lock = threading.Lock()

    def __init__(self, model: str, options: ProviderOptions) -> None:
        if options.device.startswith("gpu") and options.device not in self.devices():
            raise vj.BackendUnavailable(f"there is no device {options.device!r}", reason="no device")
        self._device = options.device
        self.loaded.append(options.device)
        own = ProviderOptions(device="cpu", workers=1, batch_tokens=options.batch_tokens)
        kind, _, width = model.partition(":")
        self._local: Any = _Letters(width, own) if kind == "letters" else LocalProvider(model, own)

    @staticmethod
    def devices() -> list[str]:
        return ["gpu:0", "gpu:1", "cpu"]

    def embed(self, items: list[Any], prompt: str) -> Any:
        with self.lock:
            left = self.fails_after.get(self._device, 1)
            self.fails_after.update({self._device: left - 1} if self._device in self.fails_after else {})
        if left <= 0:
            raise DeviceFailed("CUDA error: an illegal memory access") from RuntimeError("an illegal memory access")
        with self.lock:
            self.seen[self._device] += len(items)
        if self._device in self.waits_for:
            assert self.waits_for[self._device].wait(60)
        time.sleep(self.slow.get(self._device, 0.0))
        return self._local.embed(items, prompt)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._local, name)


def install(folder: Path) -> None:
    """Write the metadata of a distribution that registers it; `folder` is then put on the path."""
    information = folder / "several-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: several\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[vjaccel.providers]\nseveral = {__name__}:SeveralProvider\n")
