"""`vjaccel config`: shows what holds, and says what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run


def test_show_prints_every_key_with_its_value_of_file_and_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("batch.yaml").write_text("vector_config: {worker_count: 3}\n")
    monkeypatch.setenv("VJACCEL_EMBEDDING_CONFIG__DEFAULT_BATCH_SIZE", "50")
    done = run("config", "show", "batch.yaml")
    assert done.code == 0
    assert "worker_count: 3" in done.out
    assert "default_batch_size: 50" in done.out


def test_show_without_a_file_prints_what_holds_here(run: Run) -> None:
    assert "memory_pool_size: 256000000" in run("config", "show").out


@pytest.mark.parametrize("cache", ["redis://u:pw123@h:6379/2", "redis://:pw123@h:6379/2?password=pw123"])
def test_show_prints_no_password(run: Run, cache: str) -> None:
    Path("batch.yaml").write_text(f"embedding_config: {{cache: '{cache}'}}\n")
    done = run("config", "show", "batch.yaml")
    assert "cache: redis://h:6379/2\n" in done.out
    assert "pw123" not in done.out + done.err


@pytest.mark.parametrize("cache", ["memory", "./cache"])
def test_show_prints_a_cache_that_is_no_address_as_it_is(run: Run, cache: str) -> None:
    Path("batch.yaml").write_text(f"embedding_config: {{cache: {cache}}}\n")
    assert f"cache: {cache}\n" in run("config", "show", "batch.yaml").out


def test_validate_says_that_a_file_is_right(run: Run) -> None:
    Path("batch.yaml").write_text("performance_config: {memory_pool_size: 2GB}\n")
    done = run("config", "validate", "batch.yaml")
    assert (done.code, done.out) == (0, "batch.yaml is right\n")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("vector_config: {worker_cout: 3}", 2, "worker_cout is unknown; did you mean 'worker_count'?"),
        ("a: [", 1, "batch.yaml is no YAML"),
    ],
)
def test_validate_says_what_is_wrong_in_one_line(run: Run, text: str, code: int, said: str) -> None:
    Path("batch.yaml").write_text(text)
    done = run("config", "validate", "batch.yaml")
    assert done.code == code
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there_is_said_so(run: Run) -> None:
    done = run("config", "validate", "missing.yaml")
    assert (done.code, done.err) == (1, "vjaccel: missing.yaml: No such file or directory\n")
