"""Texts in batches: their vectors in order, each bad one an error of its own, whatever the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.batch.letters import Letters

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]


def request(texts: list[Any], **options: Any) -> vj.BatchEmbeddingRequest:
    return vj.BatchEmbeddingRequest(texts=texts, **options)


@pytest.mark.parametrize("count", [0, 1, 5, 50])
@pytest.mark.parametrize("batch_size", [None, 1, 7, 100])
def test_vectors_are_in_the_order_of_the_texts(count: int, batch_size: int | None) -> None:
    texts = [f"{chr(97 + i % 26)}{'x' * i}" for i in range(count)]
    with vj.BatchProcessor(embedder=Letters()) as processor:
        found = processor.process_batch_embeddings(request(texts, batch_size=batch_size, max_concurrent=4))
    assert found.embeddings[:, 0].tolist() == [len(text) for text in texts] if count else len(found.embeddings) == 0
    assert (found.errors, found.statistics.processed, found.statistics.failed) == ((), count, 0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_each_bad_text_is_an_error_of_its_own(batch_size: int) -> None:
    texts = ["a", None, "bad", "ccc", 4.0, "dd"]
    with vj.BatchProcessor(embedder=Letters()) as processor:
        found = processor.process_batch_embeddings(request(texts, batch_size=batch_size))
    assert [(error.index, error.code) for error in found.errors] == [
        (1, "INVALID_TEXT"),
        (2, "EMBEDDING_GENERATION_FAILED"),
        (4, "INVALID_TEXT"),
    ]
    assert np.isnan(found.embeddings).any(axis=1).tolist() == [False, True, True, False, True, False]
    assert (found.statistics.total, found.statistics.processed, found.statistics.failed) == (6, 3, 3)


def test_the_embedders_own_code_stays_in_the_message() -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[np.nan if text == "nan" else 1.0] for text in texts])

    with vj.BatchProcessor(embedder=embed) as processor:
        (error,) = processor.process_batch_embeddings(request(["a", "nan"])).errors
    assert (error.index, error.code) == (1, "EMBEDDING_GENERATION_FAILED")
    assert error.message.startswith("INVALID_EMBEDDING: ")


def test_when_every_text_fails_the_rows_are_none_of_nothing() -> None:
    with vj.BatchProcessor(embedder=Letters()) as processor:
        found = processor.process_batch_embeddings(request([None, "bad"], batch_size=1))
    assert found.embeddings.shape == (2, 0)
    assert found.statistics.throughput is None


def test_the_cache_is_used_and_counted() -> None:
    letters = Letters()
    with vj.BatchProcessor(embedder=letters) as processor:
        first = processor.process_batch_embeddings(request(TEXTS, batch_size=2))
        again = processor.process_batch_embeddings(request(TEXTS, batch_size=5))
        hit_rate = processor.get_statistics().cache_hit_rate
    assert (first.cache_hits, first.cache_misses, again.cache_hits, again.cache_misses) == (0, 5, 5, 0)
    assert hit_rate == 0.5
    assert set(letters.asked.values()) == {1}


def test_a_request_that_wants_no_cache_gets_none() -> None:
    letters = Letters()
    with vj.BatchProcessor(embedder=letters) as processor:
        for _ in range(2):
            found = processor.process_batch_embeddings(request(TEXTS, enable_cache=False))
    assert (found.cache_hits, found.cache_misses) == (0, 0)
    assert set(letters.asked.values()) == {2}


def test_an_embedder_without_a_cache_is_said_to_have_none() -> None:
    with vj.Embedder(Letters()) as embedder, vj.BatchProcessor(embedder=embedder) as processor:
        found = processor.process_batch_embeddings(request(TEXTS, enable_cache=True))
    assert found.statistics.not_applicable["enable_cache"] == "the embedder has no cache"


@pytest.mark.parametrize(
    ("options", "refused", "said"),
    [
        ({"provider": "openai"}, vj.UnknownProvider, "'openai' is neither in embedder= nor in .*; there are custom"),
        ({"provider": "custom", "model": "other"}, vj.InvalidInput, "has the model 'Letters', not 'other'"),
        ({"batch_size": 200_000}, vj.InvalidInput, "batch_size is 200000, and max_batch_size is 100000"),
        ({"options": {"role": "poet"}}, vj.InvalidInput, "role 'poet' is none of query, document"),
        ({"options": {"role": "query", "prompt": "x"}}, vj.InvalidInput, "give one of them"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    options: dict[str, Any], refused: type[Exception], said: str
) -> None:
    letters = Letters()
    with vj.BatchProcessor(embedder=letters) as processor, pytest.raises(refused, match=said):
        processor.process_batch_embeddings(request(TEXTS, **options))
    assert not letters.asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"texts": "one text"}, "texts is a list of texts, not str"),
        ({"texts": [], "batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"texts": [], "max_concurrent": True}, "max_concurrent must be a whole number of at least 1, not True"),
        ({"texts": [], "timeout": 0}, "timeout is in seconds, more than 0, not 0"),
        ({"texts": [], "priority": "urgent"}, "priority 'urgent' is unknown; there are low, normal, high, critical"),
        (
            {"texts": [], "options": {"promt": ""}},
            "option 'promt' is unknown to an embedding request; there are prompt",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_not_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(vj.InvalidInput, match=said):
        vj.BatchEmbeddingRequest(**options)


def test_a_processor_without_a_provider_says_so() -> None:
    with vj.BatchProcessor() as processor, pytest.raises(vj.UnknownProvider, match="it has none: give it embedder="):
        processor.process_batch_embeddings(request(TEXTS))


def test_of_several_providers_the_named_one_is_asked() -> None:
    one, other = Letters(), Letters()
    with vj.BatchProcessor(embedder={"custom": one, "mine": other}) as processor:
        found = processor.process_batch_embeddings(request(TEXTS, provider="mine"))
        with pytest.raises(vj.UnknownProvider, match="it has custom, mine: name one"):
            processor.process_batch_embeddings(request(TEXTS))
    assert (found.provider, found.model) == ("mine", "Letters")
    assert (len(one.asked), len(other.asked)) == (0, 5)


def test_a_configured_provider_needs_a_model() -> None:
    config = vj.BatchConfig(embedding_config={"provider_settings": {"openai": {"rate_limit_rpm": 3000}}})
    with (
        vj.BatchProcessor(config) as processor,
        pytest.raises(vj.InvalidInput, match=r"needs a model: name it in the request, or in .*openai\.model"),
    ):
        processor.process_batch_embeddings(request(TEXTS))


def test_a_setting_that_a_configured_provider_cannot_follow_is_refused_with_its_place() -> None:
    settings = {"local": {"model": "all-MiniLM-L6-v2", "rate_limit_rpm": 3}}
    config = vj.BatchConfig(embedding_config={"provider_settings": settings})
    with vj.BatchProcessor(config) as processor, pytest.raises(vj.InvalidInput, match=r"provider_settings\.local: "):
        processor.process_batch_embeddings(request(TEXTS))


def test_limits_of_an_embedder_that_was_given_are_its_own_and_that_is_said() -> None:
    config = vj.BatchConfig(embedding_config={"provider_settings": {"custom": {"rate_limit_rpm": 5, "batch_size": 2}}})
    with vj.Embedder(Letters()) as embedder, vj.BatchProcessor(config, embedder=embedder) as processor:
        statistics = processor.process_batch_embeddings(request(TEXTS)).statistics
    assert "ready-made" in statistics.not_applicable["provider_settings.custom.rate_limit_rpm"]
    assert (statistics.batches, statistics.batch_size) == (3, 2)


def test_what_a_request_carries_along_comes_back() -> None:
    with vj.BatchProcessor(embedder=Letters()) as processor:
        found = processor.process_batch_embeddings(request(TEXTS, metadata={"job": 7}))
    assert found.metadata == {"job": 7}


def test_the_packaged_model_gives_the_vectors_that_its_embedder_gives(minilm: vj.Embedder, glosses: list[str]) -> None:
    with vj.BatchProcessor(embedder=minilm) as processor:
        found = processor.process_batch_embeddings(
            request(glosses[:60], provider="local", model="all-MiniLM-L6-v2", batch_size=20, max_concurrent=2)
        )
    np.testing.assert_allclose(found.embeddings, minilm.embed(glosses[:60]).embeddings, atol=1e-5)
    assert found.total_tokens is not None
    assert found.total_tokens > 60
    assert (found.provider, found.model, found.statistics.batches) == ("local", "all-MiniLM-L6-v2", 3)


def test_a_role_puts_the_models_own_prompt_before_each_text() -> None:
    with vj.Embedder(Letters(), prompt="query: ") as embedder, vj.BatchProcessor(embedder=embedder) as processor:
        asked = request(["a"], options={"role": "query"})
        assert processor.process_batch_embeddings(asked).embeddings[0, 0] == len("query: a")


@pytest.mark.parametrize("given", [3, {"custom": 3}, "local:all-MiniLM-L6-v2"])
def test_what_is_no_embedder_is_refused(given: Any) -> None:
    with pytest.raises(vj.InvalidType, match="embedder is an Embedder, a function, or a mapping"):
        vj.BatchProcessor(embedder=given)


def test_a_function_gets_batches_of_the_size_that_is_asked_for() -> None:
    sizes: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        sizes.append(len(texts))
        return np.ones((len(texts), 3))

    with vj.BatchProcessor(embedder=embed) as processor:
        processor.process_batch_embeddings(request([f"{i}" for i in range(10)], batch_size=4))
    assert sorted(sizes) == [2, 4, 4]
