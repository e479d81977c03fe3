"""Makes docs/pictures/watch.svg, `vjaccel embed --watch` amid a run over examples/data: `python docs/watch_picture.py`."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

import vjaccel as vj
from vjaccel.cli.embed_report import telling
from vjaccel.embedding import Progress
from vjaccel.observe import WatchView

HERE = Path(__file__).parent
GLOSSES = HERE.parent / "examples" / "data" / "glosses.jsonl"
COLUMNS = 84
SHARE = 0.6
"""How much of the run is done in the picture."""


def picture(path: Path) -> None:
    """Draw the view as it stands when that share is done."""
    texts = [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()]
    view = WatchView("local:all-MiniLM-L6-v2 -> glosses.parquet", Console(file=io.StringIO(), width=COLUMNS))
    tell, drawn = telling(view, 0.02), False

    def progress(now: Progress) -> None:
        nonlocal drawn
        tell(now, 0)
        if not drawn and now.done > SHARE * len(texts):
            drawn = True
            console = Console(file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True)
            console.print(view.drawn())
            console.save_svg(str(path), title="vjaccel embed --watch")

    with vj.Embedder("local:all-MiniLM-L6-v2") as embedder:
        embedder.embed(texts, progress=progress)


if __name__ == "__main__":
    picture(HERE / "pictures" / "watch.svg")
