"""No two models or texts have one key, however prompts and texts are cut; and a cache never answers with another's vector."""

from __future__ import annotations

from dataclasses import fields, replace
from hashlib import blake2b
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.cache import CacheKeys, open_cache, rows_of

SETTINGS = settings(max_examples=200, derandomize=True, deadline=None, database=None)

# Few letters, so that pieces of one thing turn up in another; half surrogate pairs, and whole ones.
words = st.text(st.sampled_from('ab":,{}\\ \0\ud800\udc00\U00010000né0'), max_size=4)
maybe = st.none() | words | st.sampled_from(["None", "null", "end", "float32"])
identities = st.builds(
    ModelIdentity, provider=words, model=words, digest=maybe, dimensions=st.none() | st.integers(1, 3), prompt=words,
    normalized=st.none() | st.booleans(), revision=maybe, dtype=maybe, truncate=words | st.just("end"),
    precision=words | st.just("float32"), endpoint=maybe,
)  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[tuple[ModelIdentity, str], tuple[ModelIdentity, str]]:
    """A model and a text, and another such pair that differs in little or nothing."""
    first, text = draw(identities), draw(words)
    values = {field.name: getattr(first, field.name) for field in fields(first)}
    other = draw(identities)
    for name in draw(st.lists(st.sampled_from(list(values)), max_size=2)):
        values[name] = getattr(other, name)
    if draw(st.booleans()):
        # The same letters, cut elsewhere.
        whole, cut = first.prompt + text, draw(st.integers(0, 8))
        return (first, text), (ModelIdentity(**{**values, "prompt": whole[:cut]}), whole[cut:])
    return (first, text), (ModelIdentity(**values), draw(st.just(text) | words))


def without_names(model: ModelIdentity) -> ModelIdentity:
    """Without what it is called, where a digest says what it is."""
    return model if model.digest is None else replace(model, model="", revision=None)


@SETTINGS
@given(pairs())
def test_two_keys_are_the_same_where_model_and_text_are_and_only_there(
    pair: tuple[tuple[ModelIdentity, str], tuple[ModelIdentity, str]],
) -> None:
    (first, text), (second, other) = pair
    same = without_names(first) == without_names(second) and text == other
    assert (CacheKeys(first).of([text]) == CacheKeys(second).of([other])) == same


@SETTINGS
@given(st.lists(words, unique=True, max_size=30))
def test_the_keys_of_a_list_are_those_of_its_texts(texts: list[str]) -> None:
    keys = CacheKeys(ModelIdentity("p", "m", None, None, "", None))
    assert keys.of(texts) == [keys.of([text])[0] for text in texts]
    assert len(set(keys.of(texts))) == len(texts)


@settings(parent=SETTINGS, max_examples=40)
@given(st.data())
def test_whatever_is_put_and_asked_in_whatever_parts_each_key_gets_its_own_or_nothing(data: st.DataObject) -> None:
    """A partial hit must not move another text's vector into a gap; widths may change from one batch to the next."""
    names = [blake2b(bytes([i]), digest_size=16).digest() for i in range(24)]
    some = st.lists(st.integers(0, 23), max_size=40)
    with TemporaryDirectory() as folder:
        for place, bound in (("memory", 4000), (folder, None)):
            cache = open_cache(place, max_bytes=bound)
            assert cache is not None
            put: dict[int, np.ndarray] = {}
            for turn in range(data.draw(st.integers(1, 5))):
                batch = data.draw(some)
                vectors = (
                    np.random.default_rng(turn).standard_normal((len(batch), data.draw(st.integers(1, 9)))).astype("f4")
                )
                cache.put([names[i] for i in batch], vectors)
                put.update(zip(batch, vectors, strict=True))
                asked = data.draw(some)
                for i, found in zip(asked, cache.get([names[i] for i in asked]), strict=True):
                    if found is None:
                        assert i not in put or place == "memory"
                    else:
                        np.testing.assert_array_equal(rows_of([found], len(put[i]))[1], put[i][None])
            cache.close()
