"""The reports in a real browser, at two widths, in light and in dark: nothing overflows, overlaps, is cut, pale or fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.chromium import Browser

FAULTS = Path(__file__).with_name("faults.js").read_text(encoding="utf-8")
OPEN_ALL = "document.querySelectorAll('details').forEach(x => { x.open = true; })"


@pytest.mark.parametrize("name", ["gpu.html", "comparison.html"])
def test_a_report_is_readable_at_both_widths_in_light_and_dark(
    reports: Path, browser: Browser, tmp_path: Path, name: str
) -> None:
    with browser.page(reports / name, width=400) as page:
        page.evaluate(OPEN_ALL)
        faults = {"400, light": page.evaluate(FAULTS)}
        page.picture(tmp_path / "400-light.png", "#short")
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
        assert (
            page.evaluate("[...document.querySelectorAll('.plot')].filter(x => !x.querySelector('.main-svg')).length")
            == 0
        )
    assert len({path.read_bytes() for path in tmp_path.glob("*.png")}) == 4


def test_markup_from_outside_does_nothing_and_is_shown_as_it_is(reports: Path, browser: Browser) -> None:
    with browser.page(reports / "hostile.html", width=400) as page:
        page.evaluate(OPEN_ALL)
        assert page.evaluate(FAULTS) == []
        place = "document.querySelector('#recall .plot')"
        page.evaluate(f"Plotly.Fx.hover({place}, [{{curveNumber: 0, pointNumber: 0}}])")
        page.until(f"{place}.querySelector('.hoverlayer .hovertext')")
        hover = page.evaluate(f"{place}.querySelector('.hoverlayer').textContent")
        assert "<img src=x onerror=" in hover
        assert page.evaluate("document.title") == "vjaccel bench"
        assert page.evaluate("document.querySelectorAll('main img, main b, .plot a').length") == 0
        assert page.complaints() == []


def test_a_series_is_hidden_and_shown_by_its_button(reports: Path, browser: Browser) -> None:
    shown = "document.querySelector('#same .plot').data.filter(x => x.visible !== false).length"
    button = "document.querySelector('#same .legend button')"
    with browser.page(reports / "comparison.html", width=1200) as page:
        before = page.evaluate(shown)
        page.evaluate(f"{button}.click()")
        page.until(f"{shown} < {before}")
        assert page.evaluate(f"{button}.getAttribute('aria-pressed')") == "false"
        page.evaluate(f"{button}.click()")
        page.until(f"{shown} === {before}")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("<p>good</p>", []),
        ("<p style='width: 600px'>wide</p>", ["the page is 600 wide in a window of 400"]),
        ("<p style='height: 4px; margin: 0'>one</p><p style='margin: 0'>two</p>", ['overlap: "one" and "two"']),
        ("<table style='table-layout: fixed; width: 60px'><td>Nebukadnezar", ['cut: "Nebukadnezar"']),
        ("<p style='color: #999999'>pale</p>", ['contrast 2.8: "pale"']),
    ],
)
def test_what_is_wrong_in_a_page_is_found(browser: Browser, tmp_path: Path, body: str, says: list[str]) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        f"<!DOCTYPE html><html data-drawn='yes'><body style='margin: 0'>{body}</body></html>", encoding="utf-8"
    )
    with browser.page(path, width=400) as page:
        assert page.evaluate(FAULTS) == says
