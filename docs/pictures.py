"""Makes docs/pictures/*.png from a results file, by headless Chromium: `python docs/pictures.py RESULTS.json`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from chromium import chromium

from vjaccel.benchmark.report import write_report
from vjaccel.benchmark.results import load

PICTURES = Path(__file__).with_name("pictures")
SECTIONS = ("speedup", "throughput", "roofline", "costs", "embedding", "recall", "noise")
MOST = 200_000
"""Bytes of one picture."""


def make(results: Path, folder: Path) -> list[Path]:
    """A picture of each plot that the report of `results` has, in light, without its table."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        report = Path(scratch) / "report.html"
        write_report(load(results), report)
        with browser.page(report, width=1000) as page:
            # What a reader of a picture cannot click, and the tables, which would be too small to be read.
            page.evaluate(
                "document.head.insertAdjacentHTML('beforeend', '<style>.tables, section > table, details, section > p "
                "{ display: none } .beside { grid-template-columns: none } section { border: 0; padding: 12px }</style>')"
            )
            page.evaluate("dispatchEvent(new Event('resize'))")
            page.settle()
            for name in SECTIONS:
                if page.evaluate(f"document.querySelector('#{name} .plot') !== null"):
                    path = folder / f"{name}.png"
                    for scale in (1.0, 0.75, 0.5):
                        page.picture(path, f"#{name}", scale)
                        if path.stat().st_size < MOST:
                            break
                    made.append(path)
    return made


if __name__ == "__main__":
    for picture in make(Path(sys.argv[1]), PICTURES):
        print(picture, picture.stat().st_size)  # noqa: T201  # what the script says
