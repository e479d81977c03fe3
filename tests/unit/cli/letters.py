"""A provider that needs no model: a text's vector counts its letters. `PROVIDER` is how a test installs it."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np

from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.providers.function import FunctionProvider
from vjaccel.embedding.providers.protocol import ProviderOptions

__all__ = ["ConstantProvider", "LettersProvider", "UntoldProvider", "install", "letters"]


def letters(width: int, texts: list[str]) -> np.ndarray:
    """How often each letter occurs, of norm one; a text with FAIL in it is refused.

    One with SLOW takes its time, unless LETTERS_QUICK is in the environment: in a run that nobody stops it shows nothing.
    One with HELD waits until there is the file that the environment has as LETTERS_FREE. One with KILL ends the process
    where it stands.

    What it is asked for is noted in the file that the environment has as LETTERS_LOG.
    """
    log = os.environ.get("LETTERS_LOG")
    if log:
        with open(log, "a") as file:  # one write, whole even if the process is killed
            file.write("".join(f"{text}\n" for text in texts))
    for text in texts:
        if "FAIL" in text and "LETTERS_FORGIVE" not in os.environ:
            raise ValueError("this text is refused")
        if "KILL" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "SLOW" in text and "LETTERS_QUICK" not in os.environ:
            time.sleep(0.002)
        while "HELD" in text and not os.path.exists(os.environ["LETTERS_FREE"]):
            time.sleep(0.01)
    counts = np.array(
        [np.bincount([ord(c) % width for c in text] or [0], minlength=width) for text in texts], np.float32
    )
    norms = np.linalg.norm(counts, axis=1, keepdims=True)
    return counts / np.where(norms == 0, 1, norms)


class LettersProvider(FunctionProvider):
    """``letters:WIDTH``, or ``untold:WIDTH``, which does not say how wide its vectors are.

    With LETTERS_LOADING in the environment it makes the file of that name, and takes its time. That of the width KILL ends the
    process that loads it.
    """

    batch_texts = 64

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        if rest == "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(partial(letters, int(rest)), ProviderOptions(workers=options.workers))
        self._name = rest
        self.dimensions = int(rest)
        loading = os.environ.get("LETTERS_LOADING")
        if loading:
            Path(loading).touch()
            time.sleep(120)

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("letters", self._name, None, self.dimensions, prompt, True)


class ConstantProvider(LettersProvider):
    """``constant:WIDTH``: every text has the same vector, at no cost."""

    batch_texts = 1024

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        vectors = np.ones((1024, int(rest)), np.float32)
        FunctionProvider.__init__(self, lambda texts: vectors[: len(texts)], ProviderOptions(workers=options.workers))
        self._name = rest
        self.dimensions = int(rest)


class UntoldProvider(LettersProvider):
    """Its width shows in its first vector alone."""

    def __init__(self, rest: str, options: ProviderOptions) -> None:
        super().__init__(rest, options)
        self.dimensions = None

    def identity(self, prompt: str) -> ModelIdentity:
        return ModelIdentity("untold", self._name, None, None, prompt, True)


def install(folder: Path) -> None:
    """Write the metadata of a distribution that registers it; `folder` is then put on the path."""
    information = folder / "letters-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: letters\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[vjaccel.providers]\nletters = tests.unit.cli.letters:LettersProvider\n"
        "untold = tests.unit.cli.letters:UntoldProvider\n"
        "constant = tests.unit.cli.letters:ConstantProvider\n"
    )
