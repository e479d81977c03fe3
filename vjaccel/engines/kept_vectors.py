"""What a run into a collection keeps beside it until all is stored: vectors that were paid for outlive what stops the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vjaccel.embedding.journal import Journal
from vjaccel.embedding.journal_folder import Kept, changed, described
from vjaccel.embedding.seen import SeenTexts
from vjaccel.embedding.window import WINDOW
from vjaccel.engines.shards import shards_path, take_in_shards
from vjaccel.engines.standing import Model, described_run, journal_path
from vjaccel.io import Inputs

__all__ = ["KeptVectors", "kept_before", "kept_vectors"]


class KeptVectors:
    """The vectors of a run's rows, each from the moment it comes, and which of them serve for a row.

    Attributes
    ----------
    journal : Journal
    texts : SeenTexts
        Of the rows' texts.
    beside : Path
        The collection's folder, or what it is called elsewhere.
    found : int
        How many vectors were there before.
    """

    def __init__(self, journal: Journal, texts: SeenTexts, beside: Path) -> None:
        self.journal = journal
        self.texts = texts
        self.beside = beside
        self._before = journal.done.copy()
        self.found = int(self._before.sum())

    @property
    def dim(self) -> int | None:
        """The width of the vectors; None where there is none."""
        return self.journal.dim

    def keep(self, rows: Sequence[int], vectors: np.ndarray) -> None:
        """Keep the vectors, float32 (n, dim), of some rows.

        Raises
        ------
        OutputError
        """
        self.journal.append(np.array(rows, np.int64), vectors)

    def sources(self, first: int, texts: Sequence[Any]) -> np.ndarray:
        """For each of the texts in the rows from `first` on, a row that has its vector, int64; -1 where none has.

        To be asked of all rows in their order.
        """
        own = np.arange(first, first + len(texts))
        same = self.texts.first(first, texts)
        done = self.journal.done
        # What is nearer is the run's own to find, and may be under way.
        there = self._before[same] | (done[same] & (own - same > WINDOW))
        return np.where(done[own], own, np.where(there, same, -1))

    def all_sources(self, first: int, texts: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """As `sources` when nothing is under way any more; and for each text the row that is embedded for it, or was to be."""
        own = np.arange(first, first + len(texts))
        same = self.texts.first(first, texts)
        done = self.journal.done
        return np.where(done[own], own, np.where(done[same], same, -1)), same

    def before(self, rows: np.ndarray) -> np.ndarray:
        """Which of the rows, bool (n,), a run before has embedded."""
        there: np.ndarray = self._before[rows]
        return there

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows that have one, float32 (n, dim)."""
        assert self.journal.dim is not None  # some row has a vector
        return self.journal.vectors(rows, self.journal.dim)


@contextmanager
def kept_vectors(inputs: Inputs, model: Model, beside: Path, say: Callable[[str], object]) -> Iterator[KeptVectors]:
    """What a run over files keeps beside the collection whose folder is `beside`: one run at a time; gone when one ends well.

    Raises
    ------
    OutputError
        Another run over files is under way into that collection; or it cannot be written.
    """
    beside.parent.mkdir(parents=True, exist_ok=True)
    folder, run = journal_path(beside), described_run(inputs, model)
    differences = _differences(folder, run)
    with Journal(folder, run, inputs.rows, anew=bool(differences)) as journal:
        if differences:
            say(f"vjaccel: what a run that was stopped had left for {beside} is of no use: {'; '.join(differences)}")
        take_in_shards(journal, shards_path(beside), run, anew=bool(differences))
        journal.forget_failures()
        ended = False
        try:
            with SeenTexts(folder / "seen.sqlite", "the same command") as texts:
                yield KeptVectors(journal, texts, beside)
            ended = True
        finally:
            if ended or not (journal.done.any() or shards_path(beside).is_dir()):
                journal.remove()


def kept_before(inputs: Inputs, model: Model, beside: Path) -> np.ndarray:
    """Of which rows, bool (rows,), a run that was stopped has kept the vectors for another like it; nothing is changed."""
    folder = journal_path(beside)
    if _differences(folder, described_run(inputs, model)):
        return np.zeros(inputs.rows, np.bool_)
    return Kept.of(folder, inputs.rows).done


def _differences(folder: Path, run: dict[str, Any]) -> list[str]:
    before = described(folder)
    return [] if before is None else changed(before, json.loads(json.dumps(run)))
