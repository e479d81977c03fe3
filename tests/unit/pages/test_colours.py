"""The colours of pages can be told from their ground, in both themes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("vjaccel.pages") / "assets" / "report.css").read_text(encoding="utf-8")
THEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, re.DOTALL), strict=True))


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_marks_stand_out_from_the_page(theme: str) -> None:
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", THEMES[theme]))
    seen = [name for name in colours if name in ("ink", "soft", "link") or re.fullmatch(r"c\d", name)]
    assert len(seen) == 10
    pale = {name: round(contrast(colours[name], colours["paper"]), 2) for name in seen}
    assert {name: value for name, value in pale.items() if value < 4.5} == {}
