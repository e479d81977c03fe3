"""What was learned of batches is found again, whatever else is done to the file."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vjaccel as vj
from tests.unit.embedding.remembering import LEARNED, write_often
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding.learned import MODELS, cache_folder, recalled, remember
from vjaccel.embedding.tuner import Arm, Learned, bucket_of, budgets_around

TEXTS = [f"{'d ' * (i % 9)}{i}" for i in range(1000)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VJACCEL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_kept_is_recalled_by_its_key_alone(folder: Path) -> None:
    assert recalled("m") is None
    remember("m", LEARNED)
    remember("other", Learned(None, {}))
    assert recalled("m") == LEARNED
    assert recalled("other") == Learned(None, {})
    assert recalled("another") is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"version": 99, "learned": {"m": 1}}', '{"version": 1}', '{"version": 1, "learned": {"m": 3}}',
     '{"version": 1, "learned": {"m": {"most": null, "arms": {"x": {}}}}}',
     '{"version": 1, "learned": {"m": {"most": null, "arms": {"64": {"64": [1]}}}}}'],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_as_none_and_is_replaced(folder: Path, content: str) -> None:
    remember("m", LEARNED)
    the_file(folder).write_text(content)
    assert recalled("m") is None
    remember("m", LEARNED)
    assert recalled("m") == LEARNED


def test_models_that_were_written_long_ago_are_forgotten(folder: Path) -> None:
    remember("first", LEARNED)
    for i in range(MODELS - 1):
        remember(f"model {i}", LEARNED)
    assert recalled("first") == LEARNED
    remember("one more", LEARNED)
    assert recalled("first") is None
    assert len(json.loads(the_file(folder).read_text())["learned"]) == MODELS


def test_a_folder_that_cannot_be_made_keeps_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VJACCEL_CACHE_DIR", str(tmp_path / "file" / "cache"))
    remember("m", LEARNED)
    assert recalled("m") is None


def test_the_folder_is_the_users_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("VJACCEL_CACHE_DIR")
    assert cache_folder() == tmp_path / "vjaccel"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "vjaccel"


def test_processes_that_write_at_once_leave_a_whole_file(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")  # JAX, which may be here already, does not bear a fork
    others = [context.Process(target=write_often, args=(f"process {i}",)) for i in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert list(json.loads(the_file(folder).read_text())) == ["version", "learned"]


class TestEmbedders:
    """An embedder learns while it runs, and the next one begins there."""

    def test_before_anything_is_known_it_is_what_is_usual(self, tiny: Callable[[str], Tiny], folder: Path) -> None:
        with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu") as embedder:
            assert embedder.get_optimal_batch_size() == embedder.get_optimal_batch_size(18) == 1024
            embedder.embed(["one text teaches nothing"])
            embedder.count_tokens(TEXTS)
        assert not folder.exists()

    def test_what_one_has_learned_is_kept_and_the_next_one_begins_with_it(self, tiny: Callable[[str], Tiny]) -> None:
        model = f"local:{tiny('cls').folder}"
        with vj.Embedder(model, device="cpu", workers=1) as embedder:
            wanted = embedder.embed(TEXTS).embeddings
            assert embedder.get_optimal_batch_size(10) in budgets_around(1024)
            key = embedder._provider.tuned_as
        assert key is not None
        kept = recalled(key)
        assert kept is not None
        assert any(kept.arms.values())
        # Which was best is for the machine to say; so what is kept is put in its place here.
        remember(key, Learned(None, {bucket_of(10): {256: Arm(9, 9 * 7.0), 1024: Arm(9, 9 * 5.0)}}))
        with vj.Embedder(model, device="cpu", workers=1) as embedder:
            assert embedder.get_optimal_batch_size(10) == embedder.get_optimal_batch_size() == 256
            np.testing.assert_allclose(embedder.embed(TEXTS).embeddings, wanted, rtol=0, atol=1e-6)
        with vj.Embedder(model, device="cpu", workers=2) as embedder:
            assert embedder.get_optimal_batch_size() == 1024, "with other workers another one may be best"

    @pytest.mark.parametrize("options", [{"batch_tokens": 300}, {"truncate": "chunk"}])
    def test_what_was_given_or_is_not_for_it_to_say_is_not_learned(
        self, tiny: Callable[[str], Tiny], folder: Path, options: dict[str, object]
    ) -> None:
        with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", **options) as embedder:  # type: ignore[arg-type]  # options of all kinds
            embedder.embed(TEXTS[:500])
            assert embedder.get_optimal_batch_size() == options.get("batch_tokens", 1024)
        assert not folder.exists()

    def test_a_function_says_what_it_begins_with(self) -> None:
        with vj.Embedder(lambda texts: np.ones((len(texts), 2)), batch_tokens=77) as embedder:
            assert embedder.get_optimal_batch_size() == 77

    def test_memory_that_ran_out_is_remembered_for_the_next_one(
        self, tiny: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward, refused = torch.nn.Embedding.forward, list[int]()

        def scarce(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
            if ids.numel() > 200:
                refused.append(ids.numel())
                raise torch.OutOfMemoryError("no room")
            return forward(self, ids)

        monkeypatch.setattr(torch.nn.Embedding, "forward", scarce)
        for first in (True, False):
            with vj.Embedder(f"local:{tiny('cls').folder}", device="cpu", workers=1) as embedder:
                assert embedder.embed(TEXTS[:200]).ok.all()
                assert embedder.get_optimal_batch_size() <= 200
            assert bool(refused) == first
            assert len(refused) == len(set(refused))
            refused.clear()
