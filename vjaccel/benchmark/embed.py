"""Embedding as pieces of work that are handed round: by device, dtype and batch, beside sentence-transformers' own way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from vjaccel.benchmark import texts
from vjaccel.benchmark.cases import Size
from vjaccel.benchmark.results import Embedding
from vjaccel.benchmark.subjects import Member
from vjaccel.benchmark.tasks import Series
from vjaccel.benchmark.truth import Verdict

__all__ = ["EmbedTask", "References", "embed_tasks"]

TEXTS: dict[Size, dict[str, int]] = {
    "small": {"cpu": 32, "gpu": 256},
    "default": {"cpu": 256, "gpu": 4096},
    "large": {"cpu": 1024, "gpu": 16_384},
}

How: TypeAlias = Literal["encode", "embed"]

BATCHES: dict[How, dict[str, tuple[int, ...]]] = {
    "encode": {"cpu": (32, 16), "gpu": (256, 32)},
    "embed": {"cpu": (1024, 4096), "gpu": (16_384, 65_536)},
}
"""Texts of a batch, where 32 is `encode`'s own; tokens of a batch. Of the small size only the first are tried."""

DTYPES = {"cpu": ("float32",), "gpu": ("float32", "float16", "bfloat16")}
"""Halves are emulated by most CPUs, and are refused there."""

TOLERANCE = {("cpu", "float32"): 1e-5, ("gpu", "float32"): 1e-4, ("gpu", "float16"): 5e-3, ("gpu", "bfloat16"): 3e-2}


class References:
    """The vectors that others are compared with: those of `encode` in float32, on that kind of device, of the same turn."""

    def __init__(self) -> None:
        self._vectors: dict[int, np.ndarray] = {}
        self._waiting: list[tuple[int, np.ndarray, Callable[[float], None]]] = []

    def compare(self, turn: int, vectors: np.ndarray, judge: Callable[[float], None]) -> None:
        """Call `judge` with the largest difference, now or once there is something to compare with."""
        if turn in self._vectors:
            judge(_difference(self._vectors[turn], vectors))
        else:
            self._waiting.append((turn, vectors, judge))

    def settle(self, turn: int, vectors: np.ndarray) -> None:
        """These are the vectors of a turn: who has waited for them is compared."""
        self._vectors = {turn: vectors}
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one[0] == turn:  # others wait for what never came
                self.compare(*one)


class EmbedTask:
    """One way to embed the same texts, in one dtype, in batches of one size."""

    def __init__(
        self, how: How, place: str, dtype: str, batch: int, count: int, model: Path,
        references: References, folder: Path,
    ) -> None:  # fmt: skip
        self.how = how
        self.unit: Literal["texts", "tokens"] = "texts" if how == "encode" else "tokens"
        self.name = f"embed-{place}-{dtype}-{batch}-{self.unit}"
        self._place, self._dtype, self._batch, self._count = place, dtype, batch, count
        self._model = model
        self._model_name = texts.MODEL if model == texts.packaged() else model.name
        self._references = references
        self._file = folder / "vectors.npz"

    def rest(self) -> None:
        pass

    def fits(self, member: Member) -> str | None:
        kind, library = ("peer", "sentence-transformers") if self.how == "encode" else ("backend", "torch")
        does = (member.wanted.kind, member.wanted.library) == (kind, library) and member.device.startswith(self._place)
        return None if does else ""

    def origins(self, member: Member) -> tuple[str, ...]:
        return ("host",)

    def request(self, member: Member, origin: str, turn: int, series: Series) -> dict[str, Any]:
        return {
            "do": "embed", "how": self.how, "model": str(self._model), "device": member.device, "dtype": self._dtype,
            "batch": self._batch, "count": self._count, "number": turn * 2, "file": str(self._file),
        }  # fmt: skip

    def take(self, member: Member, origin: str, turn: int, answer: dict[str, Any], series: Series) -> None:
        with np.load(self._file) as file:
            vectors = file["vectors"]
        series.seconds.append(answer["seconds"])
        series.tokens = answer["tokens"]
        if self.how == "encode" and self._dtype == "float32":
            self._references.settle(turn, vectors)
            series.error = 0.0
            return
        allowed = TOLERANCE[self._place, self._dtype]

        def judge(difference: float) -> None:
            wrong = f"its vectors are off by {difference:.1e}, and may be by {allowed:.0e}"
            series.judged(Verdict(difference, None if difference <= allowed else wrong))

        self._references.compare(turn, vectors, judge)

    def embedding(self, member: Member, series: Series) -> Embedding:
        """What is kept of a series."""
        return Embedding(
            member.name, self._model_name, self._dtype, self._batch, self.unit, self._count, series.tokens,
            tuple(series.seconds), series.refused, series.error,
        )  # fmt: skip


def embed_tasks(sizes: Size, model: Path, folder: Path) -> list[EmbedTask]:
    """All ways, `encode` first."""
    references = {place: References() for place in TEXTS[sizes]}
    return [
        EmbedTask(how, place, dtype, batch, TEXTS[sizes][place], model, references[place], folder)
        for how, batches in BATCHES.items()
        for place in references
        for dtype in DTYPES[place]
        for batch in batches[place][: 1 if sizes == "small" else None]
    ]


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).max()) if a.shape == b.shape else float("inf")
