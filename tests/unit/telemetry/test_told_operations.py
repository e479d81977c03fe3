"""Operations on vectors, of collections and of caches are told to whoever listens, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.telemetry import CacheLookedUp, Called, Happened, heard, listening, running

ROWS = np.eye(4, dtype=np.float32)
CORPUS = vj.Corpus(ROWS, backend="numpy")
CODES = vj.quantize(ROWS, "int8", backend="numpy")


@pytest.fixture
def told() -> Iterator[list[Happened]]:
    found: list[Happened] = []
    with listening(found.append):
        yield found


def called(told: list[Happened]) -> list[tuple[str, str, bool]]:
    events = [each.event for each in told]
    return [(e.operation, e.place, e.failed) for e in events if isinstance(e, Called)]


@pytest.mark.parametrize(
    ("names", "call"),
    [
        (["normalize"], lambda: vj.normalize(ROWS)),
        (["similarity"], lambda: vj.similarity(ROWS, ROWS)),
        (["distance"], lambda: vj.distance(ROWS, ROWS)),
        (["paired_similarity"], lambda: vj.paired_similarity(ROWS, ROWS)),
        (["paired_distance"], lambda: vj.paired_distance(ROWS, ROWS)),
        (["prepare", "topk"], lambda: vj.topk(ROWS, ROWS, k=1)),
        (["topk"], lambda: vj.topk(ROWS, CORPUS, k=1)),
        (["topk"], lambda: vj.topk(ROWS, CODES, k=1)),
        (["within"], lambda: vj.within(ROWS, CORPUS, 0.5)),
        (["pairs"], lambda: vj.pairs(ROWS, k=1)),
        (["quantize"], lambda: vj.quantize(ROWS, "int8")),
        (["prepare"], lambda: vj.Corpus(ROWS)),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, list) else "",
)
def test_an_operation_on_vectors_is_told_once_with_its_backend(
    told: list[Happened], names: list[str], call: Callable[[], object]
) -> None:
    call()
    assert called(told) == [(name, "numpy:cpu", False) for name in names]


def test_the_place_is_the_backend_that_was_named(told: list[Happened]) -> None:
    vj.normalize(ROWS, backend="jax:cpu")
    assert called(told) == [("normalize", "jax:cpu", False)]


def test_changes_of_a_corpus_are_told(told: list[Happened]) -> None:
    corpus = vj.Corpus(ROWS, backend="numpy")
    corpus.add(ROWS[:1])
    corpus.update(0, ROWS[1])
    corpus.remove([0])
    assert [name for name, _, _ in called(told)] == ["prepare", "add", "update", "remove"]


def test_one_that_raises_is_told_as_failed(told: list[Happened]) -> None:
    with pytest.raises(vj.InvalidInput):
        CORPUS.topk(np.ones((1, 3), np.float32))
    assert called(told) == [("topk", "numpy:cpu", True)]


def test_what_an_operation_took_is_told(told: list[Happened]) -> None:
    vj.normalize(ROWS)
    event = told[0].event
    assert isinstance(event, Called)
    assert event.seconds > 0


def test_operations_of_a_collection_in_memory_are_told_and_those_inside_them_are_not(told: list[Happened]) -> None:
    col = vj.Collection("notes", dim=4)
    told.clear()
    col.insert(["a", "b"], ROWS[:2])
    col.upsert(["b"], ROWS[2:3])
    col.update(["a"], metadata=[{"year": 1999}])
    col.search(ROWS[0], k=1)
    col.similarity(ROWS[0])
    col.get(["a"])
    col.delete(["a"])
    col.compact()
    names = ["insert", "upsert", "update", "search", "similarity", "get", "delete", "compact"]
    assert called(told) == [(f"collection.{name}", "memory", False) for name in names]


def test_operations_of_a_collection_on_disk_are_told(told: list[Happened], tmp_path: Path) -> None:
    with vj.Collection.open(tmp_path / "notes", dim=4, create=True) as col:
        told.clear()
        col.insert(["a", "b"], ROWS[:2])
        col.search(ROWS[0], k=1)
        col.compact()
    assert called(told) == [(f"collection.{name}", "disk", False) for name in ("insert", "search", "compact")]


def test_what_the_cache_has_and_has_not_is_told(told: list[Happened]) -> None:
    def lookups() -> tuple[int, int]:
        found = [each.event for each in told if isinstance(each.event, CacheLookedUp)]
        told.clear()
        return sum(event.hits for event in found), sum(event.misses for event in found)

    with vj.Embedder(lambda texts: [[1.0, 2.0]] * len(texts), cache="memory") as embedder:
        embedder.embed(["a", "b"])
        assert lookups() == (0, 2)
        embedder.embed(["a", "c", "d"])
        assert lookups() == (1, 2)


def test_nobody_is_heard_by_after_listening() -> None:
    found: list[Happened] = []
    with listening(found.append):
        assert heard()
    vj.normalize(ROWS)
    assert found == []


def test_a_run_that_goes_on_can_be_asked_and_is_idle_while_nothing_comes_of_it() -> None:
    seen: list[tuple[int, float]] = []

    def embed(texts: list[str]) -> list[list[float]]:
        seen.extend((run.stages.at_work, run.idle) for run in running() if run.model.endswith("embed"))
        return [[1.0, 2.0]] * len(texts)

    with vj.Embedder(embed) as embedder:
        for result in embedder.stream(["a", "b"]):
            (run,) = [run for run in running() if run is result.recording]
            assert run.idle == 0.0  # all that was read is settled
    assert [at_work for at_work, _ in seen] == [1]
    assert seen[0][1] >= 0.0
    assert [run for run in running() if run.model.endswith("embed")] == []
