"""Quantized vectors on the host: what is refused, and what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vjaccel as vj

ROWS = np.random.default_rng(0).standard_normal((50, 8), dtype=np.float32)


def test_they_say_what_they_are() -> None:
    quantized = vj.quantize(ROWS, "int8")
    assert repr(quantized) == "<Quantized int8 of 50 x 8, with the vectors, on numpy:cpu>"
    assert quantized.vectors is ROWS
    assert "without the vectors" in repr(replace(quantized, vectors=None))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vj.quantize(ROWS, "int4"), "kind 'int4' is unknown; it is 'int8' or 'binary'"),
        (lambda: vj.quantize(ROWS[0], "int8"), r"x has shape \(8,\); it needs \(n, dim\)"),
        (
            lambda: vj.quantize(ROWS, "int8", calibration=ROWS[:, :5]),
            "x has vectors of width 8 and calibration of width 5",
        ),
        (lambda: vj.topk(ROWS[:, :5], vj.quantize(ROWS, "int8")), "queries have width 5 and the codes 8"),
        (lambda: vj.topk(ROWS, vj.quantize(ROWS, "int8"), rescore=-1), "rescore must be at least 1, not -1"),
        (lambda: vj.topk(ROWS, vj.quantize(ROWS, "int8"), metric="manhattan"), "topk on the vectors"),
        (
            lambda: vj.topk(ROWS, vj.quantize(ROWS, "int8"), backend="torch"),
            "contradicts the corpus, which is on 'numpy:cpu'",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(vj.InvalidInput, match=message):
        call()


def test_device_queries_are_not_pulled_to_codes_on_the_host_unasked(on: Any) -> None:
    with pytest.raises(vj.InvalidType, match="Quantize with backend='loopback:gpu:0', or convert the queries"):
        vj.quantize(ROWS, "int8").topk(on("loopback", ROWS[:2]))


def test_device_queries_come_to_codes_that_were_put_somewhere_by_name(on: Any) -> None:
    found = vj.quantize(ROWS, "int8", backend="numpy").topk(on("loopback:gpu:1", ROWS[:2]), 1)
    assert found.indices.place == "gpu:1"


def test_many_queries_are_answered_as_each_alone() -> None:
    rows = np.random.default_rng(1).standard_normal((3000, 40), dtype=np.float32)
    for_all = vj.quantize(rows, "binary").topk(rows[:600], 5, rescore=0).indices
    alone = [vj.quantize(rows, "binary").topk(row, 5, rescore=0).indices for row in rows[250:260]]
    np.testing.assert_array_equal(for_all[250:260], alone)
