"""The cache in a folder: bounded, shared by processes, refused or set aside where it is not what it should be."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

import vjaccel as vj
from vjaccel.embedding.cache import Cache, CacheWarning, open_cache, rows_of

Vectors = Callable[..., np.ndarray]
ROOT = Path(__file__).parents[4]
MIB = 1024**2


def keys(count: int, of: str = "") -> list[bytes]:
    return [blake2b(f"{of} {i}".encode(), digest_size=16).digest() for i in range(count)]


def opened(folder: Path, max_bytes: int | None = None) -> Cache:
    cache = open_cache(folder, max_bytes=max_bytes)
    assert cache is not None
    return cache


def data_of(folder: Path) -> Path:
    (found,) = folder.glob("vjaccel-cache-1/data.mdb")
    return found


def filled(folder: Path, vectors: Vectors, count: int = 500, dim: int = 48) -> tuple[list[bytes], np.ndarray]:
    """A closed cache with `count` vectors in it."""
    names, put = keys(count), vectors(count, dim)
    cache = opened(folder)
    cache.put(names, put)
    cache.close()
    return names, put


def hits(cache: Cache, names: list[bytes], put: np.ndarray) -> int:
    """How many are found; each that is found must be right."""
    found, rows = rows_of(cache.get(names), put.shape[1])
    np.testing.assert_array_equal(rows, put[found])
    return len(found)


def test_what_was_put_is_there_when_it_is_opened_again(tmp_path: Path, vectors: Vectors) -> None:
    names, put = filled(tmp_path / "cache", vectors)
    cache = opened(tmp_path / "cache")
    assert hits(cache, names, put) == len(cache) == 500
    assert cache.bytes_used is not None
    assert put.nbytes < cache.bytes_used < 2 * put.nbytes
    cache.close()


def test_another_process_finds_and_adds_while_this_one_has_it_open(tmp_path: Path, vectors: Vectors) -> None:
    cache = opened(tmp_path)
    cache.put(keys(100), vectors(100))
    code = (
        "import sys, numpy as np; from vjaccel.embedding.cache import open_cache, rows_of; cache = open_cache(sys.argv[1]);"
        "found = cache.get([bytes.fromhex(x) for x in sys.argv[2].split()]);"
        "cache.put([bytes(16)], rows_of(found, 8)[1].sum(0, keepdims=True)); cache.close()"
    )
    named = " ".join(key.hex() for key in keys(100))
    subprocess.run([sys.executable, "-c", code, str(tmp_path), named], check=True, cwd=ROOT)
    np.testing.assert_array_equal(rows_of(cache.get([bytes(16)]), 8)[1], vectors(100).sum(0, keepdims=True))
    cache.close()


def test_two_who_open_one_folder_share_it_until_both_have_closed(tmp_path: Path, vectors: Vectors) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "cache", target_is_directory=True)
    first, second = opened(tmp_path / "cache"), opened(tmp_path / "link")
    first.put(keys(5), vectors(5))
    first.close()
    first.close()
    assert hits(second, keys(5), vectors(5)) == 5
    with pytest.raises(vj.InvalidInput, match="this cache is closed"):
        first.get(keys(5))
    second.close()
    again = opened(tmp_path / "cache")
    assert len(again) == 5
    again.close()


# The bound


@pytest.mark.parametrize("dim", [8, 384, 1536])
def test_the_file_never_takes_more_than_the_bound_and_the_oldest_go_first(
    tmp_path: Path, vectors: Vectors, dim: int
) -> None:
    bound, count = 4 * MIB, MIB // (4 * (dim + 64))
    cache = opened(tmp_path, bound)
    for turn in range(24):
        cache.put(keys(count, str(turn)), vectors(count, dim, seed=turn))
        assert data_of(tmp_path).stat().st_size <= bound
    there = [hits(cache, keys(count, str(turn)), vectors(count, dim, seed=turn)) for turn in range(24)]
    assert there[-1] == count
    assert there[0] == 0
    assert there == sorted(there)
    assert bound / 3 < (cache.bytes_used or 0) <= bound
    assert len(cache) == sum(there)
    cache.close()


def test_batches_of_all_sizes_and_widths_go_on_fitting(tmp_path: Path, vectors: Vectors) -> None:
    rng = np.random.default_rng(0)
    cache = opened(tmp_path, 2 * MIB)
    for turn in range(300):
        count, dim = int(rng.choice([1, 2, 7, 40, 300])), int(rng.choice([3, 96, 384, 1024, 3072]))
        count = max(1, min(count, 400_000 // (4 * dim)))
        cache.put(keys(count, str(turn)), vectors(count, dim, seed=turn))
        assert hits(cache, keys(count, str(turn)), vectors(count, dim, seed=turn)) == count, turn
    assert data_of(tmp_path).stat().st_size <= 2 * MIB
    cache.close()


def test_a_batch_that_is_larger_than_the_bound_leaves_its_end(tmp_path: Path, vectors: Vectors) -> None:
    names, put = keys(4000), vectors(4000, 384)
    cache = opened(tmp_path, 2 * MIB)
    cache.put(names, put)
    assert 0 < hits(cache, names, put) < 4000
    assert hits(cache, names[-100:], put[-100:]) == 100
    cache.close()


def test_looking_up_writes_nothing(tmp_path: Path, vectors: Vectors) -> None:
    names, put = filled(tmp_path, vectors)
    before = data_of(tmp_path).read_bytes()
    cache = opened(tmp_path)
    for _ in range(3):
        assert hits(cache, names, put) == 500
        assert cache.get(keys(50, "others")) == [None] * 50
    cache.close()
    assert data_of(tmp_path).read_bytes() == before


def test_what_is_put_again_counts_as_new(tmp_path: Path, vectors: Vectors) -> None:
    cache = opened(tmp_path, 2 * MIB)
    kept = keys(50, "kept")
    for turn in range(12):
        cache.put(keys(500, str(turn)), vectors(500, 384, seed=turn))
        cache.put(kept, vectors(50, 384))
    assert hits(cache, kept, vectors(50, 384)) == 50
    cache.close()


def test_a_reader_elsewhere_that_was_killed_does_not_hold_on_to_room(tmp_path: Path, vectors: Vectors) -> None:
    cache = opened(tmp_path, 2 * MIB)
    cache.put(keys(100, "first"), vectors(100, 384))
    code = (
        "import lmdb, os, sys; env = lmdb.open(sys.argv[1], max_dbs=2, map_size=2 << 20); env.begin().get(b'x');"
        "txn = env.begin(); txn.get(b'x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(data_of(tmp_path).parent)], check=False)
    for turn in range(12):
        cache.put(keys(300, str(turn)), vectors(300, 384, seed=turn))
        assert hits(cache, keys(300, str(turn)), vectors(300, 384, seed=turn)) == 300
    cache.close()


def test_a_bound_may_grow_while_another_process_has_the_old_one(tmp_path: Path, vectors: Vectors) -> None:
    cache = opened(tmp_path, 2 * MIB)
    cache.put(keys(10), vectors(10, 384))
    code = (
        "import sys, numpy as np; from vjaccel.embedding.cache import open_cache;"
        "cache = open_cache(sys.argv[1], max_bytes=64 << 20); from hashlib import blake2b;"
        "cache.put([blake2b(b'%d' % i, digest_size=16).digest() for i in range(8000)], np.ones((8000, 384), np.float32))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    theirs = [blake2b(b"%d" % i, digest_size=16).digest() for i in range(8000)]
    assert hits(cache, theirs, np.ones((8000, 384), np.float32)) == 8000
    cache.put(keys(10, "new"), vectors(10, 384))
    assert hits(cache, keys(10, "new"), vectors(10, 384)) == 10
    cache.close()


def test_a_bound_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(vj.InvalidInput, match="max_bytes of a cache on disk must be at least 1048576, not 1000"):
        open_cache(tmp_path, max_bytes=1000)


# Damage


def damaged(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_vector_that_is_damaged_is_a_miss_and_is_put_again(tmp_path: Path, vectors: Vectors) -> None:
    names, put = filled(tmp_path, vectors)
    raw = data_of(tmp_path).read_bytes()
    places = [raw.index(put[i].tobytes()) for i in (7, 300)]
    for place in places:
        damaged(data_of(tmp_path), place + 100, bytes([raw[place + 100] ^ 1]))
    cache = opened(tmp_path)
    found = cache.get(names)
    assert [i for i, value in enumerate(found) if value is None] == [7, 300]
    assert hits(cache, names, put) == 498
    cache.put([names[7], names[300]], put[[7, 300]])
    assert hits(cache, names, put) == 500
    cache.close()


def row_of(raw: bytes, vector: np.ndarray) -> int:
    """Where in a file a vector's row begins: its key and its checksum come before it."""
    return raw.index(vector.tobytes()) - 24


