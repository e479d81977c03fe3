"""How a result is shown: a small table in a notebook, a page of the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel import __version__
from vjaccel.arrays.dispatch import home_of
from vjaccel.arrays.registry import get_backend
from vjaccel.embedding.result import EmbeddingResult, EmbeddingStatistics
from vjaccel.errors import InvalidInput
from vjaccel.pages.notebook import small_table
from vjaccel.pages.words import counted, duration, percent, scaled, seconds, speed

__all__ = ["result_html", "statistics_html", "write_report"]

ERRORS = 5
"""Of a result that are in its table."""

BLOCK = 4096
"""Vectors that are fetched from a device together."""


def statistics_html(found: EmbeddingStatistics) -> str:
    """The statistics as a small table; what nobody knows is not in it."""
    return small_table("Embedding statistics", _statistics_rows(found))


def result_html(found: EmbeddingResult) -> str:
    """A result as a small table: its vectors, its statistics, some of its errors."""
    shape = " × ".join(f"{n:,}" for n in found.embeddings.shape)  # noqa: RUF001  # the sign of multiplication
    rows = [("vectors", f"{shape}, {str(found.embeddings.dtype).rpartition('.')[2]}")]
    rows += _statistics_rows(found.statistics)
    rows += [(f"text {error.index:,}", f"{error.code}: {error.message[:200]}") for error in found.errors[:ERRORS]]
    if len(found.errors) > ERRORS:
        rows.append(("and", f"{counted(len(found.errors) - ERRORS, 'error')} more"))
    return small_table("Embedding result", rows)


def _statistics_rows(found: EmbeddingStatistics) -> list[tuple[str, str]]:
    rows = [("texts", f"{found.texts:,}"), ("embedded", f"{found.embedded:,}")]
    if found.failed:
        rows.append(("failed", ", ".join(f"{code} {count:,}" for code, count in found.failures.items())))
    for name, count in (
        ("duplicates", found.duplicates),
        ("from the cache", found.cache_hits),
        ("cut off", found.truncated),
    ):
        if count:
            rows.append((name, f"{count:,}"))
    rows.append(("time", duration(found.seconds)))
    if found.texts_per_second is not None:
        rows.append(("speed", speed(found.texts_per_second, "texts/s")))
    if found.tokens is not None:
        rows.append(("tokens", f"{found.tokens:,}, {speed(found.tokens_per_second, 'tokens/s')}"))
    if found.padding_share is not None:
        rows.append(("padding", percent(found.padding_share)))
    rows.append(("batches", f"{found.batches:,}"))
    if found.latency_p50 is not None:
        rows.append(("half of them within", f"{seconds(found.latency_p50)}, 99% within {seconds(found.latency_p99)}"))
    if found.retries or found.waited:
        rows.append(("tried again", f"{found.retries:,}, waited {duration(found.waited)}"))
    for name, did in found.devices.items():
        tokens = f", {speed(did.tokens / did.seconds, 'tokens/s')} a batch" if did.tokens and did.seconds else ""
        out = "" if did.taken_out is None else "; taken out"
        rows.append((f"on {name}", f"{did.texts:,} texts in {did.batches:,} batches{tokens}{out}"))
    rows.append(("memory, at most", f"{scaled(found.peak_memory_bytes, ' ')}B"))
    return rows


def write_report(found: EmbeddingResult, path: Path, texts: Sequence[object] | None, price: float | None) -> None:
    """Write the page of a result's run.

    Raises
    ------
    InvalidInput, MissingExtra, OutputError
    """
    from vjaccel.observe.report import Account, Failed, Row, Sample, beginning, check_report, write_run_report

    if texts is not None and (isinstance(texts, str) or not hasattr(texts, "__getitem__")):
        raise InvalidInput(
            f"texts are a list or another sequence of those that were embedded, not a {type(texts).__name__}"
        )
    # As what is numbered from 0: a column of a table may not be.
    texts = None if texts is None else list(texts)
    if texts is not None and len(texts) != len(found):
        are = "is" if len(texts) == 1 else "are"
        raise InvalidInput(f"there {are} {counted(len(texts), 'text')}, and the result is of {len(found):,}")
    check_report(path)
    sample = Sample()
    dtype = str(found.embeddings.dtype).rpartition(".")[2]
    if dtype == "float32":
        for start in range(0, len(found), BLOCK):
            vectors = _on_host(found.embeddings[start : start + BLOCK])

            def row(i: int, vectors: np.ndarray = vectors, start: int = start) -> tuple[Row, np.ndarray]:
                text = "" if texts is None else beginning(texts[start + i])
                return Row(f"text {found.start + start + i:,}", text), vectors[i]

            sample.add(found.ok[start : start + BLOCK], row)
    failures = found.recording.failures
    account = Account(
        counted(len(found), "text"),
        found.recording,
        __version__,
        statistics=found.statistics.to_dict(),
        failures={code: count for code, (count, _) in failures.items()},
        examples=[Failed(code, f"text {x.number:,}", x.message) for code, (_, some) in failures.items() for x in some],
        described=[
            ("model", found.recording.model),
            ("width of a vector", f"{found.embeddings.shape[1]:,}"),
            ("vectors as", dtype),
        ],
        price=price,
        sample=sample if sample.seen else None,
        no_map="" if dtype == "float32" else "the vectors are codes",
    )
    write_run_report(account, path)


def _on_host(vectors: Any) -> np.ndarray:
    home = home_of(vectors)
    return np.asarray(vectors if home is None else get_backend(f"{home[0].name}:{home[1]}").to_numpy(vectors))
