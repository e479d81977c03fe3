"""A remote service that fails in every way there is, the real SDK between it and us: what is tried again and what is not."""

from __future__ import annotations

import numpy as np
import pytest

import vjaccel as vj
from tests.faults.remote import embedder, expected
from tests.faults.server import FaultServer

pytestmark = pytest.mark.usefixtures("no_keys")

TEXTS = [f"text number {i}" for i in range(40)]


def test_vectors_come_back_in_order_with_what_the_service_says_of_tokens(server: FaultServer) -> None:
    texts = [f"text number {i}" for i in range(1000)]
    with embedder(server) as ours:
        result = ours.embed(texts)
    np.testing.assert_array_equal(result.embeddings, expected(texts))
    assert result.statistics.tokens == sum(server.counts.tokens) == 5000
    assert (result.statistics.retries, result.statistics.truncated) == (0, None)
    assert set(server.counts.acknowledged.values()) == {1}


def test_tokens_are_unknown_where_the_service_does_not_say(server: FaultServer) -> None:
    server.manner.usage = False
    with embedder(server) as ours:
        assert ours.embed(["a"]).statistics.tokens is None


PASSING = (
    "429=0.05",
    "429-date=1",
    "429-bare",
    "500",
    "503",
    "reset",
    "truncated",
    "cut",
    "text",
    "page",
    "object",
    "strings",
    "base64",
    "count",
)


@pytest.mark.parametrize(
    ("fault", "first"),
    [*((fault, True) for fault in PASSING), *((fault, False) for fault in (*PASSING, "width"))],
    ids=lambda value: value if isinstance(value, str) else f"{'first' if value else 'later'} request",
)
def test_what_may_pass_is_tried_again_and_every_vector_arrives(fault: str, first: bool) -> None:
    with FaultServer(*([] if first else ["ok"]), fault) as server, embedder(server) as ours:
        if not first:
            ours.embed(["before"])
        result = ours.embed(TEXTS)
    np.testing.assert_array_equal(result.embeddings, expected(TEXTS))
    assert result.statistics.retries == 1
    assert server.counts.requests == 2 + (not first)


def test_a_reply_in_another_order_is_put_in_order(server: FaultServer) -> None:
    server.script("order*3")
    with embedder(server) as ours:
        np.testing.assert_array_equal(ours.embed(TEXTS).embeddings, expected(TEXTS))
    assert server.counts.requests == 1


@pytest.mark.parametrize("fault", ["slow=5", "late=5"])
def test_one_attempt_takes_half_the_time_at_most_so_that_there_is_a_second(fault: str) -> None:
    with FaultServer(fault) as server, embedder(server, timeout=1.6) as ours:
        result = ours.embed(["a"])
    assert result.statistics.retries == 1
    np.testing.assert_array_equal(result.embeddings, expected(["a"]))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("429=0.01", "RATE_LIMITED"),
        ("500", "PROVIDER_UNAVAILABLE"),
        ("reset", "PROVIDER_UNAVAILABLE"),
        ("truncated", "PROVIDER_UNAVAILABLE"),
        ("late=1", "TIMEOUT"),
    ],
)
def test_what_does_not_pass_within_the_time_is_the_error_of_its_texts_alone(fault: str, code: str) -> None:
    with FaultServer("ok", f"{fault}*50") as server, embedder(server, timeout=0.4, workers=1) as ours:
        ours.embed(["before"])
        result = ours.embed(["a", "b"], on_error="collect")
        assert [error.code for error in result.errors] == [code, code]
        assert result.statistics.failures == {code: 2}
        server.faults.clear()
    assert server.counts.requests < 30


def test_a_wait_that_is_longer_than_the_time_left_is_not_waited(server: FaultServer) -> None:
    server.script("429=600")
    with embedder(server) as ours:
        result = ours.embed(["a"], on_error="collect")
    assert (result.errors[0].code, server.counts.requests) == ("RATE_LIMITED", 1)


def test_a_service_that_asks_for_a_day_ends_the_run_and_says_so(server: FaultServer) -> None:
    server.script("ok", "429=86400")
    with embedder(server, workers=1, batch_tokens=20) as ours:
        with pytest.raises(vj.ProviderRefused, match=r"asks to be left alone for 86,\d\d\d s"):
            ours.embed(TEXTS, on_error="collect")
        assert server.counts.requests == 2


@pytest.mark.parametrize("fault", ["text", "page", "object", "strings", "base64", "count"])
def test_what_has_never_answered_with_vectors_is_asked_twice_and_the_address_doubted(fault: str) -> None:
    with FaultServer(f"{fault}*99") as server, embedder(server, workers=8, batch_tokens=20) as ours:
        with pytest.raises(vj.ProviderRefused, match=r"openai at http://127.0.0.1:\d+/v1 does not answer .*--base-url"):
            ours.embed(TEXTS, on_error="collect")
        assert server.counts.requests == 2
        server.faults.clear()
        assert ours.embed(TEXTS).ok.all()


