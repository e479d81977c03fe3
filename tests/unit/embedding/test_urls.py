"""Addresses of servers: whole, near, and without secrets where they are shown."""

from __future__ import annotations

import pytest

import vjaccel as vj
from vjaccel.embedding.providers.urls import checked_url, is_local, shown


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("localhost:8000/v1", "has no scheme"),
        ("example.com/v1", "has no scheme"),
        ("/v1", "has no scheme"),
        ("", "has no scheme"),
        ("ftp://example.com", "is of ftp"),
        ("http:/example.com", "has no scheme"),
        ("http:///v1", "names no host"),
        ("http://host:port/v1", "is no URL"),
        ("http://[::1/v1", "is no URL"),
    ],
)
def test_an_address_that_is_not_whole_is_refused_with_an_example(url: str, what: str) -> None:
    with pytest.raises(vj.InvalidInput, match=f"base_url .*{what}"):
        vj.Embedder("openai:m", base_url=url)


@pytest.mark.parametrize("url", ["user:pass@host/v1", "http://user:pass@host:x/v1", "ftp://user:pass@host/v1"])
def test_a_refusal_shows_no_password(url: str) -> None:
    with pytest.raises(vj.InvalidInput) as raised:
        checked_url(url)
    assert "pass" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000/v1", "http://127.0.0.1", "http://[::1]:80/v1", "http://tei:80", "http://10.1.2.3/v1",
     "http://192.168.0.9", "https://models.internal/v1", "http://gpu.local:8080"],
)  # fmt: skip
def test_this_machine_and_its_network_are_local(url: str) -> None:
    assert checked_url(url) == url
    assert is_local(url)


@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://8.8.8.8/v1", "http://localhost.example.com"])
def test_the_rest_of_the_world_is_not(url: str) -> None:
    assert not is_local(url)


@pytest.mark.parametrize(
    ("url", "visible"),
    [
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://user:pass@example.com/v1?api-key=secret#x", "https://example.com/v1"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
        ("HTTP://Example.COM", "http://example.com"),
    ],
)
def test_what_is_shown_has_no_secrets(url: str, visible: str) -> None:
    assert shown(url) == visible
