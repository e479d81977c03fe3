"""What each of many workers is given of what one embedder would have."""

from __future__ import annotations

from pathlib import Path

import pytest

import vjaccel as vj
from vjaccel.embedding.spread import options_of_one


def test_limits_are_shared_out_evenly_unless_they_are_one_budget_already() -> None:
    asked = {"model": "openai:m", "requests_per_minute": 90, "tokens_per_minute": None}
    assert options_of_one(asked, 4, 1, 0)["requests_per_minute"] == 22
    shared = asked | {"shared_limits": "redis://here"}
    assert options_of_one(shared, None, 1, 0) == shared


@pytest.mark.parametrize(("most", "said"), [(None, "how many workers"), (100, "leaves nothing")], ids=["open", "many"])
def test_limits_that_cannot_be_shared_out_are_refused(most: int | None, said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        options_of_one({"model": "openai:m", "requests_per_minute": 90}, most, 1, 0)


def test_a_local_model_has_as_many_batches_at_once_as_its_worker_has_cores() -> None:
    assert options_of_one({"model": "local:m", "workers": None}, 2, 3, 0)["workers"] == 3
    assert options_of_one({"model": "local:m", "workers": None}, 2, 3, 1)["workers"] is None


@pytest.mark.parametrize("cache", ["kept", Path("kept")], ids=["a name", "a path"])
def test_a_cache_in_a_folder_is_the_same_wherever_a_worker_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: object
) -> None:
    monkeypatch.chdir(tmp_path)
    assert options_of_one({"model": "openai:m", "cache": cache}, 2, 1, 0)["cache"] == str(tmp_path / "kept")


@pytest.mark.parametrize("cache", [None, "memory", "disk", "redis://host/0"])
def test_a_cache_elsewhere_stays_what_it_is(cache: object) -> None:
    assert options_of_one({"model": "openai:m", "cache": cache}, 2, 1, 0)["cache"] == cache


@pytest.mark.parametrize("name", ["./tiny", "../here/tiny", "tiny"])
def test_a_model_in_a_folder_is_the_same_wherever_a_worker_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    given = options_of_one({"model": f"local:{name}"}, 2, 1, 0)["model"].removeprefix("local:")
    monkeypatch.chdir(tmp_path)
    assert Path(given).samefile(tmp_path / "here" / "tiny")


def test_a_model_in_the_home_folder_is_that_of_who_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert options_of_one({"model": "local:~/tiny"}, 2, 1, 0)["model"] == f"local:{tmp_path / 'tiny'}"


@pytest.mark.parametrize("model", ["local:all-MiniLM-L6-v2", "local:owner/name", "openai:./m", len], ids=str)
def test_a_model_that_is_no_folder_stays_what_it_is(model: object) -> None:
    assert options_of_one({"model": model}, 2, 1, 0)["model"] == model
