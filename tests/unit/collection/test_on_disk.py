"""Collections on disk: opened again, brought up to date, searched beyond what may be held, read as they were."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

lance = pytest.importorskip("lance", reason="the extra store is not installed")

DIM = 8


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Small whole numbers, so that many scores are equal."""
    return np.random.default_rng(seed).integers(-2, 3, (count, DIM)).astype(np.float32)


def names(start: int, stop: int) -> list[str]:
    return [f"r{i}" for i in range(start, stop)]


def made(folder: Path, **options: Any) -> vj.Collection:
    return vj.Collection.open(folder / "col", dim=DIM, create=True, **options)


def test_a_collection_that_is_opened_again_knows_its_width_metric_rows_and_kinds(tmp_path: Path) -> None:
    with made(tmp_path, metric="euclidean") as col:
        col.insert(["a", "b"], rows(2), [{"year": 1999}, {"tags": ["x"]}])
    with vj.Collection.open(tmp_path / "col") as again:
        assert (again.dim, again.metric, len(again)) == (DIM, "euclidean", 2)
        assert again.get(["b", "a"]).metadata == ({"tags": ["x"]}, {"year": 1999})
        assert [error.code for error in again.upsert(["a"], rows(1), [{"year": "text"}]).errors] == ["INVALID_METADATA"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": 9}, vj.InvalidInput, r"dim=9 contradicts the collection at .*, whose dim is 8$"),
        ({"metric": "dot"}, vj.InvalidInput, "metric='dot' contradicts .*, whose metric is 'cosine'"),
        ({"durability": "never"}, vj.InvalidInput, "durability 'never' is neither"),
        ({"memory_limit": -1}, vj.InvalidInput, "memory_limit is a number of bytes"),
        ({"backend": "nothing"}, vj.UnknownBackend, "nothing"),
    ],
)
def test_what_contradicts_a_collection_that_is_there_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    made(tmp_path).close()
    with pytest.raises(error, match=message):
        vj.Collection.open(tmp_path / "col", **options)


