"""The configuration: what its files say, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vjaccel as vj

THROUGHPUT = """
embedding_config:
  default_batch_size: 100
  max_batch_size: 2000
  max_concurrent_batch: 20
  enable_cache: true
  provider_settings:
    openai:
      batch_size: 100
      max_concurrent_batch: 10
      rate_limit_rpm: 3000
"""
VECTORS = """
vector_config:
  default_batch_size: 5000
  max_batch_size: 50000
  max_concurrent_batch: 16
  enable_simd: true
  enable_parallel: true
  worker_count: 16
"""
PERFORMANCE = """
performance_config:
  enable_memory_pool: true
  memory_pool_size: 2GB
  gc_optimization: true
  enable_profiling: true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "batch.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def value(config: vj.BatchConfig, place: str) -> Any:
    found: Any = config
    for part in place.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        (THROUGHPUT, "embedding_config.default_batch_size", 100),
        (THROUGHPUT, "embedding_config.max_batch_size", 2000),
        (THROUGHPUT, "embedding_config.max_concurrent_batch", 20),
        (THROUGHPUT, "embedding_config.provider_settings.openai.batch_size", 100),
        (THROUGHPUT, "embedding_config.provider_settings.openai.max_concurrent_batch", 10),
        (THROUGHPUT, "embedding_config.provider_settings.openai.rate_limit_rpm", 3000),
        (VECTORS, "vector_config.default_batch_size", 5000),
        (VECTORS, "vector_config.worker_count", 16),
        (PERFORMANCE, "performance_config.memory_pool_size", 2_000_000_000),
        (PERFORMANCE, "performance_config.enable_profiling", True),
        ("", "vector_config.enable_simd", True),
    ],
)
def test_a_file_says_what_a_key_is(tmp_path: Path, text: str, place: str, wanted: object) -> None:
    assert value(vj.BatchConfig.load(written(tmp_path, text)), place) == wanted


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VJACCEL_EMBEDDING_CONFIG__DEFAULT_BATCH_SIZE", "50")
    monkeypatch.setenv("VJACCEL_EMBEDDING_CONFIG__MAX_BATCH_SIZE", "60")
    found = vj.BatchConfig.load(written(tmp_path, THROUGHPUT), embedding_config={"max_batch_size": 70}).embedding_config
    assert (found.default_batch_size, found.max_batch_size, found.max_concurrent_batch) == (50, 70, 20)


