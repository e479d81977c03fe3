"""Each service through its own SDK, at a server that speaks as it does: vectors, options, keys, faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import vjaccel as vj
from tests.faults.server import FaultServer, vector

VARIABLES = (
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "CO_API_KEY", "COHERE_API_KEY",
    "CO_API_URL", "VOYAGE_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "OLLAMA_API_KEY", "OLLAMA_HOST",
)  # fmt: skip


class Service(NamedTuple):
    """A provider, what stands behind its host, the variable of its key, and whether its SDK says what was asked to wait."""

    name: str
    path: str
    key: str
    tokens: bool = True
    texts: int = 256
    dimensions: str = "dimensions"


SERVICES = [
    Service("openai", "/v1", "OPENAI_API_KEY"),
    Service("azure", "", "AZURE_OPENAI_API_KEY"),
    Service("cohere", "", "CO_API_KEY", texts=96, dimensions="output_dimension"),
    Service("voyage", "/v1", "VOYAGE_API_KEY", dimensions="output_dimension"),
    Service("google", "", "GOOGLE_API_KEY", tokens=False, texts=100),
    Service("ollama", "", "OLLAMA_API_KEY", texts=64),
]


def all_but(*names: str) -> pytest.MarkDecorator:
    """A test of all services but some."""
    others = [service for service in SERVICES if service.name not in names]
    return pytest.mark.parametrize("service", others, ids=lambda service: service.name, indirect=True)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as made:
        yield made


@pytest.fixture(params=SERVICES, ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


def embedder(service: Service, server: FaultServer, model: str = "m", **options: Any) -> vj.Embedder:
    url = server.url.removesuffix("/v1") + service.path
    return vj.Embedder(f"{service.name}:{model}", base_url=url, **{"timeout": 10.0, **options})


def expected(texts: list[str], width: int = 8) -> np.ndarray:
    return np.array([vector(text, width) for text in texts])


def test_vectors_arrive_in_order_in_requests_that_hold_what_the_service_takes(
    service: Service, server: FaultServer
) -> None:
    texts = [f"text number {i}" for i in range(300)]
    with embedder(service, server) as ours:
        result = ours.embed(texts)
        assert ours.dim == 8
    np.testing.assert_allclose(result.embeddings, expected(texts), rtol=1e-6)
    assert max(server.counts.sizes) == service.texts
    assert result.statistics.tokens == (1500 if service.tokens else None)
    assert result.statistics.retries == 0


def test_dimensions_are_passed_through(service: Service, server: FaultServer) -> None:
    with embedder(service, server, dimensions=4) as ours:
        np.testing.assert_allclose(ours.embed(["a"]).embeddings, expected(["a"], 4), rtol=1e-6)
        assert ours.identity.dimensions == 4


def test_an_identity_has_the_endpoint_and_no_key(
    service: Service, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service.key, "sk-very-secret")
    with embedder(service, server) as ours:
        identity = ours.identity
    url = (server.url.removesuffix("/v1") + service.path).rstrip("/")
    assert (identity.provider, identity.model, identity.endpoint) == (service.name, "m", url)
    assert "secret" not in str(identity)


@pytest.mark.filterwarnings(
    "ignore:The 'warn' method is deprecated:DeprecationWarning"
)  # voyageai's, of a reply cut short
@pytest.mark.parametrize("fault", ["429=0.05", "503", "reset", "truncated", "cut", "count"])
def test_faults_that_pass_are_tried_again_by_us_and_by_nobody_else(service: Service, fault: str) -> None:
    with FaultServer("ok", fault) as server, embedder(service, server) as ours:
        ours.embed(["before"])
        result = ours.embed(["a", "b"])
    np.testing.assert_allclose(result.embeddings, expected(["a", "b"]), rtol=1e-6)
    assert (server.counts.requests, result.statistics.retries) == (3, 1)


@pytest.mark.parametrize("fault", ["401", "403", "404"])
def test_a_refusal_stops_the_run_at_its_first_request(service: Service, fault: str) -> None:
    with (
        FaultServer(f"{fault}*9") as server,
        embedder(service, server, workers=4, batch_tokens=20) as ours,
        pytest.raises(vj.ProviderRefused, match=service.name),
    ):
        ours.embed([f"text number {i}" for i in range(20)])
    assert server.counts.requests == 1


@all_but("ollama")  # its SDK's errors have no headers
def test_what_the_service_asks_to_wait_is_waited(service: Service) -> None:
    with FaultServer("429=600") as server, embedder(service, server) as ours:
        result = ours.embed(["a"], on_error="collect")
    # More than there is time for: known only to who has read it.
    assert [error.code for error in result.errors] == ["RATE_LIMITED"]
    assert server.counts.requests == 1


def test_a_model_with_colons_in_its_name_is_asked_for_by_all_of_it(service: Service, server: FaultServer) -> None:
    with (
        embedder(service, server, model="nomic-embed-text:v1.5") as ours,
        pytest.raises(vj.ProviderRefused, match=r"'nomic-embed-text:v1\.5'"),
    ):
        ours.embed(["a"])


def test_a_text_that_is_refused_costs_one_error(service: Service, server: FaultServer) -> None:
    with embedder(service, server) as ours:
        result = ours.embed(["a", "poison", "b"], on_error="collect")
    assert [(error.index, error.code) for error in result.errors] == [(1, "REQUEST_REJECTED")]


@all_but("ollama")
def test_a_missing_key_is_named_by_its_variable(service: Service) -> None:
    with pytest.raises(
        vj.ProviderRefused, match=rf"^{service.name}:m needs an API key: set the variable .*{service.key}"
    ):
        vj.Embedder(f"{service.name}:m")
    with pytest.raises(vj.ProviderRefused, match=service.key):
        vj.Embedder(f"{service.name}:m", base_url="https://example.com/v1")


@all_but("ollama", "azure")  # it needs none, and that of Azure travels in a header of its own
def test_a_key_is_sent_to_a_server_that_wants_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(service.key, "sk-right")
    with FaultServer(key="sk-right") as server, embedder(service, server) as ours:
        assert ours.embed(["a"]).ok.all()
    monkeypatch.setenv(service.key, "sk-wrong")
    with (
        FaultServer(key="sk-right") as server,
        embedder(service, server) as ours,
        pytest.raises(vj.ProviderRefused, match=f"the key in {service.key}") as raised,
    ):
        ours.embed(["a"])
    assert "wrong" not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize(
    ("name", "option", "query", "document", "neither"),
    [
        ("cohere", "input_type", "search_query", "search_document", "search_document"),
        ("voyage", "input_type", "query", "document", None),
    ],
)
def test_the_kind_of_text_is_asked_by_its_role_and_not_put_before_it(
    server: FaultServer, name: str, option: str, query: str, document: str, neither: str | None
) -> None:
    service = next(s for s in SERVICES if s.name == name)
    with embedder(service, server) as ours:
        found = [
            ours.embed_query("a").embeddings,
            ours.embed_document("a").embeddings,
            ours.embed(["a"]).embeddings,
            ours.embed(["a"], prompt="input_type=classification").embeddings,
        ]
        assert ours.identity.prompt == ("" if neither is None else f"{option}={neither}")
    assert [body.get(option) for body in server.counts.bodies] == [query, document, neither, "classification"]
    np.testing.assert_allclose(np.concatenate(found), expected(["a"] * 4), rtol=1e-6)


def test_google_is_asked_by_the_task_of_a_role(server: FaultServer) -> None:
    with embedder(Service("google", "", ""), server) as ours:
        ours.embed_query("a")
        ours.embed_document("a")
        ours.embed(["a"])
    kinds = [body["requests"][0].get("taskType") for body in server.counts.bodies]
    assert kinds == ["RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", None]


def test_a_prompt_is_put_before_each_text_where_it_is_none_of_the_services(server: FaultServer) -> None:
    with embedder(SERVICES[2], server) as ours:
        found = ours.embed(["a"], prompt="query: ").embeddings
    np.testing.assert_allclose(found, expected(["query: a"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "option", "cut", "refused"),
    [("cohere", "truncate", "END", "NONE"), ("voyage", "truncation", True, False), ("ollama", "truncate", True, False)],
)
def test_whether_long_texts_are_cut_is_asked_of_the_service(
    server: FaultServer, name: str, option: str, cut: object, refused: object
) -> None:
    service = next(s for s in SERVICES if s.name == name)
    lost = []
    for truncate in ("end", "error"):
        with embedder(service, server, truncate=truncate) as ours:
            found = ours.embed(["a"]).statistics
        lost.append((found.truncated, found.tokens_lost))
    # Nobody says of a text that it was cut off; where texts are refused instead, none was.
    assert lost == [(None, None), (0, 0)]
    assert [body[option] for body in server.counts.bodies] == [cut, refused]


def test_azure_refuses_what_is_too_long_so_that_nothing_is_cut_off(server: FaultServer) -> None:
    with embedder(SERVICES[1], server) as ours:
        assert ours.embed(["a"]).statistics.truncated == 0


def test_azure_is_what_openai_means_where_it_alone_is_set_up(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    with vj.Embedder("openai:m") as ours:
        assert ours.embed(["a"]).ok.all()
        assert ours.identity.provider == "azure"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with vj.Embedder("openai:m") as ours:
        assert (ours.identity.provider, ours.identity.endpoint) == ("openai", None)


def test_azure_needs_to_know_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    with pytest.raises(vj.ProviderRefused, match="set AZURE_OPENAI_ENDPOINT, or give base_url"):
        vj.Embedder("azure:m")


def test_ollamas_at_two_places_are_two_models(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for host in ("", "127.0.0.1:11435", "http://10.0.0.7:11434"):
        monkeypatch.setenv("OLLAMA_HOST", host)
        with vj.Embedder("ollama:m") as embedder:
            found.append(embedder.identity.endpoint)
    assert found == [None, "http://127.0.0.1:11435", "http://10.0.0.7:11434"]


def test_the_bound_of_a_dry_run_is_of_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO_API_KEY", "x")
    with vj.Embedder("cohere:m") as embedder:
        document = embedder.estimate(["butter"], prompt=embedder.prompt_for("document"))
        assert document.tokens_at_most == embedder.estimate(["butter"], prompt="").tokens_at_most == len("butter") + 2
