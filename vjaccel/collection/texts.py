"""Texts in a collection: embedded by the model whose vectors it has, and by no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vjaccel.collection.changes import OnError, check_on_error, put
from vjaccel.collection.judging import judged, sequence
from vjaccel.collection.results import BatchResult
from vjaccel.collection.store import Store
from vjaccel.embedding import Embedder, ModelIdentity
from vjaccel.embedding.result import ItemError
from vjaccel.errors import CollectionErrors, InvalidInput, InvalidType

__all__ = ["TEXT", "Texts", "check_model", "model_of"]

TEXT = "text"
"""The metadata key that a text is kept under."""


class Texts:
    """The embedder of a collection; one that was named is this collection's to close.

    Raises
    ------
    InvalidType, InvalidInput
    """

    def __init__(self, embedder: str | Embedder) -> None:
        if not isinstance(embedder, str | Embedder):
            raise InvalidType(
                f"embedder is an Embedder, or a model as in 'local:all-MiniLM-L6-v2', not {type(embedder).__name__}"
            )
        self._mine = isinstance(embedder, str)
        self._embedder = Embedder(embedder) if isinstance(embedder, str) else embedder
        self.model = model_of(self._embedder.identity)

    def dim(self, given: int | None) -> int | None:
        """The width of the model's vectors, `given` where it does not know.

        Raises
        ------
        InvalidInput
            They are of another width.
        """
        known = self._embedder.dim
        if None not in (given, known) and given != known:
            raise InvalidInput(f"dim={given} contradicts the embedder, whose vectors have {known} numbers")
        return given if known is None else known

    def queries(self, texts: str | list[str]) -> np.ndarray:
        """The vectors of queries, (n, dim).

        Raises
        ------
        EmbeddingErrors
        """
        return np.asarray(self._embedder.embed_query(texts).embeddings)

    def add(self, store: Store, ids: object, texts: object, metadata: object, on_error: OnError) -> BatchResult:
        """Embed texts and insert them, each under the metadata key ``text`` too."""
        names, given = sequence("ids", ids), sequence("texts", texts)
        about = [None] * len(names) if metadata is None else sequence("metadata", metadata)
        if not len(names) == len(given) == len(about):
            raise InvalidInput(
                f"there are {len(names)} ids, {len(given)} texts and {len(about)} dicts of metadata; they must be as many"
            )
        check_on_error(on_error)
        errors: dict[int, ItemError] = {}

        def refuse(place: int, code: str, message: str) -> None:
            name = names[place]
            errors[place] = ItemError(place, code, message, name if isinstance(name, str) and name else None)

        for place, (text, row) in enumerate(zip(given, about, strict=True)):
            if not isinstance(text, str):
                refuse(place, "INVALID_TEXT", f"a text is a str, not {type(text).__name__}")
            elif isinstance(row, Mapping) and TEXT in row:
                refuse(place, "INVALID_METADATA", f"the metadata key {TEXT!r} is where the text itself is kept")
        places = [place for place in range(len(names)) if place not in errors]
        kept = [
            {TEXT: given[i], **(about[i] or {})} if isinstance(about[i], Mapping | None) else about[i] for i in places
        ]
        with store.reading() as view:  # embedding costs: what can be known without is found first
            version = view.version
            rows = judged(
                [names[i] for i in places], None, kept, dim=store.description.dim, columns=dict(view.columns),
                view=view, existing="refused",
            )  # fmt: skip
        for number, error in rows.errors.items():
            refuse(places[number], error.code, error.message)
        if errors and on_error == "raise":
            raise CollectionErrors(_result((), errors, version), len(names))
        places = [places[number] for number in rows.places.tolist()]
        done = self._embedder.embed_document([given[place] for place in places], on_error="collect")
        for failure in done.errors:
            refuse(places[failure.index], failure.code, failure.message)
        if errors and on_error == "raise":
            raise CollectionErrors(_result((), errors, version), len(names))
        good = [place for place in places if place not in errors]
        try:
            result = put(
                store, [names[i] for i in good], np.asarray(done.embeddings)[done.ok].reshape(len(good), -1)
                if good else np.empty((0, store.description.dim)),
                [{TEXT: given[i], **(about[i] or {})} for i in good], "refused", on_error,
            )  # fmt: skip
        except CollectionErrors as exc:
            exc.result = _result(
                (), {good[e.index]: replace(e, index=good[e.index]) for e in exc.result.errors}, version
            )
            raise
        errors |= {good[e.index]: replace(e, index=good[e.index]) for e in result.errors}
        return _result(result.ok, errors, result.version)

    def close(self) -> None:
        """Let go of an embedder that is the collection's own."""
        if self._mine:
            self._embedder.close()


def model_of(identity: ModelIdentity) -> dict[str, Any]:
    """What a collection keeps of the model whose vectors it has.

    Raises
    ------
    InvalidInput
        They are codes.
    """
    if identity.precision != "float32":
        raise InvalidInput(f"a collection has float32 vectors, and the model's precision is {identity.precision!r}")
    return identity.to_dict()


def check_model(where: str, kept: dict[str, Any] | None, asked: dict[str, Any]) -> None:
    """Refuse a model that is not the one whose vectors a collection has.

    Raises
    ------
    InvalidInput
    """
    if kept is None:
        raise InvalidInput(
            f"{where} does not say which model its vectors are of, so none may be mixed with them: it takes vectors, "
            "and no texts"
        )
    # Of some remote models the width shows in the first vector alone; it is compared as that of the collection.
    other = [
        f"{key} {kept.get(key)!r} and not {value!r}"
        for key, value in asked.items()
        if kept.get(key) != value and key != "dimensions"
    ]
    if other:
        raise InvalidInput(f"the vectors of {where} are of another model: {', '.join(other)}")


def _result(ok: tuple[str, ...], errors: dict[int, ItemError], version: int) -> BatchResult:
    return BatchResult(ok, tuple(errors[place] for place in sorted(errors)), version)