def test_a_row_whose_key_is_damaged_is_not_given_out_under_it(tmp_path: Path, vectors: Vectors) -> None:
    names, put = filled(tmp_path, vectors)
    raw = data_of(tmp_path).read_bytes()
    assert raw.startswith(names[3], row_of(raw, put[3]))
    damaged(data_of(tmp_path), row_of(raw, put[3]), names[4])
    cache = opened(tmp_path)
    assert [i for i, value in enumerate(cache.get(names)) if value is None] == [3]
    cache.close()


@pytest.mark.parametrize("row", [9, 60_000])
def test_an_index_that_points_to_another_row_finds_nothing_there(tmp_path: Path, vectors: Vectors, row: int) -> None:
    names, put = filled(tmp_path, vectors)
    raw = data_of(tmp_path).read_bytes()
    found = [raw.find(names[3], start) for start in (0, row_of(raw, put[3]) + 1)]
    (entry,) = {at for at in found if at not in (-1, row_of(raw, put[3]))}
    damaged(data_of(tmp_path), entry + 16, row.to_bytes(8, "little"))
    cache = opened(tmp_path)
    assert hits(cache, names, put) == 499
    cache.close()


@pytest.mark.parametrize("what", ["zeros", "another row", "ones"])
def test_a_row_that_is_overwritten_is_a_miss(tmp_path: Path, vectors: Vectors, what: str) -> None:
    names, put = filled(tmp_path, vectors)
    raw = data_of(tmp_path).read_bytes()
    size, other = 24 + put[0].nbytes, row_of(raw, put[8])
    with_what = {"zeros": bytes(size), "another row": raw[other : other + size], "ones": b"\xff" * size}[what]
    damaged(data_of(tmp_path), row_of(raw, put[3]), with_what)
    cache = opened(tmp_path)
    assert [i for i, value in enumerate(cache.get(names)) if value is None] == [3]
    cache.close()


