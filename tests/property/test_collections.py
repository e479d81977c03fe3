"""A collection, changed and asked in ways that nobody thought of, against a dict: in memory and on disk alike."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import vjaccel as vj
from vjaccel.arrays.testing.oracle import METRICS

DIM = 3
IDS = st.lists(st.sampled_from([*"abcdefghij", "a'b", "é", "-- x", "`", ""]), max_size=8)
NUMBERS = st.integers(-2, 2)
VECTOR = st.lists(NUMBERS, min_size=DIM, max_size=DIM)
VECTORS = st.one_of(st.none(), st.just([]), st.just([float("nan")] * DIM), st.just([1.0]), VECTOR, VECTOR, VECTOR)
METADATA = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "year": st.one_of(st.none(), st.integers(0, 3), st.just("text")),
            "lang": st.one_of(st.none(), st.sampled_from(["en", "d'e", ""])),
            "share": st.one_of(st.integers(0, 2), st.floats(-1, 1)),
            "tags": st.lists(st.sampled_from("xy"), max_size=2),
            "_hidden": st.just(1),
        },
    ),
)
FILTERS = {
    "year > 1": lambda name, m: (m.get("year") or 0) > 1,
    "lang = 'd''e' OR year IS NULL": lambda name, m: m.get("lang") == "d'e" or m.get("year") is None,
    "id IN ('a', 'c', 'é')": lambda name, m: name in ("a", "c", "é"),
    "share < 0.5": lambda name, m: "share" in m and m["share"] < 0.5,
    "array_has(tags, 'x')": lambda name, m: "x" in m.get("tags", ()),
}  # fmt: skip
COLUMNS = {"year": 3, "lang": "en", "share": 0.25, "tags": ["y"]}
KINDS = {"year": int, "lang": str, "share": (int, float), "tags": list}


def good_vector(vector: Any) -> bool:
    return vector is not None and len(vector) == DIM and not np.isnan(vector).any()


def good_metadata(metadata: Any) -> bool:
    return all(
        value is None or (key in KINDS and isinstance(value, KINDS[key])) for key, value in (metadata or {}).items()
    )


class Calls(RuleBasedStateMachine):
    """`col`, and `rows`: what it should have, in order."""

    def opened(self, metric: str) -> vj.Collection:
        return vj.Collection("model", dim=DIM, metric=metric)

    @initialize(metric=st.sampled_from(METRICS))
    def make(self, metric: str) -> None:
        self.rows: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
        self.col = self.opened(metric)
        # So that every filter names columns that there are.
        self.apply("insert", ["first"], [[1.0, 0.0, 0.0]], [COLUMNS], "collect")

    def apply(self, change: str, ids: list[str], vectors: Any, metadata: Any, on_error: str) -> None:
        """The change on both, where they must agree which rows are good."""
        good, seen = [], set()
        for place, name in enumerate(ids):
            if not name or name in seen or (vectors is not None and not good_vector(vectors[place])):
                continue
            seen.add(name)
            there = name in self.rows
            fits = {"insert": not there, "upsert": True}.get(change, there)
            if fits and (metadata is None or good_metadata(metadata[place])):
                good.append(place)
        call = getattr(self.col, change)
        arguments = (ids,) if change == "delete" else (ids, vectors, metadata)
        if on_error == "raise" and len(good) < len(ids):
            with pytest.raises(vj.CollectionErrors) as caught:
                call(*arguments, on_error="raise")
            assert len(caught.value.result.errors) == len(ids) - len(good)
            return
        result = call(*arguments, on_error=on_error)
        assert result.ok == tuple(ids[place] for place in good)
        assert [error.index for error in result.errors] == [i for i in range(len(ids)) if i not in good]
        for place in good:
            name = ids[place]
            given = {} if metadata is None else metadata[place] or {}
            if change == "delete":
                del self.rows[name]
                continue
            vector, values = self.rows.get(name, (None, {}))
            merged = {**values, **given} if change == "update" else given
            whole = {key: value for key, value in merged.items() if value is not None}
            self.rows[name] = (vector if vectors is None else np.array(vectors[place], np.float32), whole)

    @rule(
        change=st.sampled_from(["insert", "upsert", "update"]), ids=IDS, on_error=st.sampled_from(["collect", "raise"]),
        data=st.data(),
    )  # fmt: skip
    def put(self, change: str, ids: list[str], on_error: str, data: Any) -> None:
        sized = {"min_size": len(ids), "max_size": len(ids)}
        vectors = data.draw(st.lists(VECTORS, **sized))
        metadata = data.draw(st.one_of(st.none(), st.lists(METADATA, **sized)))
        if change == "update" and metadata is not None and data.draw(st.booleans()):
            vectors = None
        self.apply(change, ids, vectors, metadata, on_error)

    @rule(count=st.integers(1, 40), start=st.integers(0, 60))
    def insert_many(self, count: int, start: int) -> None:
        ids = [f"m{i}" for i in range(start, start + count)]
        rows = np.random.default_rng(start).integers(-2, 3, (count, DIM)).astype(np.float32)
        self.apply("insert", ids, rows, None, "collect")

    @rule(ids=IDS, on_error=st.sampled_from(["collect", "raise"]))
    def delete(self, ids: list[str], on_error: str) -> None:
        self.apply("delete", ids, None, None, on_error)

    @rule(where=st.sampled_from(list(FILTERS)))
    def delete_where(self, where: str) -> None:
        gone = [name for name, (_, m) in self.rows.items() if FILTERS[where](name, m)]
        assert set(self.col.delete(where=where).ok) == set(gone)
        for name in gone:
            del self.rows[name]

    @rule(query=VECTOR, k=st.integers(1, 12), where=st.sampled_from([None, *FILTERS]))
    def search(self, query: list[int], k: int, where: str | None) -> None:
        names = [name for name, (_, m) in self.rows.items() if where is None or FILTERS[where](name, m)]
        found = self.col.search([query, [1, 1, 1]], k, where=where, include=("vectors", "metadata"))
        stacked = np.array([self.rows[name][0] for name in names], np.float32).reshape(-1, DIM)
        best = vj.topk(np.array([query, [1, 1, 1]]), stacked, k, metric=self.col.metric)
        for hits, indices, values in zip(found, best.indices, best.values, strict=True):
            assert [hit.id for hit in hits] == [names[i] for i in indices]
            np.testing.assert_array_equal([hit.score for hit in hits], values)
            for hit in hits:
                np.testing.assert_array_equal(hit.vector, self.rows[hit.id][0])
                assert hit.metadata == self.rows[hit.id][1]

    @rule(where=st.sampled_from(list(FILTERS)))
    def count(self, where: str) -> None:
        assert self.col.count(where) == sum(FILTERS[where](name, m) for name, (_, m) in self.rows.items())

    @rule()
    def compact(self) -> None:
        self.col.compact()

    @rule(where=st.sampled_from([None, *FILTERS]))
    def go_through(self, where: str | None) -> None:
        found = [name for rows in self.col.iter_batches(7, where=where) for name in rows.ids]
        expected = [name for name, (_, m) in self.rows.items() if where is None or FILTERS[where](name, m)]
        assert sorted(found) == sorted(expected)

    @invariant()
    def it_has_what_the_model_has(self) -> None:
        found = self.col.get(["nobody", *self.rows])
        assert len(self.col) == len(self.rows)
        assert found.ids == tuple(self.rows)
        assert found.metadata == tuple(metadata for _, metadata in self.rows.values())
        np.testing.assert_array_equal(found.vectors.reshape(-1), [x for v, _ in self.rows.values() for x in v])


class CallsOnDisk(Calls):
    """The same in a folder, which is opened anew now and then."""

    def opened(self, metric: str) -> vj.Collection:
        self.folder = Path(tempfile.mkdtemp(prefix="vjaccel-collection-"))
        return vj.Collection.open(self.folder / "model", dim=DIM, metric=metric, create=True, durability="process")

    @rule()
    def open_anew(self) -> None:
        self.col.close()
        self.col = vj.Collection.open(self.folder / "model", durability="process")

    @rule()
    def check_out(self) -> None:
        version = self.col.version
        with self.col.checkout(version) as then:
            assert then.get(list(self.rows)).ids == tuple(self.rows)

    @rule(query=VECTOR, where=st.sampled_from([None, *FILTERS]))
    def stream(self, query: list[int], where: str | None) -> None:
        """A search that may hold nothing, from disk, finds what one in memory does."""
        with vj.Collection.open(self.folder / "model", memory_limit=0) as streamed:
            assert streamed.search(query, 9, where=where) == self.col.search(query, 9, where=where)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.col.close()
            shutil.rmtree(self.folder)


TestInMemory = Calls.TestCase
TestInMemory.settings = settings(
    max_examples=40, stateful_step_count=15, derandomize=True, deadline=None, database=None
)
TestOnDisk = CallsOnDisk.TestCase
TestOnDisk.settings = settings(max_examples=12, stateful_step_count=15, derandomize=True, deadline=None, database=None)
