"""What each peer is asked for is the work that it is compared at: its results are right by scores, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vjaccel.benchmark import data
from vjaccel.benchmark.peers import PEERS, PeerContender, installed
from vjaccel.benchmark.results import Case
from vjaccel.benchmark.truth import truth, verdict
from vjaccel.errors import NotSupported

ROWS, DIM = 400, 16
WAYS = {
    "faiss": ("topk cosine", "topk euclidean", "topk-once cosine", "within cosine", "normalize"),
    "usearch": ("topk cosine", "topk euclidean", "topk-once cosine"),
    "torch": ("topk cosine", "topk euclidean", "topk-once cosine", "normalize", "similarity cosine",
              "distance euclidean", "distance manhattan"),
    "scikit-learn": ("topk cosine", "topk euclidean", "topk-once cosine", "normalize", "similarity cosine",
                     "distance euclidean", "distance manhattan"),
    "sentence-transformers": ("topk cosine", "topk-once cosine", "normalize", "similarity cosine", "pairs cosine"),
}  # fmt: skip


def small(way: str, dtype: str = "float32") -> Case:
    operation, _, metric = way.partition(" ")
    sizes = {"rows": ROWS, "dim": DIM, "k": 10}
    shape = sizes if operation in ("pairs", "normalize") else {"queries": 7} | sizes
    return Case(way, operation, metric or None, dtype, shape, 0.0, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows")
    data.write_rows(path, DIM, ROWS, clustered=False)
    return path


def peer(name: str) -> PeerContender:
    if name not in installed():
        pytest.skip(f"{name} is not installed")
    return PeerContender(name, "cpu")


def computed(contender: PeerContender, case: Case, folder: Path, number: int) -> dict[str, np.ndarray]:
    rows = data.base(folder, case)
    call = contender.prepared(case, None if rows is None else contender.given(rows, "host"), None)
    given = data.block(case, data.base(folder, case, copied=False), number)
    return contender.on_host(case, call(contender.given(given, "host")))


@pytest.mark.parametrize(("name", "way"), [(name, way) for name, ways in WAYS.items() for way in ways])
def test_a_peers_result_is_right(name: str, way: str, folder: Path) -> None:
    case, rows = small(way), data.base(folder, small(way), copied=False)
    found = computed(peer(name), case, folder, 3)
    every = np.arange(case.shape.get("queries", ROWS))
    answer = truth(case, rows, data.block(case, rows, 3), every)
    assert verdict(case, answer, found, exact=False).refused is None


@pytest.mark.parametrize(("name", "way"), [(name, ways[0]) for name, ways in WAYS.items()])
def test_the_answer_to_other_data_is_refused(name: str, way: str, folder: Path) -> None:
    case, rows = small(way), data.base(folder, small(way), copied=False)
    found = computed(peer(name), case, folder, 3)
    every = np.arange(case.shape.get("queries", ROWS))
    other = truth(case, rows, data.block(case, rows, 4), every)
    assert verdict(case, other, found, exact=False).refused is not None


@pytest.mark.parametrize("name", list(PEERS))
def test_what_a_peer_does_not_do_is_said(name: str) -> None:
    with pytest.raises(NotSupported, match=f"{name} is not compared at this"):
        peer(name).prepared(small("within manhattan"), None, None)


def test_half_precision_on_a_cpu_is_no_comparison() -> None:
    with pytest.raises(NotSupported, match="torch emulates float16 on a CPU"):
        peer("torch").prepared(small("normalize", "float16"), None, None)