@pytest.mark.parametrize("kind", ["cut off", "cut to a page", "not LMDB", "no index"])
def test_a_damaged_file_is_set_aside_with_one_warning_and_a_new_one_begins(
    tmp_path: Path, vectors: Vectors, kind: str
) -> None:
    names, put = filled(tmp_path, vectors)
    data = data_of(tmp_path)
    if kind == "not LMDB":
        data.write_bytes(b"this is no database " * 5000)
    elif kind == "no index":
        raw = data.read_bytes()
        data.write_bytes(raw[: 2 * 4096] + bytes(len(raw) - 2 * 4096))
    else:
        os.truncate(data, 3 * 4096 if kind == "cut off" else 4096)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = opened(tmp_path)
        assert hits(cache, names, put) == 0
        cache.put(names, put)
        assert hits(cache, names, put) == 500
        cache.close()
    assert len(caught) == 1
    assert f"the cache in {tmp_path} was damaged" in str(caught[0].message)
    aside = [path.name for path in tmp_path.iterdir() if path.name.startswith("vjaccel-cache-1.corrupt-")]
    assert len(aside) == 1
    assert aside[0] in str(caught[0].message)
    cache = opened(tmp_path)
    assert hits(cache, names, put) == 500
    cache.close()


def test_only_the_last_damaged_cache_is_kept(tmp_path: Path, vectors: Vectors) -> None:
    for _ in range(3):
        filled(tmp_path, vectors, count=10)
        data_of(tmp_path).write_bytes(b"damage" * 5000)
        with pytest.warns(CacheWarning, match="was damaged"):
            opened(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


# A folder that cannot be used


@pytest.mark.parametrize("place", ["/proc/vjaccel/cache", "/dev/null/cache"])
def test_a_folder_that_cannot_be_made_is_one_warning_and_no_cache(place: str) -> None:
    with pytest.warns(
        CacheWarning, match=f"the cache in {place} cannot be used, and the run goes on without"
    ) as caught:
        assert open_cache(place) is None
    assert len(caught) == 1


@pytest.mark.parametrize("what", ["the folder", "its files"])
def test_what_is_read_only_is_one_warning_and_no_cache(ordinary_user: Path, vectors: Vectors, what: str) -> None:
    closed = [ordinary_user]
    if what == "its files":
        filled(ordinary_user, vectors)
        closed = [*data_of(ordinary_user).parent.iterdir()]
    for path in closed:
        path.chmod(0o500)
    try:
        with pytest.warns(CacheWarning, match="[Pp]ermission") as caught:
            assert open_cache(ordinary_user) is None
        assert len(caught) == 1
    finally:
        for path in closed:
            path.chmod(0o700)


def test_a_disk_that_is_full_is_one_warning_and_what_was_there_is_still_found(tmp_path: Path, vectors: Vectors) -> None:
    names, put = filled(tmp_path, vectors)
    code = (
        "import resource, signal, sys, warnings, numpy as np; from hashlib import blake2b;"
        "from vjaccel.embedding.cache import open_cache; warnings.simplefilter('always');"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); cache = open_cache(sys.argv[1]);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000));"
        "[cache.put([blake2b(b'%d' % i, digest_size=16).digest()], np.ones((1, 9), np.float32)) for i in range(4)];"
        "print(sum(x is not None for x in cache.get([bytes.fromhex(x) for x in sys.argv[2].split()])))"
    )
    named = " ".join(key.hex() for key in names)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), named], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "500"
    assert done.stderr.count("CacheWarning") == 1
    assert "cannot write: " in done.stderr
    cache = opened(tmp_path)
    assert hits(cache, names, put) == 500
    cache.close()


