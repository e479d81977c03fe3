"""What a notebook shows of a result and of statistics: a small table, escaped, without what nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

import vjaccel as vj
from tests.unit.cli.letters import letters

HOSTILE = "<img src=x onerror=alert(1)>"


def embedded(texts: list[Any]) -> vj.EmbeddingResult:
    with vj.Embedder(lambda some: letters(16, some)) as embedder:
        return embedder.embed(texts, on_error="collect")


def test_a_result_shows_its_vectors_and_statistics() -> None:
    shown = embedded(["a floor plan", "melt butter", "melt butter"])._repr_html_()
    for words in ("Embedding result", ">3 × 16, float32<", "duplicates", "texts/s"):  # noqa: RUF001  # as it is shown
        assert words in shown


def test_what_nobody_knows_is_not_shown() -> None:
    shown = embedded(["a floor plan"]).statistics._repr_html_()
    assert "Embedding statistics" in shown
    for words in (">tokens<", ">padding<", "None", "failed", "tried again"):
        assert words not in shown


def test_errors_are_shown_up_to_some_and_escaped() -> None:
    def hostile(texts: list[str]) -> Any:
        raise ValueError(f"no {HOSTILE}")

    with vj.Embedder(hostile) as embedder:
        result = embedder.embed([f"text {i}" for i in range(9)], on_error="collect")
    shown = result._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "4 errors more" in shown
    assert "EMBEDDING_GENERATION_FAILED 9" in shown


@pytest.mark.parametrize("texts", [[], [None]], ids=["none", "no text"])
def test_a_result_of_nothing_is_shown(texts: list[Any]) -> None:
    assert "Embedding result" in embedded(texts)._repr_html_()


def test_an_array_of_torch_is_shown_by_its_type() -> None:
    with vj.Embedder(lambda some: letters(16, some)) as embedder:
        result = embedder.embed(["a floor plan"], backend="torch:cpu")
    assert ">1 × 16, float32<" in result._repr_html_()  # noqa: RUF001  # as it is shown