@pytest.mark.parametrize(
    ("word", "code"), [("nan!", "INVALID_EMBEDDING"), ("odd!", "DIMENSION_MISMATCH")], ids=["nan", "odd"]
)
def test_only_the_bad_vectors_of_a_reply_are_asked_for_again_and_all_tokens_count(
    server: FaultServer, word: str, code: str
) -> None:
    texts = [*TEXTS[:17], f"it is {word}", *TEXTS[17:], f"and this is {word}"]
    with embedder(server) as ours:
        result = ours.embed(texts, on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(17, code), (41, code)]
    np.testing.assert_array_equal(result.embeddings[result.ok], expected(TEXTS))
    assert {server.counts.acknowledged[text] for text in TEXTS} == {1}
    assert server.counts.acknowledged[texts[17]] <= 3
    assert result.statistics.tokens == sum(server.counts.tokens)


@pytest.mark.parametrize(("fault", "again"), [("nan", 1), ("duplicate", 2)])
def test_a_vector_that_is_bad_once_is_asked_for_alone(fault: str, again: int) -> None:
    with FaultServer(fault) as server, embedder(server, workers=1) as ours:
        result = ours.embed(TEXTS)
    np.testing.assert_array_equal(result.embeddings, expected(TEXTS))
    assert server.counts.sizes == [40, *[1] * again]
    assert result.statistics.tokens == sum(server.counts.tokens)


def test_the_tokens_of_replies_that_are_thrown_away_count(server: FaultServer) -> None:
    server.script("ok", "count*2")
    with embedder(server, workers=1) as ours:
        ours.embed(["before"])
        result = ours.embed(TEXTS)
    assert result.statistics.tokens == sum(server.counts.tokens[1:])


def test_too_many_bad_vectors_in_one_reply_stop_the_run(server: FaultServer) -> None:
    with embedder(server, workers=1) as ours, pytest.raises(vj.TooManyErrors):
        ours.embed([f"nan! {i}" for i in range(200)], on_error="collect", max_errors=3)
    assert server.counts.requests <= 1 + 3 + 2


@pytest.mark.parametrize(("place", "workers"), [pytest.param(0, 1, marks=pytest.mark.soak), (17, 4)])
def test_a_text_that_crashes_the_service_costs_one_error(server: FaultServer, workers: int, place: int) -> None:
    texts = [*TEXTS[:place], "this will crash!", *TEXTS[place:]]
    with embedder(server, workers=workers, timeout=60.0) as ours:
        result = ours.embed(texts, on_error="collect")
        assert [(error.index, error.code) for error in result.errors] == [(place, "PROVIDER_UNAVAILABLE")]
        np.testing.assert_array_equal(result.embeddings[result.ok], expected(TEXTS))
        assert set(server.counts.embedded.values()) == {1}
        assert server.counts.statuses[500] <= 3 * 8
        assert ours.embed(["after"]).statistics.waited < 1.0  # nobody takes the endpoint for down


@pytest.mark.parametrize("fault", ["count", "width"])
def test_a_bad_reply_is_asked_for_once_more_and_then_the_request_is_split(fault: str) -> None:
    with FaultServer("ok*2", fault, fault) as server, embedder(server, workers=1) as ours:
        ours.embed(["before"])
        ours.embed(["that"])
        result = ours.embed(["a", "b"])
    np.testing.assert_array_equal(result.embeddings, expected(["a", "b"]))
    assert server.counts.sizes == [1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("nan", "INVALID_EMBEDDING"), ("width", "DIMENSION_MISMATCH"), ("count", "INVALID_REPLY")],
)
def test_a_vector_that_is_none_is_never_stored(fault: str, code: str) -> None:
    with FaultServer("ok*2", f"{fault}*2") as server, embedder(server) as ours:
        ours.embed(["before"])
        ours.embed(["that"])
        result = ours.embed(["a"], on_error="collect")
    assert [error.code for error in result.errors] == [code]
    assert np.isnan(result.embeddings).all()


@pytest.mark.parametrize("first", ["width", "ok"])
def test_a_width_that_one_reply_alone_has_shown_refuses_no_others_but_ends_the_run_that_names_both(first: str) -> None:
    others = "width" if first == "ok" else "ok"
    with FaultServer(first, f"{others}*99") as server, embedder(server, workers=4, batch_tokens=20) as ours:
        with pytest.raises(
            vj.ProviderRefused, match=r"first vectors have width \d, .* say its width with dimensions="
        ) as e:
            ours.embed(TEXTS, on_error="collect")
        assert ("width 9, " in str(e.value), " 8; " in str(e.value)) == (first == "width", first == "width")
        assert server.counts.requests < len(TEXTS) / 2
    with FaultServer() as server, embedder(server, dimensions=8) as ours:
        np.testing.assert_array_equal(ours.embed(TEXTS).embeddings, expected(TEXTS))


