"""The report of a run in a real browser, at two widths, in light and in dark: nothing overflows, overlaps, is cut or pale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from docs.chromium import Browser
from vjaccel.observe.report import Account, Failed, Row, Sample, write_run_report
from vjaccel.telemetry import BatchEnded, Recording

FAULTS = (Path(__file__).parents[1] / "benchmark" / "faults.js").read_text(encoding="utf-8")
OPEN_ALL = "document.querySelectorAll('details').forEach(x => { x.open = true; })"
HOSTILE = "<img src=x onerror=alert(1)><a href='javascript:alert(1)'>press</a>"
WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 3


def a_night(seconds: float, *, device: bool = True, batches: int = 400) -> Recording:
    """A run of so many seconds in which everything happens."""
    random, now = np.random.default_rng(0), [0.0]
    made = Recording("openai:text-embedding-3-large", 8, clock=lambda: now[0])
    for i in range(batches):
        now[0] = seconds * (i + 1) / batches
        lengths = np.clip(random.lognormal(4, 1, 50).astype(int), 1, 8000)
        took = float(random.lognormal(0, 0.7))
        made.prepared(60)
        made.batch_began(256 << i % 6)
        padded = int(lengths.max()) * 50
        made.batch_ended(
            BatchEnded(50, int(lengths.sum()), padded, took, took / 3, i % 3, 256 << i % 6, failed=i % 20 == 9), lengths
        )
        made.settled("embedded", 50)
        made.settled("cached", int(random.integers(0, 9)))
        made.settled("duplicate", 1)
        made.failed(i, f"{('RATE_LIMITED', 'INVALID_TEXT', 'A_CODE_THAT_IS_AS_LONG_AS_CODES_CAN_BE')[i % 3]}", "no")
        made.look(10**9 + i * 10**6, lambda: now[0] * 1.7, lambda: int(now[0]) + 10**10 if device else None)
    made.ended(failed=False)
    return made


def sampled(rows: int) -> Sample:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, 16)) * 0.3 + np.repeat(np.eye(16)[:4], rows // 4, axis=0) * 2
    vectors[5:9] = vectors[4]
    vectors[20] = -vectors[20] * 3
    made = Sample()
    made.add(
        np.ones(rows, bool),
        lambda i: (Row(f"{HOSTILE}{i}" if i % 7 else WORD, f"{HOSTILE} {WORD} a text of some words " * 2), vectors[i]),
    )
    return made


def account(recording: Recording, *, ended: bool = True) -> Account:
    failures = {code: count * 12_345 for code, (count, _) in recording.failures.items()}
    return Account(
        f"{HOSTILE}{WORD}.parquet", recording, "0.1.0", ended=ended, price=0.13, failures=failures,
        statistics={"tokens": 1, "truncated": 1234, "tokens_lost": 56789},
        counts={"rows": 20_000_000, "with_vector": 19_999_000, "duplicates": 12, "empty": 1, "resumed": 2, "bad_lines": 3},
        examples=[Failed(code, f"row 1, id {WORD}", f"{HOSTILE} {WORD} " * 3) for code in failures for _ in range(5)],
        described=[("inputs", f"{WORD}.jsonl, {HOSTILE}"), ("digest of the weights", "0123456789abcdef" * 4)],
        sample=sampled(400),
    )  # fmt: skip


@pytest.fixture(scope="session")
def run_reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``night.html``, ``short.html``, ``stopped.html`` and ``nothing.html``."""
    folder = tmp_path_factory.mktemp("run-reports")
    write_run_report(account(a_night(8 * 3600.0)), folder / "night.html")
    write_run_report(account(a_night(4.0, batches=12, device=False)), folder / "short.html")
    both = a_night(300.0, batches=30).followed_by(a_night(10.0, batches=30)).followed_by(a_night(500_000.0))
    write_run_report(account(both, ended=False), folder / "stopped.html")
    empty = Recording("letters:16", 1)
    empty.ended(failed=False)
    write_run_report(Account("nothing", empty, "0.1.0"), folder / "nothing.html")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "night",
        pytest.param("short", marks=pytest.mark.soak),
        pytest.param("stopped", marks=pytest.mark.soak),
        "nothing",
    ],
)
def test_a_report_of_a_run_is_readable_at_both_widths_in_light_and_dark(
    run_reports: Path, browser: Browser, tmp_path: Path, name: str
) -> None:
    with browser.page(run_reports / f"{name}.html", width=400) as page:
        page.evaluate(OPEN_ALL)
        faults = {"400, light": page.evaluate(FAULTS)}
        page.picture(tmp_path / "400-light.png", "#short")
        page.evaluate("document.documentElement.dataset.drawn = 'before'")
        page.dark(True)
        faults["400, dark"] = page.evaluate(FAULTS)
        page.picture(tmp_path / "400-dark.png", "#short")
        page.resize(1200)
        faults["1200, dark"] = page.evaluate(FAULTS)
        page.picture(tmp_path / "1200-dark.png", "#short")
        page.dark(False)
        faults["1200, light"] = page.evaluate(FAULTS)
        page.picture(tmp_path / "1200-light.png", "#short")
        assert {state: found for state, found in faults.items() if found} == {}
        assert page.complaints() == []
        assert [x for x in page.requests() if not x.startswith(("file:", "data:", "blob:"))] == []
        undrawn = "[...document.querySelectorAll('.plot')].filter(x => !x.querySelector('.main-svg')).length"
        assert page.evaluate(undrawn) == 0
    assert len({path.read_bytes() for path in tmp_path.glob("*.png")}) == 4


def test_markup_in_a_text_does_nothing_and_is_shown_beside_its_dot(run_reports: Path, browser: Browser) -> None:
    with browser.page(run_reports / "night.html", width=400) as page:
        page.evaluate(OPEN_ALL)
        place = "document.querySelector('#map .plot')"
        page.evaluate(f"Plotly.Fx.hover({place}, [{{curveNumber: 0, pointNumber: 3}}])")
        page.until(f"{place}.querySelector('.hoverlayer .hovertext')")
        assert "<img src=x onerror=" in page.evaluate(f"{place}.querySelector('.hoverlayer').textContent")
        assert page.evaluate("document.querySelectorAll('main img, main table a, .plot a, header img').length") == 0
        assert HOSTILE in page.evaluate("document.title")
        assert page.complaints() == []


def test_what_is_shown_beside_a_dot_stays_in_a_narrow_window(run_reports: Path, browser: Browser) -> None:
    with browser.page(run_reports / "night.html", width=400) as page:
        place = "document.querySelector('#map .plot')"
        page.evaluate(f"{place}.scrollIntoView()")
        for point in (1, 150, 300):
            page.evaluate(f"Plotly.Fx.hover({place}, [{{curveNumber: 0, pointNumber: {point}}}])")
            page.until(f"{place}.querySelector('.hoverlayer .hovertext')")
            box = page.evaluate(
                f"(r => [r.left, r.right])({place}.querySelector('.hoverlayer .hovertext').getBoundingClientRect())"
            )
            assert box[0] >= -1
            assert box[1] <= 401


def test_lines_and_bars_are_hidden_by_their_button(run_reports: Path, browser: Browser) -> None:
    with browser.page(run_reports / "night.html", width=1200) as page:
        for section in ("throughput", "latency", "lengths", "map"):
            shown = (
                f"[...document.querySelectorAll('#{section} .plot')]"
                ".flatMap(x => x.data).filter(x => x.visible !== false).length"
            )
            before = page.evaluate(shown)
            page.evaluate(f"document.querySelector('#{section} .legend button').click()")
            page.until(f"{shown} < {before}")