def test_a_folder_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vjaccel-cache-7").mkdir()
    with pytest.raises(
        vj.InvalidInput, match=f"the cache in {tmp_path} is of another version.*name another folder, or delete"
    ):
        open_cache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["vjaccel-cache-7"]


def test_a_file_is_no_place_for_a_cache(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(vj.InvalidInput, match=r"the cache .*notes.txt is a file; a cache is a folder"):
        open_cache(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_else_is_in_the_folder_is_left_alone(tmp_path: Path, vectors: Vectors) -> None:
    (tmp_path / "data.mdb").write_text("somebody else's")
    filled(tmp_path, vectors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "vjaccel-cache-1"]
    assert (tmp_path / "data.mdb").read_text() == "somebody else's"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_is_forked_goes_on_without_it(tmp_path: Path, vectors: Vectors) -> None:
    cache = opened(tmp_path)
    cache.put(keys(5), vectors(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        warnings.simplefilter("ignore", RuntimeWarning)  # of JAX, if another test has imported it
        child = os.fork()
    if not child:
        wrong = 1
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                wrong = int(cache.get(keys(5)) != [None] * 5)
                cache.put(keys(9), vectors(9))
                cache.close()
                wrong += int([str(w.message) for w in caught if "was forked" in str(w.message)] == [])
        finally:
            os._exit(wrong)
    assert os.waitpid(child, 0)[1] == 0
    assert hits(cache, keys(5), vectors(5)) == len(cache) == 5
    cache.close()
