"""Requests per minute as a real server counts them; takes two minutes."""

from __future__ import annotations

import pytest

import vjaccel as vj
from tests.faults.server import FaultServer


@pytest.mark.soak
def test_a_server_sees_no_minute_with_more_requests_or_tokens_than_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with (
        FaultServer(latency=0.2) as server,
        vj.Embedder("openai:m", base_url=server.url, requests_per_minute=20, workers=8, batch_tokens=20) as first,
        vj.Embedder("openai:m", base_url=server.url, tokens_per_minute=400, workers=8, batch_tokens=20) as second,
    ):
        texts = [f"text {i}" for i in range(100)]
        result = first.embed(texts)
        assert second.embed(texts[:40]).ok.all()
        times, tokens = list(server.counts.times), list(server.counts.tokens)
    assert result.ok.all()
    assert result.statistics.waited > 60
    assert len(times) == len(tokens) > 60
    for start in times[:50]:
        assert sum(start <= time < start + 60 for time in times[:50]) <= 20
    for start in times:
        assert sum(count for time, count in zip(times, tokens, strict=True) if start <= time < start + 60) <= 400