def test_what_is_no_collection_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(vj.InvalidInput, match=r"there is no collection at .*col; create=True makes one"):
        vj.Collection.open(tmp_path / "col", dim=DIM)
    with pytest.raises(vj.InvalidInput, match="needs dim"):
        vj.Collection.open(tmp_path / "col", create=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(vj.FileFormatError, match="is a file"):
        vj.Collection.open(tmp_path / "file", dim=DIM, create=True)
    with pytest.raises(vj.FileFormatError, match="has files, and no collection"):
        vj.Collection.open(tmp_path, dim=DIM, create=True)
    import pyarrow as pa

    lance.write_dataset(pa.table({"x": [1]}), str(tmp_path / "other"))
    with pytest.raises(vj.FileFormatError, match="no collection of vjaccel's"):
        vj.Collection.open(tmp_path / "other", dim=DIM, create=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


def test_what_a_creation_that_was_killed_leaves_is_no_obstacle(tmp_path: Path) -> None:
    made(tmp_path / "whole").close()
    left = tmp_path / "col"
    shutil.copytree(tmp_path / "whole" / "col", left)
    for manifest in (left / "_versions").iterdir():
        manifest.unlink()
    assert not vj.Collection.exists(left)
    with vj.Collection.open(left, dim=DIM, create=True) as col:
        col.insert(["a"], [[1.0] * DIM])
    assert len(vj.Collection.open(left)) == 1


def test_a_search_beyond_the_memory_limit_finds_what_one_within_it_does(tmp_path: Path) -> None:
    col = made(tmp_path, durability="process")
    for start in range(0, 3000, 500):
        col.insert(names(start, start + 500), rows(500, start), [{"year": i % 40} for i in range(500)])
    # Rows in files far from where their numbers are, and gaps.
    col.upsert(names(100, 160), rows(60, 1), [{"year": 5}] * 60)
    col.delete(names(1000, 1400))
    col.update(names(2000, 2100), rows(100, 2))
    queries = rows(5, 3)
    with vj.Collection.open(tmp_path / "col", memory_limit=0) as streamed:
        for where in (None, "year = 5", "year < 30", "id = 'r2050'", "year > 90"):
            found = streamed.search(queries, 40, where=where)
            assert found == col.search(queries, 40, where=where)
            assert [len(hits) for hits in found] == [min(40, col.count(where))] * 5


def test_what_another_changes_is_found_by_the_next_call(tmp_path: Path) -> None:
    col = made(tmp_path)
    with vj.Collection.open(tmp_path / "col") as other:
        everything = rows(300)
        for start in range(0, 300, 50):
            col.insert(names(start, start + 50), everything[start : start + 50])
            best = vj.topk(everything[7], everything[: start + 50], 20, metric="cosine")
            assert [hit.id for hit in other.search(everything[7], 20)] == [f"r{i}" for i in best.indices]
        col.delete(names(0, 10))
        col.upsert(names(20, 30), everything[:10])
        everything[20:30] = everything[:10]
        col.compact()
        best = vj.topk(everything[7], everything[10:], 20, metric="cosine")
        assert [hit.id for hit in other.search(everything[7], 20)] == [f"r{i + 10}" for i in best.indices]


def test_a_version_that_is_checked_out_stays_as_it_was_and_can_only_be_read(tmp_path: Path) -> None:
    col = made(tmp_path)
    first = col.insert(["a", "b"], rows(2), [{"year": 1}] * 2).version
    second = col.update(["a"], metadata=[{"year": 2}]).version
    col.delete(["b"])
    assert {first, second, col.version} <= {version.number for version in col.versions()}
    with col.checkout(first) as then:
        assert then.get(["a", "b"]).metadata == ({"year": 1}, {"year": 1})
        assert len(then.search(rows(1)[0])) == 2
        assert then.version == first
        for change in (lambda: then.delete(["a"]), then.compact):
            with pytest.raises(vj.InvalidInput, match="can be read only"):
                change()
    assert col.get(["a", "b"]).metadata == ({"year": 2},)
    with pytest.raises(vj.InvalidInput, match="there is no version 999"):
        col.checkout(999)


def test_rows_that_are_gone_through_are_those_of_one_version(tmp_path: Path) -> None:
    col = made(tmp_path)
    col.insert(names(0, 100), rows(100))
    batches = col.iter_batches(10)
    col.delete(names(0, 50))
    col.compact()
    assert sorted(name for batch in batches for name in batch.ids) == sorted(names(0, 100))


@pytest.mark.parametrize("where", [None, "year >= 0"])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_rows_come_in_batches_of_the_size_that_is_asked_whatever_the_files(
    tmp_path: Path, size: int, where: str | None
) -> None:
    col = made(tmp_path, durability="process")
    for start, end in ((0, 3), (3, 4), (4, 5), (5, 11), (11, 12)):
        col.insert(names(start, end), rows(12)[start:end], [{"year": i} for i in range(start, end)])
    col.delete(names(1, 2))
    found = list(col.iter_batches(size, where=where))
    lengths = [len(batch) for batch in found]
    assert lengths == [size] * (11 // size) + [11 % size] * (11 % size > 0)
    wanted = [i for i in range(12) if i != 1]
    assert [name for batch in found for name in batch.ids] == [names(i, i + 1)[0] for i in wanted]
    np.testing.assert_array_equal(np.concatenate([batch.vectors for batch in found]), rows(12)[wanted])
    assert [about["year"] for batch in found for about in batch.metadata] == wanted


def test_a_checked_out_version_outlives_the_cleaning_up(tmp_path: Path) -> None:
    col = made(tmp_path, durability="process")
    col.insert(["a"], rows(1))
    with col.checkout(col.version) as then:
        for turn in range(150):
            col.upsert(["a"], rows(1, turn))
        np.testing.assert_array_equal(then.get(["a"]).vectors, rows(1))
    for turn in range(70):
        col.upsert(["a"], rows(1, turn))
    assert len(col.versions()) < 140


def test_many_small_changes_leave_few_files(tmp_path: Path) -> None:
    col = made(tmp_path, durability="process")
    for turn in range(300):
        col.upsert([f"r{turn}", "same"], rows(2, turn))
    files = list((tmp_path / "col" / "data").iterdir())
    assert len(files) < 200
    assert len(col.versions()) < 140
    assert len(col) == 301


@pytest.mark.parametrize("turns", [100, pytest.param(300, marks=pytest.mark.soak)])
def test_small_files_do_not_stay_between_large_ones(tmp_path: Path, turns: int) -> None:
    col = made(tmp_path, durability="process")
    col.insert(names(0, 5000), rows(5000))
    for turn in range(turns):  # an index of ids is made on the way
        col.upsert([f"r{turn if turn % 2 else 5000 + turn}"], rows(1, turn))
    sizes = [part.physical_rows for part in lance.dataset(str(tmp_path / "col")).get_fragments()]
    assert len(sizes) < 40
    assert [later for later, size in zip(sizes[1:], sizes, strict=False) if later > 16 * size] == []


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The paths of what has been synced."""
    paths: set[str] = set()
    fsync = os.fsync

    def watched(file: int) -> None:
        paths.add(os.path.realpath(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", watched)
    return paths


def test_the_folders_that_were_made_for_a_collection_have_been_synced(tmp_path: Path, synced: set[str]) -> None:
    vj.Collection.open(tmp_path / "of" / "mine" / "col", dim=DIM, create=True).close()
    top = Path(os.path.realpath(tmp_path))
    assert {str(top), str(top / "of"), str(top / "of" / "mine"), str(top / "of" / "mine" / "col")} <= synced


@pytest.mark.parametrize("durability", ["fsync", "process"])
def test_what_a_call_wrote_has_been_synced_when_it_returns(tmp_path: Path, synced: set[str], durability: Any) -> None:
    col = made(tmp_path, durability=durability)
    folder = Path(os.path.realpath(tmp_path / "col"))
    for turn in range(40):  # files are put together on the way
        col.upsert([f"r{turn}", "same"], rows(2, turn), [{f"key{turn // 20}": turn}] * 2)
        col.insert([f"s{turn}"], rows(1))
        col.delete([f"s{turn}"])
    # Lance's hint is read only to begin looking for the newest version there.
    written = {
        str(p) for p in folder.rglob("*") if p.name != "latest_version_hint.json" and not p.name.startswith("_vjaccel")
    }
    if durability == "fsync":
        assert written - synced == set()
        assert str(folder) in synced
    else:
        assert {path for path in synced if "/data/" in path or "/_deletions/" in path} == set()


def test_many_threads_search_while_one_writes_and_each_sees_one_state(tmp_path: Path) -> None:
    col = made(tmp_path, durability="process")
    ids, done, seen = names(0, 60), threading.Event(), []
    col.insert(ids, rows(60), [{"turn": 0}] * 60)

    def reading() -> None:
        while not done.is_set():
            turns = {values["turn"] for values in col.get(ids).metadata}
            found = {hit.metadata["turn"] for hit in col.search(rows(1)[0] + 1, 60)}
            one = {hit.metadata["turn"] for hit in col.search(rows(1)[0] + 1, 60, where="turn >= 0")}
            seen.append((len(turns), len(found), len(one)))

    threads = [threading.Thread(target=reading) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(1, 40):
        assert len(col.upsert(ids, rows(60, turn), [{"turn": turn}] * 60).ok) == 60
    done.set()
    for thread in threads:
        thread.join()
    assert len(seen) >= 4
    assert set(seen) == {(1, 1, 1)}


def test_changes_go_by_the_index_of_ids_once_there_is_one_and_lose_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    col = made(tmp_path, durability="process")
    model = {f"r{i}": row for i, row in enumerate(rows(6000).tolist())}
    col.insert(list(model), list(model.values()))
    col.compact()
    assert [index.name for index in lance.dataset(str(tmp_path / "col")).describe_indices()] == ["id_idx"]
    for turn in range(60):  # files are put together, and the index brought up to date, on the way
        ids = [f"r{i}" for i in rng.choice(7000, 40, replace=False)]
        changed = dict(zip(ids, rows(40, turn + 1).tolist(), strict=True))
        there = [name for name in ids if name in model]
        if turn % 3 == 0:
            assert len(col.insert(ids, list(changed.values())).errors) == len(there)
            model.update({name: row for name, row in changed.items() if name not in there})
        elif turn % 3 == 1:
            assert col.upsert(ids, list(changed.values())).ok == tuple(ids)
            model.update(changed)
        else:
            assert col.delete(ids).ok == tuple(there)
            for name in there:
                del model[name]
    names_left = [f"r{i}" for i in range(7000)]
    assert set(col.get(names_left).ids) == set(model)
    found = {
        name: row for batch in col.iter_batches() for name, row in zip(batch.ids, batch.vectors.tolist(), strict=True)
    }
    assert found == model
