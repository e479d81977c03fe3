"""Collections over several datasets: where rows are, shards that are down, and what is said of folders of another kind."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.collection import open_collection
from vjaccel.collection.sharded.placing import places

pytest.importorskip("lance", reason="the extra store is not installed")

DIM, SHARDS, ROWS = 4, 4, 100
IDS = [f"r{i}" for i in range(ROWS)]
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
ABOUT = [{"year": 1900 + i, "tags": ["a"] if i % 2 else ["b", "c"]} for i in range(ROWS)]
DOWN = 2


def filled(folder: Path, **options: Any) -> vj.ShardedCollection:
    col = vj.ShardedCollection.open(folder, DIM, shards=SHARDS, create=True, **options)
    assert col.insert(IDS, VECTORS, ABOUT).ok == tuple(IDS)
    return col


@pytest.fixture
def col(tmp_path: Path) -> Iterator[vj.ShardedCollection]:
    with filled(tmp_path / "col") as made:
        yield made


@pytest.fixture
def halved(col: vj.ShardedCollection, tmp_path: Path) -> vj.ShardedCollection:
    """One of whose shards the files are away."""
    (tmp_path / "col" / f"shard-{DOWN:04d}").rename(tmp_path / "away")
    return col


def of_shard(number: int) -> list[str]:
    return [name for name, place in zip(IDS, places(IDS, SHARDS).tolist(), strict=True) if place == number]


def test_rows_are_spread_evenly_and_those_that_move_go_to_the_new_shards_alone() -> None:
    ids = [f"id-{i}" for i in range(20_000)]
    before, after = places(ids, 4), places(ids, 6)
    assert (np.bincount(before) > 4_500).all()
    moved = before != after
    assert set(after[moved].tolist()) == {4, 5}
    assert 0.30 < moved.mean() < 0.36


def jump(key: int, buckets: int) -> int:
    """As the paper has it."""
    found, following = -1, 0
    while following < buckets:
        found = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((found + 1) * (2**31 / ((key >> 33) + 1)))
    return found


@pytest.mark.parametrize("shards", [1, 2, 7, 1000])
def test_where_an_id_is_never_changes(shards: int) -> None:
    ids = [*IDS, "é", "", "-- x"]
    keys = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in ids]
    assert places(ids, shards).tolist() == [jump(key, shards) for key in keys]


def test_each_row_is_in_the_shard_of_its_id_and_what_is_there_is_there_when_opened_anew(
    col: vj.ShardedCollection, tmp_path: Path
) -> None:
    assert [state.rows for state in col.shards()] == [len(of_shard(number)) for number in range(SHARDS)]
    col.close()
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        assert len(again) == ROWS
        assert again.get(IDS[::-1]).ids == tuple(IDS[::-1])
        assert again.get(["r3", "nobody", "r3"]).ids == ("r3", "r3")
        assert {row for rows in again.iter_batches(7) for row in rows.ids} == set(IDS)
        assert again.metric == "cosine"
        assert list(again.columns) == ["year", "tags"]


def test_errors_of_rows_have_the_places_of_the_call(col: vj.ShardedCollection) -> None:
    done = col.insert(
        ["n0", "r7", "n1", "", "n0", "n2"], [*VECTORS[:5], [1.0]], [{}, {}, {"year": "text"}, {}, {}, {}]
    )  # fmt: skip
    assert [(error.index, error.code) for error in done.errors] == [
        (1, "ALREADY_EXISTS"), (2, "INVALID_METADATA"), (3, "INVALID_VECTOR_ID"), (4, "DUPLICATE_ID"),
        (5, "DIMENSION_MISMATCH"),
    ]  # fmt: skip
    assert done.ok == ("n0",)
    assert done.version == col.version


def test_with_raise_nothing_is_changed_in_any_shard(col: vj.ShardedCollection) -> None:
    version = col.version
    with pytest.raises(vj.CollectionErrors):
        col.delete([*IDS[:50], "nobody"], on_error="raise")
    assert (len(col), col.version) == (ROWS, version)


def test_a_filter_names_a_column_that_few_rows_have_in_all_shards(col: vj.ShardedCollection) -> None:
    col.update(["r5"], metadata=[{"rare": 1.5}])
    assert [hit.id for hit in col.search(VECTORS[5], ROWS, where="rare > 1")] == ["r5"]
    assert col.count("rare IS NULL") == ROWS - 1
    assert set(col.delete(where="year < 1950").ok) == set(IDS[:50])
    with pytest.raises(
        vj.InvalidInput, match=r"cannot be used at position 0: .*; the columns are id, year, tags, rare"
    ):
        col.search(VECTORS[5], where="yeer > 1")


def test_it_can_be_compacted_and_goes_on(col: vj.ShardedCollection) -> None:
    for turn in range(5):
        col.upsert(IDS[:40], VECTORS[:40] + turn)
    found = col.search(VECTORS[:3])
    col.compact()
    assert col.search(VECTORS[:3]) == found
    assert col.upsert(["new"], VECTORS[:1]).ok == ("new",)
    assert len(col) == ROWS + 1


def test_a_search_sees_a_change_of_all_shards_or_none_of_it(col: vj.ShardedCollection) -> None:
    """A writer gives all rows one number, again and again; who reads meanwhile never finds two."""
    done = threading.Event()

    def write() -> None:
        for turn in range(12):
            col.upsert(IDS, np.full((ROWS, DIM), 1.0 + turn), [{"year": turn}] * ROWS)
        done.set()

    writer = threading.Thread(target=write)
    col.upsert(IDS, np.ones((ROWS, DIM)), [{"year": 0}] * ROWS)
    writer.start()
    try:
        while not done.is_set():
            hits = col.search(np.ones(DIM), ROWS, include=("metadata", "vectors"))
            assert [hit.id for hit in hits] == IDS
            assert len({(hit.metadata["year"], float(hit.vector[0])) for hit in hits}) == 1
    finally:
        writer.join()


# Shards that are down


def test_a_shard_that_is_down_is_an_error_that_names_it_and_why(halved: vj.ShardedCollection, tmp_path: Path) -> None:
    with pytest.raises(
        vj.ShardUnavailable, match=f"shard {DOWN} is not available: there is no dataset at {tmp_path}"
    ) as e:
        halved.search(VECTORS[0])
    assert e.value.shard == DOWN
    with pytest.raises(vj.ShardUnavailable):
        len(halved)
    assert [state.rows is None for state in halved.shards()] == [number == DOWN for number in range(SHARDS)]
    assert "there is no dataset" in str(halved.shards()[DOWN].reason)


def test_a_partial_search_says_who_has_answered(halved: vj.ShardedCollection) -> None:
    found = halved.search(VECTORS[0], ROWS, partial=True)
    assert {hit.id for hit in found.hits} == set(IDS) - set(of_shard(DOWN))
    assert found.answered == tuple(number for number in range(SHARDS) if number != DOWN)
    assert list(found.missing) == [DOWN]
    both = halved.search(VECTORS[:2], 3, partial=True)
    assert [len(hits) for hits in both.hits] == [3, 3]


def test_a_partial_search_of_all_shards_is_the_whole_one(col: vj.ShardedCollection) -> None:
    found = col.search(VECTORS[0], 7, partial=True)
    assert found.hits == col.search(VECTORS[0], 7)
    assert (found.answered, found.missing) == (tuple(range(SHARDS)), {})


def test_rows_of_a_shard_that_is_down_are_errors_and_the_others_are_written(halved: vj.ShardedCollection) -> None:
    down, there = of_shard(DOWN)[:3], of_shard(0)[:3]
    ids = [down[0], there[0], down[1], there[1]]
    done = halved.update(ids, np.ones((4, DIM)))
    assert done.ok == (there[0], there[1])
    assert [(error.index, error.id, error.code) for error in done.errors] == [
        (0, down[0], "SHARD_UNAVAILABLE"), (2, down[1], "SHARD_UNAVAILABLE"),
    ]  # fmt: skip
    assert halved.delete([there[0], down[0]]).ok == (there[0],)
    assert halved.get([there[1]]).vectors.tolist() == [[1.0] * DIM]
    with pytest.raises(vj.CollectionErrors):
        halved.delete([there[1], down[0]], on_error="raise")
    assert halved.get([there[1]]).ids == (there[1],)


def test_a_new_metadata_key_needs_all_shards(halved: vj.ShardedCollection) -> None:
    here = of_shard(0)
    done = halved.update(here[:2], metadata=[{"year": 1}, {"mood": "new"}])
    assert done.ok == (here[0],)
    assert done.errors[0].code == "SHARD_UNAVAILABLE"
    assert "new metadata key" in done.errors[0].message
    assert "mood" not in halved.columns


def test_a_shard_that_comes_back_is_used_again(halved: vj.ShardedCollection, tmp_path: Path) -> None:
    halved.delete(of_shard(0))
    (tmp_path / "away").rename(tmp_path / "col" / f"shard-{DOWN:04d}")
    assert len(halved) == ROWS - len(of_shard(0))
    assert len(halved.search(VECTORS[0], ROWS)) == len(halved)
    assert halved.update(of_shard(DOWN)[:1], np.ones((1, DIM))).errors == ()


def test_files_of_a_shard_that_are_damaged_are_said(col: vj.ShardedCollection, tmp_path: Path) -> None:
    col.close()
    shutil.rmtree(tmp_path / "col" / f"shard-{DOWN:04d}" / "data")
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        with pytest.raises(
            vj.ShardUnavailable, match=f"shard {DOWN} is not available: the dataset at .* cannot be read"
        ):
            again.search(VECTORS[0])
        assert list(again.search(VECTORS[0], partial=True).missing) == [DOWN]


def test_a_shard_that_goes_while_it_is_gone_through_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANCE_DEFAULT_IO_BUFFER_SIZE", "1000000")  # so much is read ahead
    rows = np.random.default_rng(5).standard_normal((40_000, 256)).astype(np.float32)
    with vj.ShardedCollection.open(tmp_path / "col", 256, shards=1, create=True, durability="process") as col:
        for some in np.split(np.arange(len(rows)), 10):
            col.insert([f"r{i}" for i in some], rows[some])
        batches = col.iter_batches(100)
        next(batches)
        for path in (tmp_path / "col" / "shard-0000" / "data").iterdir():
            path.write_bytes(b"")
        for again in (lambda: sum(map(len, batches)), lambda: col.similarity(rows[0])):
            with pytest.raises(vj.ShardUnavailable, match=r"shard 0 is not available: .* cannot be read"):
                again()
        shutil.rmtree(tmp_path / "col" / "shard-0000")
        for again in (lambda: col.iter_batches(100), lambda: col.similarity(rows[0])):
            with pytest.raises(vj.ShardUnavailable, match="shard 0 is not available: there is no dataset at"):
                again()


# What did not come to its end


def test_a_change_that_some_shards_have_made_and_the_collection_has_not_is_undone(
    col: vj.ShardedCollection, tmp_path: Path
) -> None:
    """As after a kill between the last shard and the manifest."""
    before = (tmp_path / "col" / "shards.json").read_bytes()
    found = col.search(VECTORS[:2], ROWS)
    col.delete(IDS[:60])
    col.insert(["lost"], VECTORS[:1], [{"lost": "too"}])
    col.close()
    (tmp_path / "col" / "shards.json").write_bytes(before)
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        assert again.search(VECTORS[:2], ROWS) == found
        assert again.insert(["lost"], VECTORS[:1], [{"year": 7}]).ok == ("lost",)
        again.upsert(IDS[:50], VECTORS[:50], ABOUT[:50])
        assert len(again) == ROWS + 1
        assert [hit.id for hit in again.search(VECTORS[0], 2)] == ["r0", "lost"]
        assert list(again.columns) == ["year", "tags"]
    with vj.ShardedCollection.open(tmp_path / "col") as again:
        assert {row for rows in again.iter_batches() for row in rows.ids} == {*IDS, "lost"}


# Opening


def test_what_is_no_sharded_collection_is_said(col: vj.ShardedCollection, tmp_path: Path) -> None:
    with pytest.raises(vj.FileFormatError, match=r"is a sharded collection: open it with vj\.ShardedCollection\.open"):
        vj.Collection.open(tmp_path / "col")
    with pytest.raises(vj.FileFormatError, match="is a shard of a collection: open the folder above it"):
        vj.Collection.open(tmp_path / "col" / "shard-0001")
    vj.Collection.open(tmp_path / "one", DIM, create=True).close()
    with pytest.raises(vj.FileFormatError, match="is a collection that is not sharded"):
        vj.ShardedCollection.open(tmp_path / "one", DIM, shards=2, create=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "some.txt").touch()
    with pytest.raises(vj.FileFormatError, match="has files, and no collection"):
        vj.ShardedCollection.open(tmp_path / "files", DIM, shards=2, create=True)
    with pytest.raises(vj.FileFormatError, match="is a file; a sharded collection is a folder"):
        vj.ShardedCollection.open(tmp_path / "files" / "some.txt", DIM, shards=2, create=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shards": 3}, "shards=3 contradicts the collection at .*, which has 4; reshard adds some"),
        ({"dim": 3}, "dim=3 contradicts the collection"),
        ({"metric": "dot"}, "metric='dot' contradicts the collection at .*, whose metric is 'cosine'"),
        ({"shards": 0}, "shards must be at least 1, not 0"),
        ({"memory_limit": -1}, "memory_limit is a number of bytes"),
        ({"durability": "much"}, "durability 'much' is neither"),
        ({"on": "mars"}, "on='mars' is neither 'threads' nor 'ray'"),
        ({"address": "auto"}, "address is that of a Ray cluster: it needs on='ray'"),
    ],
)
def test_options_that_contradict_what_is_there_are_refused(
    col: vj.ShardedCollection, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        vj.ShardedCollection.open(tmp_path / "col", **options)


def test_a_new_one_needs_to_know_its_width_and_its_shards(tmp_path: Path) -> None:
    with pytest.raises(vj.InvalidInput, match="there is no sharded collection at"):
        vj.ShardedCollection.open(tmp_path / "none", DIM, shards=2)
    with pytest.raises(vj.InvalidInput, match="needs shards"):
        vj.ShardedCollection.open(tmp_path / "none", DIM, create=True)
    with pytest.raises(vj.InvalidInput, match="needs dim"):
        vj.ShardedCollection.open(tmp_path / "none", shards=2, create=True)
    with pytest.raises(vj.InvalidInput, match="is in a local folder"):
        vj.ShardedCollection.open("s3://bucket/notes", DIM, shards=2, create=True)
    with pytest.raises(vj.InvalidInput, match=r"ShardedCollection\.open opens or makes it"):
        vj.ShardedCollection("notes", DIM)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}'])
def test_a_manifest_that_is_damaged_is_said(col: vj.ShardedCollection, tmp_path: Path, content: str) -> None:
    (tmp_path / "col" / "shards.json").write_text(content)
    with pytest.raises(vj.FileFormatError, match=r"shards\.json is damaged"):
        vj.ShardedCollection.open(tmp_path / "col")


def test_a_manifest_of_a_newer_format_is_said(col: vj.ShardedCollection, tmp_path: Path) -> None:
    path = tmp_path / "col" / "shards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(vj.FileFormatError, match=r"has format 99, and this vjaccel reads 1"):
        vj.ShardedCollection.open(tmp_path / "col")


def test_a_collection_is_opened_as_what_it_is(col: vj.ShardedCollection, tmp_path: Path) -> None:
    with open_collection(tmp_path / "col") as found:
        assert isinstance(found, vj.ShardedCollection)
    with open_collection(tmp_path / "one", DIM, create=True) as made:
        assert type(made) is vj.Collection
    assert vj.ShardedCollection.exists(tmp_path / "col")
    assert not vj.ShardedCollection.exists(tmp_path / "none")


def test_one_version_is_kept_and_a_closed_one_refuses_every_call(col: vj.ShardedCollection) -> None:
    assert [version.number for version in col.versions()] == [col.version]
    with pytest.raises(vj.InvalidInput, match="keeps none but the one it is"):
        col.checkout(1)
    version = col.version
    with vj.ShardedCollection.open(col.name) as other:
        other.upsert(IDS[:1], VECTORS[:1], ABOUT[:1])
    with col.checkout(version) as then:
        found = then.search(VECTORS[:3])
        col.delete(IDS[:50])
        col.insert(["new"], VECTORS[:1])
        assert then.search(VECTORS[:3]) == found
        assert {name for rows in then.iter_batches() for name in rows.ids} == set(IDS)
        with pytest.raises(vj.InvalidInput, match="can be read only"):
            then.delete(IDS[:1])
    assert len(col) == ROWS - 50 + 1
    col.close()
    col.close()
    with pytest.raises(vj.InvalidInput, match="this collection is closed"):
        col.search(VECTORS[0], partial=True)
