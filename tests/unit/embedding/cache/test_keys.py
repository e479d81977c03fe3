"""Keys: everything that determines a vector makes another, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.embedding.tiny_models import Tiny
from vjaccel.embedding import ModelIdentity
from vjaccel.embedding.cache import CacheKeys, open_cache

IDENTITY = ModelIdentity("local", "m", "abc", 384, "query: ", True, "main", "float32", "end", "float32", None)
TEXTS = ["melt butter", "", "a small knob"]
OTHERS: dict[str, list[Any]] = {
    "provider": ["openai"],
    "model": ["m2", ""],
    "digest": ["abd", None, "None", ""],
    "dimensions": [383, None],
    "prompt": ["query:", "", "query: m", "QUERY: "],
    "normalized": [False, None],
    "revision": ["dev", None, ""],
    "dtype": ["float16", None],
    "truncate": ["error", "chunk"],
    "precision": ["int8", "ubinary"],
    "endpoint": ["https://example.org/v1", ""],
    "engine": ["onnx", ""],
}


def test_every_field_of_an_identity_is_tried_here() -> None:
    assert set(OTHERS) == {field.name for field in fields(ModelIdentity)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OTHERS.items() for value in values])
def test_another_model_option_or_weights_miss(name: str, value: object) -> None:
    # Of one whose digest is known, what it is called says nothing.
    known = replace(IDENTITY, digest=None) if name in ("model", "revision") else IDENTITY
    mine = CacheKeys(known).of(TEXTS)
    others = CacheKeys(replace(known, **{name: value})).of(TEXTS)
    assert set(mine) & set(others) == set()


@pytest.mark.parametrize("name", ["model", "revision"])
def test_one_model_has_its_keys_whatever_it_is_called(name: str) -> None:
    assert CacheKeys(IDENTITY).of(TEXTS) == CacheKeys(replace(IDENTITY, **{name: "/srv/m"})).of(TEXTS)


@pytest.mark.parametrize(
    "text", ["melt buttes", "melt butter ", "Melt butter", "melt  butter", "", "melt butter\n", "melt\0butter"]
)
def test_another_text_misses(text: str) -> None:
    keys = CacheKeys(IDENTITY)
    assert keys.of([text]) != keys.of(["melt butter"])


def test_texts_that_only_look_alike_miss() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    assert len(set(CacheKeys(IDENTITY).of([composed, decomposed, "e", "\N{CYRILLIC SMALL LETTER IE}"]))) == 4


def test_where_the_prompt_ends_and_the_text_begins_makes_a_difference() -> None:
    first, second = CacheKeys(replace(IDENTITY, prompt="ab")), CacheKeys(replace(IDENTITY, prompt="a"))
    assert first.of(["c"]) != second.of(["bc"])


def test_a_key_depends_on_neither_order_nor_company_nor_who_makes_it() -> None:
    keys = CacheKeys(IDENTITY)
    together = keys.of(TEXTS)
    assert together == [keys.of([text])[0] for text in TEXTS]
    assert together == CacheKeys(replace(IDENTITY)).of(tuple(TEXTS[::-1]))[::-1]


def test_keys_are_the_same_in_another_process() -> None:
    code = (
        "from vjaccel.embedding import ModelIdentity; from vjaccel.embedding.cache import CacheKeys;"
        f"print(CacheKeys({IDENTITY!r}).of({TEXTS!r})[0].hex())"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == CacheKeys(IDENTITY).of(TEXTS)[0].hex()


def test_keys_stay_what_they_are() -> None:
    # Where this fails, every cache in the world begins anew: PURPOSE in keys.py should then say so.
    assert CacheKeys(IDENTITY).of(["melt butter"])[0].hex() == "5d889c0e8a805d8c7bb7ad153e8652fc"
    unknown = replace(IDENTITY, digest=None)
    assert CacheKeys(unknown).of(["melt butter"])[0].hex() == "84f010f4120c2e7217c7c55306831a88"


def test_half_a_surrogate_pair_has_a_key_of_its_own() -> None:
    texts = ["\ud800", "\udfff", "\ud800\udfff", "\U000103ff", "?", "\ufffd"]
    assert len(set(CacheKeys(IDENTITY).of(texts))) == len(texts)
    assert CacheKeys(replace(IDENTITY, prompt="\ud800\udfff")).of(["a"]) != CacheKeys(
        replace(IDENTITY, prompt="\U000103ff")
    ).of(["a"])


@pytest.mark.parametrize("options", [{"batch_tokens": 7}, {"workers": 3}, {"batch_tokens": 999, "workers": 1}])
def test_how_a_run_is_cut_and_by_whom_it_is_run_makes_no_difference(
    tiny: Callable[[str], Tiny], options: dict[str, Any]
) -> None:
    model = tiny("cls").folder
    with (
        vj.Embedder(f"local:{model}", device="cpu") as first,
        vj.Embedder(f"local:{model}", device="cpu", **options) as other,
    ):
        assert CacheKeys(first.identity).of(TEXTS) == CacheKeys(other.identity).of(TEXTS)


def test_a_hit_is_the_text_and_the_models_own() -> None:
    cache = open_cache("memory")
    assert cache is not None
    first, second = CacheKeys(IDENTITY), CacheKeys(replace(IDENTITY, prompt="passage: "))
    cache.put(first.of(TEXTS[:2]), np.float32([[1, 2], [3, 4]]))
    assert [x is None for x in cache.get(first.of(TEXTS))] == [False, False, True]
    assert cache.get(second.of(TEXTS)) == [None] * 3
