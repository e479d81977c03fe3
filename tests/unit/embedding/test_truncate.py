"""Texts that are longer than a model takes: cut off, refused, or embedded in windows."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import vjaccel as vj
from tests.unit.embedding.tiny_models import LONGEST, Tiny
from vjaccel.embedding.providers.windows import cut

ROOT = Path(__file__).parents[3]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ENDED = "last token, an end of its own, padded left"
ROOM = LONGEST - 2
"""Tokens of a text that the tiny BERTs take beside two special ones."""
CLOSE = {"rtol": 0, "atol": 1e-5}


def of(tokens: int) -> str:
    """A text of so many tokens for a tiny model: one for each letter."""
    return " ".join(LETTERS[i % len(LETTERS)] for i in range(tokens))


@pytest.fixture
def chunking(tiny: Callable[[str], Tiny]) -> Iterator[Callable[..., vj.Embedder]]:
    made: list[vj.Embedder] = []

    def make(kind: str, truncate: str = "chunk", **options: object) -> vj.Embedder:
        made.append(vj.Embedder(f"local:{tiny(kind).folder}", device="cpu", truncate=truncate, **options))  # type: ignore[arg-type]  # a word from a table
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


def by_hand(tiny: Tiny, tokens: int, *, room: int, prompt: str = "", normalize: bool = False) -> tuple[np.ndarray, int]:
    """The mean of the windows of `of(tokens)`, each embedded by sentence-transformers as a text; and how many they are."""
    letters = of(tokens).split()
    step = room - room // 8
    parts, start = [], 0
    while True:
        parts.append(letters[start : start + room])
        if start + room >= tokens:
            break
        start += step
    vectors = tiny.model.encode([" ".join(part) for part in parts], prompt=prompt or None)
    mean = np.average(vectors.astype(np.float64), axis=0, weights=[len(part) for part in parts])
    return mean / (np.linalg.norm(mean) if normalize else 1), len(parts)


class TestError:
    """truncate="error"."""

    @pytest.mark.parametrize("kind", ["cls", "last token, padded left"])
    def test_a_text_above_the_limit_alone_fails_and_says_by_how_much(
        self, tiny: Callable[[str], Tiny], chunking: Callable[..., vj.Embedder], kind: str
    ) -> None:
        special = 2 if kind == "cls" else 0
        texts = ["a b", of(LONGEST - special + 1), of(LONGEST - special), "c"]
        found = chunking(kind, "error").embed(texts, on_error="collect")
        (error,) = found.errors
        assert (error.index, error.code) == (1, "TOKEN_LIMIT_EXCEEDED")
        assert error.message == f"it has {LONGEST + 1} tokens, and the model takes {LONGEST}"
        assert found.ok.tolist() == [True, False, True, True]
        assert (found.statistics.truncated, found.statistics.failures) == (0, {"TOKEN_LIMIT_EXCEEDED": 1})
        kept = [0, 2, 3]
        np.testing.assert_allclose(found.embeddings[kept], tiny(kind).model.encode([texts[i] for i in kept]), **CLOSE)

    def test_the_prompt_counts(self, chunking: Callable[..., vj.Embedder]) -> None:
        embedder = chunking("prompts", "error")
        assert embedder.embed([of(ROOM)]).ok.all()
        with pytest.raises(vj.EmbeddingErrors) as raised:
            embedder.embed_query([of(ROOM)])  # "find: " is five tokens
        assert f"it has {LONGEST + 5} tokens" in raised.value.result.errors[0].message

    def test_all_texts_may_be_too_long(self, chunking: Callable[..., vj.Embedder]) -> None:
        found = chunking("cls", "error").embed([of(60), of(61)], on_error="collect")
        assert [error.code for error in found.errors] == ["TOKEN_LIMIT_EXCEEDED"] * 2

    def test_tokens_are_counted_whole(self, chunking: Callable[..., vj.Embedder]) -> None:
        counted = chunking("cls", "error").count_tokens([of(100), "a"])
        assert counted is not None
        assert counted.tolist() == [102, 3]


class TestWindows:
    """truncate="chunk"."""

    @pytest.mark.parametrize("kind", ["cls", "mean", "dense", "last token, padded right", ENDED])
    def test_a_long_texts_vector_is_its_windows_weighted_mean(
        self, tiny: Callable[[str], Tiny], chunking: Callable[..., vj.Embedder], kind: str
    ) -> None:
        room = {"last token, padded right": LONGEST, ENDED: LONGEST - 1}.get(kind, ROOM)
        lengths = [3, room, room + 1, 2 * room, 150, 1]
        wanted = [by_hand(tiny(kind), n, room=room, normalize=kind in ("cls", "dense", ENDED)) for n in lengths]
        found = chunking(kind).embed([of(n) for n in lengths])
        assert found.chunks is not None
        assert found.chunks.dtype == np.int64
        assert found.chunks.tolist() == [count for _, count in wanted]
        np.testing.assert_allclose(found.embeddings, [vector for vector, _ in wanted], **CLOSE)
        assert (found.statistics.truncated, found.statistics.tokens_lost) == (0, 0)

    @pytest.mark.parametrize("kind", ["prompts", "prompts left out of the mean"])
    def test_each_window_has_the_prompt(
        self, tiny: Callable[[str], Tiny], chunking: Callable[..., vj.Embedder], kind: str
    ) -> None:
        vector, count = by_hand(tiny(kind), 70, room=ROOM - 5, prompt="find: ")
        found = chunking(kind).embed_query([of(70), "a"])
        assert found.chunks is not None
        assert found.chunks.tolist() == [count, 1]
        np.testing.assert_allclose(found.embeddings[0], vector, **CLOSE)

    def test_fewer_dimensions_are_cut_before_the_mean(
        self, tiny: Callable[[str], Tiny], chunking: Callable[..., vj.Embedder]
    ) -> None:
        model = tiny("cls").model
        windows = [of(100).split()[start : start + ROOM] for start in range(0, 100 - ROOM + 20, 20)]
        vectors = model.encode([" ".join(w) for w in windows], truncate_dim=5, normalize_embeddings=True)
        mean = np.average(vectors, axis=0, weights=[len(w) for w in windows])
        found = chunking("cls", dimensions=5).embed([of(100)])
        np.testing.assert_allclose(found.embeddings[0], mean / np.linalg.norm(mean), **CLOSE)

    def test_short_texts_have_the_vectors_that_they_have_otherwise(self, chunking: Callable[..., vj.Embedder]) -> None:
        texts = [of(n) for n in (1, 5, ROOM)]
        wanted = chunking("cls", "end").embed(texts).embeddings
        with_a_long_one = chunking("cls", workers=1).embed([*texts, of(500)]).embeddings
        np.testing.assert_allclose(with_a_long_one[:3], wanted, rtol=0, atol=1e-6)

    def test_tokens_are_those_of_all_windows(self, chunking: Callable[..., vj.Embedder]) -> None:
        embedder = chunking("cls")
        counted = embedder.count_tokens([of(ROOM + 1), "a"])
        assert counted is not None
        # Twenty-two tokens, then three of which two have been there, each between two special ones.
        assert counted.tolist() == [LONGEST + 2 + 3, 3]
        assert embedder.embed([of(ROOM + 1), "a"]).statistics.tokens == counted.sum()

    def test_one_text_of_many_windows_is_no_giant_batch(
        self, chunking: Callable[..., vj.Embedder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embedder = chunking("cls", workers=1, batch_tokens=4 * LONGEST)
        sizes: list[int] = []
        forward = torch.nn.Embedding.forward

        def seen(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
            sizes.append(ids.numel())
            return forward(self, ids)

        monkeypatch.setattr(torch.nn.Embedding, "forward", seen)
        found = embedder.embed([of(2000), "a b"])
        assert found.chunks is not None
        assert found.chunks[0] > 90
        assert max(sizes) <= 4 * LONGEST
        assert found.statistics.padding_share is not None
        assert found.statistics.padding_share < 0.05

    def test_no_more_vectors_are_kept_than_those_of_one_batch_of_windows(
        self, chunking: Callable[..., vj.Embedder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        embedder = chunking("cls", workers=1, batch_tokens=4 * LONGEST)
        made: list[weakref.ref[torch.Tensor]] = []
        kept: list[int] = []
        vectors = embedder._provider._vectors  # type: ignore[attr-defined]  # a local one has it

        def seen(items: list[np.ndarray], prompt: str) -> torch.Tensor:
            kept.append(sum(each() is not None for each in made))
            found: torch.Tensor = vectors(items, prompt)
            made.append(weakref.ref(found))
            return found

        monkeypatch.setattr(embedder._provider, "_vectors", seen)
        assert embedder.embed([of(2000), of(1000)]).ok.all()
        assert len(made) > 20
        assert max(kept) <= 1

    def test_windows_that_memory_has_no_room_for_are_embedded_fewer_at_a_time(
        self, chunking: Callable[..., vj.Embedder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = chunking("mean").embed([of(700)]).embeddings
        embedder = chunking("mean", workers=1, batch_tokens=20 * LONGEST)
        forward = torch.nn.Embedding.forward
        refused: list[int] = []

        def scarce(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
            if ids.numel() > 6 * LONGEST:
                refused.append(ids.numel())
                raise torch.OutOfMemoryError("no room")
            return forward(self, ids)

        monkeypatch.setattr(torch.nn.Embedding, "forward", scarce)
        np.testing.assert_allclose(embedder.embed([of(700)]).embeddings, wanted, rtol=0, atol=1e-6)
        assert refused
        refused.clear()
        np.testing.assert_allclose(embedder.embed([of(700)]).embeddings, wanted, rtol=0, atol=1e-6)
        assert not refused, "a size that memory had no room for was tried again"

    def test_a_prompt_that_leaves_no_room_is_an_error_of_the_long_texts(
        self, chunking: Callable[..., vj.Embedder]
    ) -> None:
        found = chunking("mean").embed(["", "a"], prompt=f"{of(ROOM)} ", on_error="collect")
        (error,) = found.errors
        assert (error.index, error.code) == (1, "TOKEN_LIMIT_EXCEEDED")
        assert error.message.endswith(f"the model takes {LONGEST}, of which {LONGEST} go around each window")
        assert found.chunks is not None
        assert found.chunks.tolist() == [1, 0]

    def test_duplicates_and_failures_have_their_counts(self, chunking: Callable[..., vj.Embedder]) -> None:
        found = chunking("cls").embed([of(50), None, "a", of(50)], on_error="collect")  # type: ignore[list-item]  # one is no text
        assert found.chunks is not None
        assert found.chunks.tolist() == [3, 0, 1, 3]
        np.testing.assert_array_equal(found.embeddings[0], found.embeddings[3])

    def test_a_stream_counts_too_and_other_runs_do_not(self, chunking: Callable[..., vj.Embedder]) -> None:
        texts = [of(50), "a", of(90)]
        counts = [result.chunks for result in chunking("cls").stream(texts, chunk_size=2)]
        assert [count.tolist() for count in counts if count is not None] == [[3, 1], [5]]
        assert chunking("cls", "end").embed(["a"]).chunks is None

    def test_no_texts_have_no_counts(self, chunking: Callable[..., vj.Embedder]) -> None:
        counts = chunking("cls").embed([]).chunks
        assert counts is not None
        assert counts.shape == (0,)

    def test_vectors_may_stay_with_a_backend(self, chunking: Callable[..., vj.Embedder]) -> None:
        embedder = chunking("cls")
        wanted = embedder.embed([of(60), "a"]).embeddings
        found = embedder.embed([of(60), "a"], backend="torch:cpu").embeddings
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("truncate", ["error", "chunk"])
def test_a_model_without_a_limit_has_nothing_to_cut(
    tiny: Callable[[str], Tiny], chunking: Callable[..., vj.Embedder], truncate: str
) -> None:
    found = chunking("static", truncate).embed([of(500), "a"])
    np.testing.assert_allclose(found.embeddings, tiny("static").model.encode([of(500), "a"]), **CLOSE)
    assert (found.chunks is None) == (truncate == "error")
    if found.chunks is not None:
        assert found.chunks.tolist() == [1, 1]


@pytest.mark.parametrize("truncate", ["end", "error", "chunk"])
def test_the_identity_says_what_becomes_of_long_texts(chunking: Callable[..., vj.Embedder], truncate: str) -> None:
    identity = chunking("cls", truncate).identity
    assert (identity.truncate, identity.dtype, identity.revision) == (truncate, "float32", None)


def test_another_word_for_truncate_is_refused(tiny: Callable[[str], Tiny]) -> None:
    with pytest.raises(vj.InvalidInput, match="truncate 'start' is none of end, error, chunk"):
        vj.Embedder(f"local:{tiny('cls').folder}", truncate="start")  # type: ignore[arg-type]  # the point


def test_a_function_cuts_for_itself() -> None:
    with pytest.raises(vj.InvalidInput, match="truncate= cannot be given"):
        vj.Embedder(lambda texts: np.ones((len(texts), 2)), truncate="chunk")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
@pytest.mark.parametrize(
    ("truncate", "texts"),
    [("end", 8), ("chunk", 8), *(pytest.param(x, 24, marks=pytest.mark.soak) for x in ("end", "chunk"))],
)
def test_many_long_texts_are_tokenised_in_little_more_memory_than_one(
    tiny: Callable[[str], Tiny], truncate: str, texts: int
) -> None:
    program = (
        "import resource, sys\n"
        "from vjaccel.embedding.providers.protocol import ProviderOptions\n"
        "from vjaccel.embedding.providers.registry import make_provider\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "provider = make_provider('local:' + sys.argv[1], ProviderOptions(device='cpu', truncate=sys.argv[2]))\n"
        "text = 'a b c d e ' * 20_000\n"
        "provider.prepare([text], '')\n"
        "before = peak()\n"
        "provider.prepare([text] * int(sys.argv[3]), '')\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, "-c", program, str(tiny("cls").folder), truncate, str(texts)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    # The tokenizer's own tokens of 24 such texts are some 400 MB; the numbers that are kept of them 20.
    assert int(done.stdout) < texts * 10 << 20


@pytest.mark.parametrize("own", range(5, 40))
@pytest.mark.parametrize(("longest", "before", "after"), [(10, 1, 1), (17, 0, 0), (9, 4, 2), (4, 2, 1)])
def test_windows_hold_every_token_in_order_and_no_window_is_too_long(
    own: int, longest: int, before: int, after: int
) -> None:
    whole = np.arange(before + own + after)[None]
    windows = cut(whole, longest, before, after)
    assert windows is not None
    rows = [windows.row(i) for i in range(windows.count)]
    bodies = [row[0, before : row.shape[1] - after].tolist() for row in rows]
    assert all(row.shape[1] <= longest for row in rows)
    assert windows.lengths.tolist() == [row.shape[1] for row in rows]
    assert windows.weights.tolist() == [len(body) for body in bodies]
    assert sorted({token for body in bodies for token in body}) == list(range(before, before + own))
    for first, second in pairwise(bodies):
        assert len(first) == longest - before - after
        assert second[-1] > first[-1]
        assert first[0] < second[0] <= first[-1] + 1
    if len(rows) > 1:
        assert all((row[0, :before] == np.arange(before)).all() for row in rows)
        assert all((row[0, row.shape[1] - after :] == whole[0, before + own :]).all() for row in rows)