def test_the_environment_alone_is_read_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_EMBEDDING_CONFIG__PROVIDER_SETTINGS__OPENAI__RATE_LIMIT_TPM", "9000")
    assert vj.BatchConfig().embedding_config.provider_settings["openai"].rate_limit_tpm == 9000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "embedding_config: {default_bach_size: 1}",
            r"embedding_config\.default_bach_size is unknown; did you mean 'default_batch_size'\?",
        ),
        ("embeding_config: {}", r"embeding_config is unknown; did you mean 'embedding_config'\?"),
        (
            "embedding_config: {provider_settings: {openai: {rate_limit_rmp: 1}}}",
            r"openai\.rate_limit_rmp is unknown; did you mean 'rate_limit_rpm'\?",
        ),
        ("vector_config: {zzz: 1}", r"vector_config\.zzz is unknown; known here: default_batch_size, "),
        ("embedding_config: {retry_attempts: 3}", r"retry_attempts is not supported; requests to a provider are"),
        ("monitoring_config: {metrics_port: 65536}", "metrics_port: input should be less than or equal to 65535"),
        ("vector_config: {operation_settings: {serch: {}}}", r"operation_settings\.serch: input should be 'insert'"),
        ("performance_config: {memory_pool_size: 2 apples}", "could not interpret byte unit: apples"),
        ("vector_config: {worker_count: 0}", "worker_count: input should be greater than or equal to 1, not 0"),
        ("vector_config: {worker_count: true}", "worker_count: it needs a number, not True"),
        (
            "embedding_config: {default_batch_size: 9, max_batch_size: 8}",
            "default_batch_size is 9, more than max_batch_size, 8",
        ),
        (
            "embedding_config: {provider_settings: {opnai: {batch_size: 5}}}",
            r"embedding_config\.provider_settings: no provider is registered as 'opnai'; did you mean 'openai'\?",
        ),
        ("embedding_config: {provider_settings: {zzz: {}}}", "registered as 'zzz'; there are azure, cohere, custom, "),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(vj.InvalidInput, match=said) as failure:
        vj.BatchConfig.load(path)
    assert str(failure.value).startswith(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "embedding_config:",
        "embedding_config: {provider_settings: }",
        "embedding_config: {provider_settings: {openai: }}",
        "vector_config: {operation_settings: {search: }}",
        "{vector_config: , performance_config: , monitoring_config: }",
    ],
)
def test_an_empty_section_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = written(tmp_path, text)
    defaults = vj.BatchConfig(embedding_config={"provider_settings": {"openai": {}}} if "openai" in text else {})
    found = vj.BatchConfig.load(path)
    assert found.embedding_config == defaults.embedding_config
    assert (found.performance_config, found.monitoring_config) == (
        defaults.performance_config,
        defaults.monitoring_config,
    )
    assert found.vector_config.model_copy(update={"operation_settings": {}}) == defaults.vector_config
    monkeypatch.setenv("VJACCEL_EMBEDDING_CONFIG__DEFAULT_BATCH_SIZE", "50")
    assert vj.BatchConfig.load(path).embedding_config.default_batch_size == 50


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("VJACCEL_EMBEDING_CONFIG__DEFAULT_BATCH_SIZE", "VJACCEL_EMBEDDING_CONFIG__"),
        ("VJACCEL_VEKTOR_CONFIG", "VJACCEL_VECTOR_CONFIG__"),
        ("vjaccel_vektor_config__worker_count", "VJACCEL_VECTOR_CONFIG__"),
        ("VJACCEL_VECTOR_CONFIG_WORKER_COUNT", "VJACCEL_VECTOR_CONFIG__"),
    ],
)
def test_a_section_that_the_environment_mistypes_is_refused_with_the_near_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(name, "1")
    for make in (vj.BatchConfig, lambda: vj.BatchConfig.load(written(tmp_path, VECTORS))):
        with pytest.raises(vj.InvalidInput, match=f"the environment: {name} .* did you mean {near}"):
            make()


def test_a_key_that_the_environment_mistypes_is_refused_with_the_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_VECTOR_CONFIG__WORKER_CONT", "1")
    with pytest.raises(vj.InvalidInput, match=r"vector_config\.worker_cont is unknown; did you mean 'worker_count'"):
        vj.BatchConfig()


def test_what_else_the_environment_has_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VJACCEL_BACKEND", "numpy")
    monkeypatch.setenv("VJACCEL_CACHE_DIR", "elsewhere")
    assert vj.BatchConfig().embedding_config.cache == "memory"


@pytest.mark.parametrize(
    "text",
    ["vector_config: {worker_count: 1}\n\nvector_config: {}", "vector_config:\n  worker_count: 1\n  worker_count: 2"],
)
def test_a_key_that_comes_twice_is_refused_with_both_lines(tmp_path: Path, text: str) -> None:
    with pytest.raises(vj.FileFormatError, match=r"the key '\w+' comes twice, in lines \d and 3"):
        vj.BatchConfig.load(written(tmp_path, text))


def test_keys_that_are_merged_may_come_again(tmp_path: Path) -> None:
    text = "vector_config: &all {max_batch_size: 7}\nembedding_config: {<<: *all, max_batch_size: 9}"
    assert vj.BatchConfig.load(written(tmp_path, text)).embedding_config.max_batch_size == 9


@pytest.mark.parametrize(("text", "said"), [("a: [", "is no YAML"), ("[1]", "is a YAML list")])
def test_a_file_that_is_no_mapping_is_said_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(vj.FileFormatError, match=said):
        vj.BatchConfig.load(written(tmp_path, text))


def test_an_unknown_argument_is_refused_with_the_near_one() -> None:
    with pytest.raises(vj.InvalidInput, match="did you mean 'vector_config'"):
        vj.BatchConfig(vektor_config={})


@pytest.mark.parametrize("text", [THROUGHPUT, VECTORS, PERFORMANCE])
def test_what_is_shown_is_read_again_as_the_same(tmp_path: Path, text: str) -> None:
    config = vj.BatchConfig.load(written(tmp_path, text))
    assert vj.BatchConfig.load(written(tmp_path, config.to_yaml())) == config
