"""Makes docs/pictures/run-light.png and run-dark.png, of a run over examples/data: `python docs/run_pictures.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from chromium import chromium

HERE = Path(__file__).parent
GLOSSES = HERE.parent / "examples" / "data" / "glosses.jsonl"
SHOWN = ("short", "throughput", "batches", "map")
MOST = 200_000
"""Bytes of one picture."""


def make(report: Path, folder: Path) -> list[Path]:
    """What the report of a run begins with, and its map, in light and in dark, without the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    others = "section" + "".join(f":not(#{name})" for name in SHOWN)
    style = (
        "<style>nav, section > table, details, section > p { display: none } "
        "section { margin-top: .75rem; padding-top: .75rem }</style>"
    )
    made = []
    with chromium() as browser, browser.page(report, width=1000) as page:
        page.evaluate(f"document.head.insertAdjacentHTML('beforeend', {style!r})")
        page.evaluate(f"document.querySelectorAll({others!r}).forEach(x => x.remove())")
        page.evaluate("dispatchEvent(new Event('resize'))")
        page.settle()
        for name, dark in (("light", False), ("dark", True)):
            if dark:
                page.dark(True)
            path = folder / f"run-{name}.png"
            for scale in (1.0, 0.9, 0.75, 0.5):
                page.picture(path, "body", scale)
                if path.stat().st_size < MOST:
                    break
            made.append(path)
    return made


def reported(folder: Path) -> Path:
    """The report of a run of the packaged model over the example texts."""
    report = folder / "run.html"
    command = [sys.executable, "-m", "vjaccel", "embed", str(GLOSSES), "-o", "glosses.parquet", "--report", str(report)]
    subprocess.run([*command, "--price", "0.02"], cwd=folder, check=True)  # noqa: S603  # our own command
    return report


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for picture in make(reported(Path(scratch)), HERE / "pictures"):
            print(picture, picture.stat().st_size)  # noqa: T201  # what the script says
