"""`vjaccel embed --precision` and `--truncate`: files hold what was asked for, and what cannot be done with it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers.util.quantization import quantize_embeddings

from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import letters

TEXTS = [f"some text number {i}" for i in range(5000)]
TYPES = {"int8": pa.int8(), "uint8": pa.uint8(), "binary": pa.int8(), "ubinary": pa.uint8()}


def written(texts: list[str]) -> str:
    Path("in.txt").write_text("".join(f"{text}\n" for text in texts))
    return "in.txt"


def codes(texts: list[str], precision: str) -> np.ndarray:
    return np.asarray(quantize_embeddings(letters(20, texts), precision))  # type: ignore[arg-type]  # a word from a table


@pytest.mark.parametrize("precision", TYPES)
def test_a_parquet_file_has_the_codes_of_the_whole_run(run: Run, precision: str) -> None:
    done = run("embed", written(TEXTS), "-o", "out.parquet", "--model", "letters:20", "--precision", precision)
    assert (done.code, done.err) == (0, "")
    table = pq.read_table("out.parquet")
    expected = codes(TEXTS, precision)
    assert table.schema.field("embedding").type == pa.list_(TYPES[precision], expected.shape[1])
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist()), expected)
    made_by = json.loads(table.schema.metadata[b"vjaccel"])
    assert (made_by["identity"]["precision"], made_by["identity"]["dimensions"]) == (precision, 20)
    if "int8" in precision:
        vectors = letters(20, TEXTS)
        np.testing.assert_array_equal(np.float32(made_by["ranges"]), [vectors.min(axis=0), vectors.max(axis=0)])


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("ending", ["npy", "jsonl"])
def test_other_files_have_them_too_and_failed_rows_none(run: Run, precision: str, ending: str) -> None:
    texts = ["aab", "FAIL", "bcd", "xyz"]
    done = run("embed", written(texts), "-o", f"out.{ending}", "--model", "letters:20", "--precision", precision)
    assert done.code == 3
    expected = codes([texts[i] for i in (0, 2, 3)], precision)
    if ending == "npy":
        found = np.load("out.npy")
        assert (found.dtype, found.shape) == (expected.dtype, (4, expected.shape[1]))
        assert not found[1].any()
    else:
        rows = [json.loads(line)["embedding"] for line in Path("out.jsonl").read_text().splitlines()]
        assert rows[1] is None
        assert all(isinstance(x, int) for x in rows[0])
        found = np.array([row or [0] * len(rows[0]) for row in rows])
    np.testing.assert_array_equal(found[[0, 2, 3]], expected)


def test_codes_are_not_searched(run: Run) -> None:
    run("embed", written(TEXTS[:9]), "-o", "out.parquet", "--model", "letters:20", "--precision", "ubinary")
    done = run("search", "out.parquet", "text")
    assert done.code != 0
    assert "out.parquet holds ubinary codes, and only float32 vectors are searched" in done.err


def test_no_failed_row_is_added_to_codes(run: Run) -> None:
    texts = ["aab", "FAIL", "bcd"]
    asked = ("embed", written(texts), "-o", "out.parquet", "--model", "letters:20", "--precision", "int8")
    assert run(*asked).code == 3
    done = run(*asked, "--retry-failed")
    assert done.code != 0
    assert "holds int8 codes, from which no vector comes back" in done.err


def test_another_precision_is_another_run(run: Run) -> None:
    asked = ("embed", written(TEXTS[:9]), "-o", "out.parquet", "--model", "letters:20")
    assert run(*asked, "--precision", "binary").code == 0
    done = run(*asked)
    assert done.code != 0
    assert 'identity precision was "binary", now "float32"' in done.err


def test_one_row_has_no_ranges(run: Run) -> None:
    done = run("embed", written(["a"]), "-o", "out.parquet", "--model", "letters:20", "--precision", "int8")
    assert done.code != 0
    assert "takes its ranges from the vectors, and 1 are too few" in done.err
    assert not Path("out.parquet").exists()


def test_a_line_for_a_line_has_bits_but_no_steps(run: Run) -> None:
    asked = ("embed", written(["aab", "bcd"]), "-o", "-", "--model", "letters:20", "--precision")
    done = run(*asked, "binary")
    assert done.code == 0
    rows = [json.loads(line)["embedding"] for line in done.out.splitlines()]
    np.testing.assert_array_equal(rows, codes(["aab", "bcd"], "binary"))
    refused = run(*asked, "uint8")
    assert refused.code != 0
    assert "takes its ranges from all rows" in refused.err


@pytest.mark.parametrize(("option", "value"), [("--precision", "int4"), ("--truncate", "start")])
def test_a_word_that_nobody_knows_is_refused_with_those_that_are(run: Run, option: str, value: str) -> None:
    done = run("embed", written(["a"]), "-o", "out.parquet", "--model", "letters:20", option, value)
    assert done.code == 2
    assert value in done.err
