"""Embedding by many processes: what each is given, and the texts of a Ray dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.cluster import Resources, check_fits
from vjaccel.embedding.arguments import OnError
from vjaccel.errors import InvalidInput, MissingExtra

__all__ = ["DatasetWorker", "mapped", "options_of_one"]

NAMED = ("memory", "disk")
"""Caches that are no folder's path."""


def options_of_one(options: dict[str, Any], most: int | None, cpus: float, gpus: float) -> dict[str, Any]:
    """The options of the embedder of one of at most `most` workers: its share of the cores, and of limits that are not shared.

    A cache or a local model in a folder is in that of this process.

    Raises
    ------
    InvalidInput
        There is a limit, and nobody says among how many it is shared, or nothing is left for each.
    """
    own = dict(options)
    for name in ("requests_per_minute", "tokens_per_minute"):
        limit = own.get(name)
        if limit is None or own.get("shared_limits") is not None:
            continue  # those that are shared are one budget already
        if most is None:
            raise InvalidInput(f"{name} {limit} is shared out evenly: say how many workers there are at most")
        if limit < most:
            raise InvalidInput(f"{name} {limit} leaves nothing for each of {most} workers")
        own[name] = limit // most
    # Otherwise it would take all that the machine has, for each worker.
    on_cpus = str(own["model"]).startswith("local:") and own.get("engine", "torch") == "torch" and not gpus
    if on_cpus and own.get("workers") is None:
        own["workers"] = max(1, int(cpus))
    # A process of Ray's is in a folder of its own.
    own["model"] = _anywhere(own["model"])
    cache = own.get("cache")
    if isinstance(cache, os.PathLike) or (isinstance(cache, str) and cache not in NAMED and "://" not in cache):
        own["cache"] = str(Path(cache).expanduser().absolute())
    return own


def _anywhere(model: Any) -> Any:
    """What names the same model from any folder."""
    provider, _, name = model.partition(":") if isinstance(model, str) else ("", "", "")
    if provider != "local":
        return model
    folder = Path(name).expanduser()
    # One that is not there is said by its whole path too, unless it may be the hub's.
    return f"local:{folder.absolute()}" if folder.is_dir() or name.startswith((".", "~")) else model


class DatasetWorker:
    """Adds vectors to batches of a Ray dataset: one embedder for all that its process is given."""

    def __init__(self, options: dict[str, Any], text_column: str, column: str, on_error: OnError) -> None:
        from vjaccel.embedding.embedder import Embedder

        self._embedder = Embedder(**options)
        self._text_column = text_column
        self._column = column
        self._on_error = on_error

    def __call__(self, table: Any) -> Any:
        """A ``pyarrow.Table``, with a column of vectors, null where a text has failed."""
        import pyarrow as pa

        result = self._embedder.embed_document(table[self._text_column].to_pylist(), on_error=self._on_error)
        numbers = pa.array(np.ascontiguousarray(result.embeddings).reshape(-1))
        width = result.embeddings.shape[1] or self._embedder.dim or 1
        missing = None if result.ok.all() else pa.array(~result.ok)
        if not len(numbers):
            numbers = pa.array(np.zeros(width * len(result.ok), result.embeddings.dtype))
        vectors = pa.FixedSizeListArray.from_arrays(numbers, width, mask=missing)
        table = table.append_column(self._column, vectors)
        if self._on_error == "collect":
            said: list[str | None] = [None] * len(result.ok)
            for error in result.errors:
                said[error.index] = f"{error.code}: {error.message}"
            table = table.append_column(f"{self._column}_error", pa.array(said, pa.string()))
        return table


def mapped(
    dataset: Any, options: dict[str, Any], text_column: str, column: str, workers: tuple[int, int | None],
    batch_size: int, cpus: float, gpus: float, on_error: OnError,
) -> Any:  # fmt: skip
    """`dataset` with a column of vectors, by an actor pool; see `Embedder.map_dataset`."""
    try:
        import ray
        from ray.data import ActorPoolStrategy
    except ImportError as exc:
        raise MissingExtra("map_dataset", "ray") from exc
    least, most = workers
    if least < 1 or (most is not None and most < least):
        raise InvalidInput(f"workers={workers!r}: the least is at least 1, and the most no less than it")
    if options["precision"] in ("int8", "uint8") and options["calibration"] is None:
        raise InvalidInput(
            f"precision {options['precision']!r} would have other ranges in each batch: give calibration="
        )
    if not isinstance(options["cache"], str | os.PathLike | None):
        raise InvalidInput(
            f"cache={type(options['cache']).__name__}(...) is of this process: name one that all can open"
        )
    names = dataset.columns()
    if names is not None and (text_column not in names or column in names):
        wrong = f"has no column {text_column!r}" if text_column not in names else f"has a column {column!r} already"
        raise InvalidInput(f"the dataset {wrong}: it has {', '.join(map(repr, names))}")
    check_fits(ray, Resources({"CPU": cpus} | ({"GPU": gpus} if gpus else {})))
    own = options_of_one(options, most, cpus, gpus)
    return dataset.map_batches(
        DatasetWorker, fn_constructor_args=(own, text_column, column, on_error), batch_size=batch_size,
        batch_format="pyarrow", compute=ActorPoolStrategy(min_size=least, max_size=most), num_cpus=cpus, num_gpus=gpus,
    )  # fmt: skip