@pytest.mark.parametrize("fault", ["401", "403", "404", "quota"])
def test_a_run_that_is_refused_stops_before_a_second_request(fault: str) -> None:
    with FaultServer(f"{fault}*9", latency=0.05) as server, embedder(server, workers=8, batch_tokens=20) as ours:
        with pytest.raises(vj.ProviderRefused, match=r"^openai at http://127.0.0.1:\d+/v1 "):
            ours.embed(TEXTS, on_error="collect")
        assert server.counts.requests == 1
        server.faults.clear()
        assert ours.embed(TEXTS).ok.all()  # another run asks again


def test_a_key_that_is_revoked_while_a_run_goes_on_stops_it() -> None:
    with (
        FaultServer("ok*3", "401*99", latency=0.01) as server,
        embedder(server, workers=4, batch_tokens=20) as ours,
        pytest.raises(vj.ProviderRefused, match="refuses the key"),
    ):
        ours.embed(TEXTS)
    assert server.counts.requests <= 3 + 4


def test_a_model_that_nobody_knows_is_named_with_where_it_was_asked(server: FaultServer) -> None:
    with (
        vj.Embedder("openai:other:v1.5", base_url=server.url) as ours,
        pytest.raises(vj.ProviderRefused, match=r"does not know the model 'other:v1.5'.*\(404: The model `other:v1.5`"),
    ):
        ours.embed(["a"])


def test_a_poisoned_text_costs_one_error_and_the_others_arrive(server: FaultServer) -> None:
    texts = [*TEXTS[:17], "this is poison", *TEXTS[17:]]
    with embedder(server) as ours:
        result = ours.embed(texts, on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(17, "REQUEST_REJECTED")]
    assert "a text cannot be processed" in result.errors[0].message
    np.testing.assert_array_equal(result.embeddings[result.ok], expected(TEXTS))
    assert set(server.counts.embedded.values()) == {1}


def test_a_text_above_the_models_limit_is_its_own_error(server: FaultServer) -> None:
    server.manner.most_bytes = 100
    texts = [*TEXTS, "long " * 50]
    with embedder(server) as ours:
        result = ours.embed(texts, on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(40, "TOKEN_LIMIT_EXCEEDED")]
    assert result.ok.sum() == 40


def test_a_request_that_is_too_large_is_split(server: FaultServer) -> None:
    server.script("413", "413", "ok")
    with embedder(server, workers=1) as ours:
        result = ours.embed(TEXTS)
    np.testing.assert_array_equal(result.embeddings, expected(TEXTS))
    assert server.counts.sizes == [10, 10, 20]


def test_a_single_text_that_is_too_large_is_its_own_error(server: FaultServer) -> None:
    server.script("413")
    with embedder(server) as ours:
        assert ours.embed(["a"], on_error="collect").errors[0].code == "TOKEN_LIMIT_EXCEEDED"


def test_an_endpoint_that_is_not_there_is_unavailable_after_the_time() -> None:
    with FaultServer() as server:
        url = server.url
    with vj.Embedder("openai:m", base_url=url, timeout=0.5) as ours:
        result = ours.embed(TEXTS, on_error="collect")
    assert result.statistics.failures == {"PROVIDER_UNAVAILABLE": len(TEXTS)}


def test_while_an_endpoint_is_down_one_request_in_a_while_asks_and_all_arrive_when_it_is_back() -> None:
    texts = [f"text number {i}" for i in range(64)]
    with FaultServer("ok", "503*6") as server, embedder(server, workers=8, batch_tokens=20, timeout=20.0) as ours:
        ours.embed(["before"])
        result = ours.embed(texts)
    np.testing.assert_array_equal(result.embeddings, expected(texts))
    assert server.counts.statuses[503] == 6
    assert result.statistics.waited > 0


def test_after_a_refusal_for_load_fewer_go_on_at_once() -> None:
    with (
        FaultServer("ok*24", "429=0.01*4", latency=0.01) as server,
        embedder(server, workers=8, batch_tokens=20) as ours,
    ):
        result = ours.embed([f"t {i}" for i in range(120)])
        assert result.ok.all()
        limit = ours._provider._calls._slots.adaptive.limit
    assert limit < 8
    assert server.counts.most_at_once <= 8
    assert result.statistics.retries == 4


def test_a_key_never_shows_in_what_is_said_of_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with FaultServer(key="sk-another") as server, embedder(server) as ours:
        with pytest.raises(vj.ProviderRefused, match="refuses the key in OPENAI_API_KEY") as raised:
            ours.embed(["a"])
        seen = [repr(ours), repr(ours._provider), repr(ours.identity)]
    chain: BaseException | None = raised.value
    while chain is not None:
        seen.append(f"{chain!s} {chain!r}")
        chain = chain.__cause__ or chain.__context__
    assert "secret" not in " ".join(seen)


def test_a_key_that_an_error_repeats_is_cut_out_of_it(monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "poison-is-my-key")
    server.manner.poison = "hello"
    server.script("500*99")
    with embedder(server, timeout=0.2) as ours:
        result = ours.embed(["a"], on_error="collect")
    assert "poison-is-my-key" not in result.errors[0].message
