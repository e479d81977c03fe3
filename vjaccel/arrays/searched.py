"""What a call searches: a corpus that it was given, or one made of rows; and what contradicts one."""

from __future__ import annotations

from vjaccel.arrays.corpus import Corpus
from vjaccel.arrays.dispatch import choose
from vjaccel.arrays.protocol import Backend, Metric
from vjaccel.errors import InvalidInput

__all__ = ["contradiction", "same_place", "searched"]


def contradiction(metric: str | Metric | None, corpus: Corpus) -> None:
    """Refuse a metric that is not the corpus' own.

    Raises
    ------
    InvalidInput
    """
    if metric is not None and metric != corpus.metric:
        raise InvalidInput(
            f"metric={str(metric)!r} contradicts the corpus, which was prepared for {corpus.metric.value!r}"
        )


def searched(
    operation: str, queries: object, corpus: object, metric: str | Metric | None, backend: str | Backend | None
) -> Corpus:
    """What a search of `corpus` searches: itself, or a corpus made of its rows where the call computes.

    Raises
    ------
    InvalidInput
        A metric or a backend that contradicts a corpus' own.
    """
    if not isinstance(corpus, Corpus):
        chosen = choose(backend, {"queries": queries, "corpus": corpus}, operation).backend
        return Corpus(corpus, metric=Metric.COSINE if metric is None else metric, backend=chosen)
    contradiction(metric, corpus)
    same_place(queries, corpus.backend, backend)
    return corpus


def same_place(queries: object, place: Backend, backend: str | Backend | None) -> None:
    """Refuse a backend that is not the one a corpus is on.

    Raises
    ------
    InvalidInput
    """
    if backend is not None and choose(backend, {"queries": queries}).backend is not place:
        raise InvalidInput(
            f"backend={str(backend)!r} contradicts the corpus, which is on '{place.name}:{place.device}'"
        )
