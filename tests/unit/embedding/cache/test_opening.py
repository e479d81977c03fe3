"""From what a user says to a cache, and what is said of what is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vjaccel as vj
from vjaccel.embedding.cache import Cache, open_cache
from vjaccel.embedding.cache.memory import MemoryCache

ROOT = Path(__file__).parents[4]


def test_none_is_no_cache() -> None:
    assert open_cache(None) is None


def test_each_cache_in_memory_is_its_own() -> None:
    first, second = open_cache("memory"), open_cache("memory")
    assert isinstance(first, MemoryCache)
    assert first is not second


def test_a_cache_is_itself() -> None:
    mine = MemoryCache()
    assert isinstance(mine, Cache)
    assert open_cache(mine) is mine


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_folder_that_is_made(tmp_path: Path, kind: type) -> None:
    cache = open_cache(kind(tmp_path / "some" / "cache"))
    assert isinstance(cache, Cache)
    assert (tmp_path / "some" / "cache" / "vjaccel-cache-1").is_dir()
    cache.close()


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = open_cache("~/vectors")
    assert cache is not None
    cache.close()
    assert (tmp_path / "vectors").is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="where caches belong on Linux")
def test_disk_is_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VJACCEL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = open_cache("disk")
    assert cache is not None
    cache.close()
    assert (tmp_path / "vjaccel" / "vectors" / "vjaccel-cache-1").is_dir()


@pytest.mark.parametrize("address", ["memcached://host:11211", "s3://bucket/x", "http://localhost", "LMDB://x"])
def test_a_scheme_that_nobody_knows_is_refused_with_those_there_are(address: str) -> None:
    with pytest.raises(vj.InvalidInput, match=f"no cache is called {address.partition(':')[0]}://.*'memory'.*redis://"):
        open_cache(address)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(vj.InvalidInput, match="not an empty name"):
        open_cache("")


@pytest.mark.parametrize("thing", [3, True, b"bytes", ["memory"], object()])
def test_what_can_be_no_cache_is_refused(thing: object) -> None:
    with pytest.raises(vj.InvalidType, match=f"not {type(thing).__name__}"):
        open_cache(thing)  # type: ignore[arg-type]  # the point


def test_a_bound_is_not_for_redis() -> None:
    with pytest.raises(vj.InvalidInput, match="a Redis has a bound of its own"):
        open_cache("redis://localhost", max_bytes=1 << 30)


@pytest.mark.parametrize(
    ("place", "absent", "extra"),
    [("folder", "lmdb", "cache"), ("redis://localhost", "redis", "redis"), ("disk", "platformdirs", "cache")],
)
def test_a_library_that_is_missing_is_said_with_its_extra(tmp_path: Path, place: str, absent: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"
        "import vjaccel as vj; from vjaccel.embedding.cache import open_cache\n"
        f"try: open_cache({place!r})\nexcept vj.MissingExtra as exc: print(exc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "VJACCEL_CACHE_DIR"} | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert f"needs the extra '{extra}': pip install 'vjaccel[{extra}]'" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_naming_the_package_loads_neither_lmdb_nor_redis() -> None:
    code = (
        "import sys, vjaccel.embedding.cache; print([x for x in ('lmdb', 'redis', 'platformdirs') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_cache_that_cannot_be_used_is_one_line_on_a_terminal_however_often_it_is_opened() -> None:
    code = "import vjaccel as vj; [vj.Embedder(len, cache='/dev/null/cache').close() for _ in range(3)]"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    said = "the cache in /dev/null/cache cannot be used, and the run goes on without: Not a directory"
    assert done.stderr == f"<vjaccel>:1: CacheWarning: {said}\n"


def test_disk_is_in_the_folder_that_is_named_for_all_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VJACCEL_CACHE_DIR", str(tmp_path))
    cache = open_cache("disk")
    assert cache is not None
    cache.close()
    assert (tmp_path / "vectors" / "vjaccel-cache-1").is_dir()
