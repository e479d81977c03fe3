"""What is sent to a remote service: requests within its limits, options it takes, and nothing that is left behind."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.faults.remote import embedder, expected
from tests.faults.server import FaultServer
from vjaccel.embedding import Progress
from vjaccel.embedding.providers.protocol import ProviderOptions
from vjaccel.embedding.providers.registry import make_provider

pytestmark = pytest.mark.usefixtures("no_keys")

TEXTS = [f"text number {i}" for i in range(100)]


def ours() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vjaccel-")}


def test_a_requests_texts_hold_the_budget_by_their_bytes(server: FaultServer) -> None:
    texts = ["ab", "äöü", "x" * 500, *TEXTS]
    with embedder(server, batch_tokens=200) as made:
        made.embed(texts)
    for body in server.counts.bodies:
        assert len(body["input"]) == 1 or sum(len(text.encode()) for text in body["input"]) <= 200


def test_lengths_are_a_bound_and_said_to_be_one(server: FaultServer) -> None:
    with embedder(server) as made:
        assert made.count_tokens(["abc"]) is None
        ready = made._provider.prepare(["abc", "ä", ""], "")
    assert (ready.counted, ready.lengths.tolist()) == (False, [5, 4, 2])


def test_no_request_holds_more_tokens_than_a_minute_has(server: FaultServer) -> None:
    with embedder(server, tokens_per_minute=60) as made:
        assert made._provider.batch_tokens == 60
        result = made.embed(["x" * 40, "y" * 80], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "TOKEN_LIMIT_EXCEEDED")]
    assert server.counts.sizes == [1]


def test_what_a_server_says_of_its_limits_is_kept(server: FaultServer) -> None:
    server.manner.info = {"model_id": "m", "max_client_batch_size": 7, "max_input_length": 512}
    server.manner.most_texts = 7
    with embedder(server) as made:
        np.testing.assert_array_equal(made.embed(TEXTS).embeddings, expected(TEXTS))
    assert set(server.counts.statuses) == {200}
    assert max(server.counts.sizes) == 7


@pytest.mark.parametrize("info", [None, {"max_client_batch_size": "many"}, {"max_client_batch_size": 0}, []])
def test_a_server_that_says_nothing_of_use_is_taken_as_it_comes(server: FaultServer, info: Any) -> None:
    server.manner.info = info
    with embedder(server) as made:
        assert made.embed(TEXTS).ok.all()
    assert server.counts.sizes == [100]


@pytest.mark.parametrize("truncate", ["end", "error"])
def test_a_server_that_says_that_it_cuts_nothing_off_is_believed(server: FaultServer, truncate: str) -> None:
    server.manner.info = {"auto_truncate": False}
    with embedder(server, truncate=truncate) as made:
        assert made.embed(TEXTS).statistics.truncated == 0


def test_a_server_that_says_that_it_cuts_off_cannot_be_asked_for_an_error_instead(server: FaultServer) -> None:
    server.manner.info = {"auto_truncate": True}
    with embedder(server) as made:
        assert made.embed(TEXTS).statistics.truncated is None
    with (
        embedder(server, truncate="error") as made,
        pytest.raises(vj.ProviderRefused, match=r"cuts off texts that are too long .* or ask truncate='end'"),
    ):
        made.embed(TEXTS, on_error="collect")
    assert server.counts.requests == 1


def test_of_a_server_that_says_nothing_nobody_knows_what_it_cuts_off(server: FaultServer) -> None:
    with embedder(server, truncate="error") as made:
        assert made.embed(TEXTS).statistics.truncated is None


def test_a_limit_of_texts_that_shows_only_in_a_refusal_is_remembered(server: FaultServer) -> None:
    server.manner.most_texts = 30
    texts = [f"text number {i}" for i in range(1000)]
    with embedder(server, workers=1) as made:
        np.testing.assert_array_equal(made.embed(texts[:100]).embeddings, expected(texts[:100]))
        before = server.counts.requests
        np.testing.assert_array_equal(made.embed(texts).embeddings, expected(texts))
    assert before == 7
    assert server.counts.requests - before == 40


def test_vectors_are_asked_for_in_base64_and_as_numbers_where_that_is_not_taken(server: FaultServer) -> None:
    server.manner.base64 = False
    with embedder(server) as made:
        np.testing.assert_array_equal(made.embed(TEXTS).embeddings, expected(TEXTS))
        made.embed(TEXTS)
    assert [body["encoding_format"] for body in server.counts.bodies] == ["base64", "float", "float"]


def test_dimensions_are_left_out_where_they_are_not_taken_and_the_width_is_right(server: FaultServer) -> None:
    server.manner.dimensions = False
    with embedder(server, dimensions=8) as made:
        np.testing.assert_array_equal(made.embed(TEXTS).embeddings, expected(TEXTS))
        made.embed(TEXTS)
    assert [body.get("dimensions") for body in server.counts.bodies] == [8, None, None]


def test_a_model_that_cannot_give_the_dimensions_asked_for_is_refused(server: FaultServer) -> None:
    server.manner.dimensions = False
    with (
        embedder(server, dimensions=4) as made,
        pytest.raises(vj.ProviderRefused, match=r"width 8, and not the dimensions=4"),
    ):
        made.embed(TEXTS)


@pytest.mark.parametrize(
    "options", [{"device": "cpu"}, {"dtype": "float16"}, {"normalize": True}, {"revision": "main"}], ids=str
)
def test_what_a_service_decides_for_itself_cannot_be_asked_of_it(options: dict[str, Any]) -> None:
    with pytest.raises(vj.InvalidInput, match=rf"^openai decides for itself: {next(iter(options))}= "):
        vj.Embedder("openai:m", base_url="http://localhost:1", **options)


def test_texts_cannot_be_cut_into_windows_where_nobody_counts_their_tokens() -> None:
    with pytest.raises(vj.NotSupported, match="truncate='chunk' needs a tokenizer"):
        make_provider("openai:m", ProviderOptions(base_url="http://localhost:1", truncate="chunk"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0), ("timeout", -1.0), ("timeout", float("nan")), ("timeout", float("inf")), ("timeout", "9"),
        ("timeout", True), ("requests_per_minute", 0), ("tokens_per_minute", 1.5), ("requests_per_minute", True),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_refused(option: str, value: Any) -> None:
    with pytest.raises(vj.InvalidInput, match=option):
        vj.Embedder("openai:m", base_url="http://localhost:1", **{option: value})


@pytest.mark.parametrize("option", ["base_url", "timeout", "requests_per_minute", "tokens_per_minute"])
def test_a_function_has_no_service_to_limit(option: str) -> None:
    value: Any = "http://localhost:1" if option == "base_url" else 7
    with pytest.raises(vj.InvalidInput, match=f"decides for itself: {option}= "):
        vj.Embedder(lambda texts: [[1.0]] * len(texts), **{option: value})


@pytest.mark.parametrize("name", ["openai", "cohere", "voyage", "google", "ollama"])
def test_an_sdk_that_is_not_installed_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    modules = {"voyage": ["voyageai"], "google": ["google.genai", "google"]}.get(name, [name])
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(vj.MissingExtra, match=rf"embedding with {name}:m needs the extra '{name}'"):
        vj.Embedder(f"{name}:m", base_url="http://localhost:1")


def test_openai_itself_takes_no_empty_text_and_servers_are_asked(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedder(server) as made:
        np.testing.assert_array_equal(made.embed(["a", ""]).embeddings, expected(["a", ""]))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with vj.Embedder("openai:m") as made:
        result = made.embed([""], on_error="collect")
    assert [error.code for error in result.errors] == ["INVALID_TEXT"]


def test_half_a_character_is_its_texts_error(server: FaultServer) -> None:
    with embedder(server) as made:
        result = made.embed(["a", "\ud800", "b"], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "INVALID_TEXT")]


def test_an_embedder_that_is_closed_or_forgotten_leaves_no_thread(server: FaultServer) -> None:
    with embedder(server) as made:
        made.embed(["a"])
        assert "vjaccel-loop" in ours()
    assert not ours()
    made = embedder(server)
    made.embed(["a"])
    del made
    gc.collect()
    assert not ours()


def test_embedders_with_one_key_at_one_place_share_what_a_minute_has_and_a_run_that_waits_for_it_can_be_halted(
    server: FaultServer,
) -> None:
    with embedder(server) as first, embedder(server, requests_per_minute=2) as second:
        assert first.embed(["a"]).ok.all()
        assert first.embed(["b"]).ok.all()
        threading.Timer(0.2, second._provider.halt).start()
        result = second.embed(["c"], on_error="collect")
    assert [error.code for error in result.errors] == ["CANCELLED"]
    assert server.counts.requests == 2


def test_a_run_that_is_interrupted_waits_for_no_limit(server: FaultServer) -> None:
    def interrupted(progress: object) -> None:
        raise KeyboardInterrupt

    with embedder(server, requests_per_minute=1, workers=4, batch_tokens=20) as made:
        with pytest.raises(KeyboardInterrupt):
            made.embed(TEXTS, progress=interrupted)
        assert server.counts.requests == 1
        assert server.counts.at_once == 0


def test_retries_are_recorded_before_the_batch_is_done(server: FaultServer) -> None:
    server.script("503", "429=1.5", "503")  # a wait of more than a beat, after a retry
    early: list[float] = []

    def progress(now: Progress) -> None:
        if not now.done:
            early.append(now.recording.timeline.values["retries"].sum())

    with embedder(server) as made:
        (result,) = made.stream(["a"], progress=progress)
    assert result.statistics.retries == 3
    assert result.recording.timeline.values["retries"].sum() == 3
    assert early[-1] >= 1
