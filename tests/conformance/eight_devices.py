"""What `test_sharded` runs, in a process in which JAX has eight devices. Few shapes: each is compiled for each device."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import vjaccel as vj
from vjaccel.arrays.testing.oracle import answers, awkward, reaching

SPEC = "jax:cpu:0,1,2,3,4,5,6,7"
DEVICES = ["cpu", *(f"cpu:{i}" for i in range(1, 8))]
ROWS, K = 720, 12


def sharded(x: Any, *axes: str | None) -> Any:
    return jax.device_put(x, NamedSharding(Mesh(np.asarray(jax.devices()), ("d",)), PartitionSpec(*axes)))


def parts(corpus: Any) -> list[Any]:
    """Where the rows lie: nothing public says it, since no answer depends on it."""
    found: list[Any] = corpus._held.parts
    return found


def devices(corpus: vj.Corpus) -> list[str]:
    return [part.backend.device for part in parts(corpus)]


def assert_answers(corpus: vj.Corpus, queries: np.ndarray, rows: np.ndarray, mask: np.ndarray | None = None) -> None:
    metric = corpus.metric.value
    found = corpus.topk(queries, K, mask=mask)
    np.testing.assert_array_equal(found.indices, answers(metric, queries, rows, K, mask)[1])


def test_the_devices_are_seen_and_named() -> None:
    assert next(row for row in vj.backends() if row.name == "jax").devices == tuple(DEVICES)
    several = vj.get_backend(" JAX:cpu:0,03 ")
    assert (several.device, several) == ("cpu:0,3", vj.get_backend("jax:cpu:0,3"))
    assert vj.get_backend("jax:cpu:3").device == "cpu:3"


def test_awkward_rows_with_ties_across_all_shards_are_found_as_by_the_oracle() -> None:
    queries, rows = awkward(rows=ROWS)
    corpus = vj.Corpus(rows, metric="dot", backend=SPEC)
    assert devices(corpus) == DEVICES
    assert_answers(corpus, queries, rows)
    generator = np.random.default_rng(1)
    assert_answers(corpus, queries, rows, generator.random(ROWS) < 0.5)
    assert_answers(corpus, queries, rows, generator.random((len(queries), ROWS)) < 0.1)


def test_half_the_rows_being_one_row_come_in_order_and_k_may_be_more_than_a_shard_has() -> None:
    queries, rows = awkward(rows=ROWS)
    rows[::2] = rows[0]
    found = vj.topk(queries, rows, 200, metric="dot", backend=SPEC)
    np.testing.assert_array_equal(found.indices, answers("dot", queries, rows, 200)[1])


def test_a_range_over_shards_is_one_range() -> None:
    queries, rows = awkward(rows=ROWS)
    found = vj.within(queries, rows, 0.5, metric="dot", backend=SPEC)
    expected = reaching("dot", queries, rows, 0.5)
    np.testing.assert_array_equal(found.indices, np.concatenate(expected))
    np.testing.assert_array_equal(np.diff(found.offsets), list(map(len, expected)))


def test_changes_are_made_on_the_device_that_has_the_rows() -> None:
    queries, rows = awkward(rows=ROWS)
    corpus = vj.Corpus(rows, metric="dot", backend=SPEC)
    more = awkward(rows=40, seed=5)[1]
    corpus.add(more)
    corpus.update([0, 100, 719, 730], more[:4])
    rows = np.concatenate([rows, more])
    rows[[0, 100, 719, 730]] = more[:4]
    corpus.remove([1, 300, 650, 755])
    rows = np.delete(rows, [1, 300, 650, 755], axis=0)
    np.testing.assert_array_equal(corpus.backend.to_numpy(corpus.vectors), rows)
    assert_answers(corpus, queries, rows, np.random.default_rng(2).random(len(rows)) < 0.5)
    assert devices(corpus) == DEVICES


def test_fewer_rows_than_devices_take_as_many_and_added_rows_the_next() -> None:
    queries, rows = awkward(rows=ROWS)
    corpus = vj.Corpus(rows[:3], metric="dot", backend=SPEC)
    assert devices(corpus) == DEVICES[:3]
    corpus.add(rows[3:5])
    assert devices(corpus) == DEVICES[:4]
    found = corpus.topk(queries, 5)
    np.testing.assert_array_equal(found.indices, answers("dot", queries, rows[:5], 5)[1])


def test_an_array_sharded_by_rows_is_searched_where_it_lies() -> None:
    queries, rows = awkward(rows=ROWS)
    given = sharded(rows, "d", None)
    corpus = vj.Corpus(given, metric="dot")
    assert corpus.vectors is given
    for part, shard in zip(parts(corpus), given.addressable_shards, strict=True):
        assert part.held.vectors.unsafe_buffer_pointer() == shard.data.unsafe_buffer_pointer()
    assert_answers(corpus, queries, rows)
    one_device = jax.device_put(queries, jax.devices()[0])
    for found in (vj.topk(one_device, given, K, metric="dot"), corpus.topk(one_device, K)):
        assert found.indices.devices() == {jax.devices()[0]}
        np.testing.assert_array_equal(np.asarray(found.indices), answers("dot", queries, rows, K)[1])


def test_an_array_that_all_devices_have_is_searched_in_parts() -> None:
    queries, rows = awkward(rows=ROWS)
    corpus = vj.Corpus(sharded(rows), metric="dot")
    assert [part.held.rows for part in parts(corpus)] == [ROWS // 8] * 8
    assert_answers(corpus, queries, rows)


def test_an_array_sharded_by_columns_is_moved_only_to_a_named_backend() -> None:
    queries, rows = awkward(rows=ROWS)
    given = sharded(rows, None, "d")
    with pytest.raises(vj.InvalidInput, match=f"not by rows alone: shard them by rows, or .* backend='{SPEC}'"):
        vj.Corpus(given, metric="dot")
    assert_answers(vj.Corpus(given, metric="dot", backend=SPEC), queries, rows)


def test_float64_stays_float64_on_every_device() -> None:
    queries, rows = (x.astype(np.float64) for x in awkward(rows=ROWS))
    rows[:8] = rows[8] * (1 + 1e-12 * np.arange(8)[:, None])
    with jax.enable_x64(True):
        corpus = vj.Corpus(rows, metric="dot", backend="jax:cpu:0,1")
        found = corpus.topk(queries, K)
    assert found.values.dtype == np.float64
    np.testing.assert_array_equal(found.indices, answers("dot", queries, rows, K)[1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("jax:cpu:0,0", "names one device twice"),
        ("jax:0,1", "not several as in 'gpu:0,1'"),
        ("jax:cpu:0,", "not several as in 'gpu:0,1'"),
        ("jax:cpu:0,9", "no device 'cpu:9' here"),
    ],
)
def test_devices_that_cannot_be_are_refused(spec: str, message: str) -> None:
    with pytest.raises(vj.VjaccelError, match=message):
        vj.get_backend(spec)
