"""A run into a collection on a Ray cluster: workers embed, and this process puts the rows in when all are embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.collection import Collection
from vjaccel.embedding import EmbeddingStatistics, Progress
from vjaccel.embedding.seen import SeenTexts
from vjaccel.engines.files import UnderWay
from vjaccel.engines.into_collection import Collected, Log, TextRow, rows_to_embed, store_embedded
from vjaccel.engines.kept_vectors import KeptVectors
from vjaccel.engines.ray_run import RayRun, embedded_there
from vjaccel.engines.ray_worker import RemoteModel
from vjaccel.engines.standing import FileRun, described_run
from vjaccel.io import Inputs

__all__ = ["embed_into_on_ray"]


def embed_into_on_ray(
    ray: Any,
    inputs: Inputs,
    model: RemoteModel,
    options: dict[str, Any],
    spread: RayRun,
    beside: Path,
    groups: Callable[[], Iterable[list[TextRow]]],
    opened: Callable[[int | None], Collection | None],
    text_field: str,
    *,
    floats: Set[str],
    seen: SeenTexts,
    kept: KeptVectors,
    max_errors: int | None,
    log: Log,
    show: Callable[[Progress, int], object],
    did: Callable[[EmbeddingStatistics | None], object],
    took: Callable[[np.ndarray, list[tuple[str, Any]]], object],
) -> Collected:
    """What `embed_into` does, by workers in a cluster that are `ready`.

    Parameters
    ----------
    beside : Path
        What `kept` is named after.
    groups : callable
        The rows as they are read, from the first each time.
    did : callable
        Called with what was measured when all is embedded.
    took : callable
        Called with vectors that were embedded and are stored, and the id and text of each.

    Raises
    ------
    ClusterError, TooManyErrors, and those of the workers
    """
    into = opened(model.dim or kept.dim)
    wanted, copies = rows_to_embed(groups(), into, text_field, floats=floats, seen=seen, kept=kept)
    run = FileRun(beside, max_errors=max_errors)
    under_way = UnderWay(inputs, run, described_run(inputs, model), kept.journal, kept.texts, None)
    statistics, _ = embedded_there(ray, model, options, spread, show, under_way, wanted, copies)
    did(statistics)
    if into is None and kept.dim is not None:
        into = opened(kept.dim)
    done = store_embedded(
        groups(), into, text_field, floats=floats, seen=seen, kept=kept, max_errors=max_errors, log=log, took=took
    )
    done.statistics = statistics
    return done
