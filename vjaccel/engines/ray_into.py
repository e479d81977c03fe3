"""A run into a collection on a Ray cluster: workers embed, and this process puts the rows in when all are embedded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vjaccel.embedding import EmbeddingStatistics, Progress
from vjaccel.engines.collecting import Collected, Collecting, Target
from vjaccel.engines.files import UnderWay
from vjaccel.engines.kept_vectors import KeptVectors
from vjaccel.engines.ray_pool import Pool
from vjaccel.engines.ray_run import embedded_there
from vjaccel.engines.sources import Source
from vjaccel.engines.standing import FileRun, described_run
from vjaccel.io import Inputs

__all__ = ["embed_into_on_ray"]

Took = Callable[[np.ndarray, list[tuple[str, Any]]], object]


def embed_into_on_ray(
    pool: Pool,
    inputs: Inputs,
    source: Source,
    target: Target,
    *,
    max_errors: int | None,
    show: Callable[[Progress, int], object],
    did: Callable[[EmbeddingStatistics | None], object],
    took: Took,
) -> Collected:
    """What `embed_into` does, by the workers of `pool` in a cluster; `target` has where vectors are kept.

    Parameters
    ----------
    did : callable
        Called with what was measured when all is embedded.
    took : callable
        Called with vectors that were embedded and are stored, and the id and text of each.

    Raises
    ------
    ClusterError, TooManyErrors, and those of the workers
    """
    kept = target.kept
    assert kept is not None
    wanted, copies = _rows_to_embed(source, target, kept, pool.model.dim)
    run = FileRun(kept.beside, max_errors=max_errors)
    under_way = UnderWay(inputs, run, described_run(inputs, pool.model), kept.journal, kept.texts, None)
    statistics, _ = embedded_there(pool, show, under_way, wanted, copies)
    did(statistics)
    done = _stored(source, target, kept, max_errors, took)
    done.statistics = statistics
    return done


def _rows_to_embed(source: Source, target: Target, kept: KeptVectors, dim: int | None) -> tuple[np.ndarray, int]:
    """The rows, bool (rows,), whose vectors `_stored` lacks in `kept`, one for each text; how many others have these.

    Nothing is changed.
    """
    silent = Target(lambda _: target.open(dim or kept.dim), seen=target.seen)
    collecting, wanted, lacking = Collecting(source, silent, None), np.zeros(len(kept.journal.done), np.bool_), 0
    for first, rows, named in collecting.groups():
        missing, _ = collecting.missing(named)
        sources, same = kept.all_sources(first, [row.text for row in rows])
        places = np.array([row.number - first for row in missing], np.int64)
        places = places[sources[places] < 0]
        wanted[same[places]] = True
        lacking += len(places)
    return wanted, lacking - int(wanted.sum())


def _stored(source: Source, target: Target, kept: KeptVectors, max_errors: int | None, took: Took) -> Collected:
    """What becomes of the rows where all have been embedded that `_rows_to_embed` told, or have failed, in `kept`.

    Raises
    ------
    TooManyErrors
    """
    collecting = Collecting(source, target, kept.dim)
    for first, rows, named in collecting.groups():
        missing, other = collecting.missing(named)
        collecting.bring_up_to_date(other)
        sources, same = kept.all_sources(first, [row.text for row in rows])
        there = sources[[row.number - first for row in missing]]
        new = np.flatnonzero((there >= 0) & ~kept.before(there))
        stored = [(missing[i].id, missing[i].metadata.get(source.text_field)) for i in new]
        left = collecting.store_kept(missing, there, kept)
        if stored:
            took(kept.vectors(there[new]), stored)
        unknown = "EMBEDDING_GENERATION_FAILED", "it was not embedded"
        why = (kept.journal.error(int(same[row.number - first])) or unknown for row in left)
        collecting.refused([(row, *reason) for row, reason in zip(left, why, strict=True)])
        collecting.done.check(max_errors)
    return collecting.done
