"""Embed 2,000 texts with a packaged model, then search them on every backend that works on this machine.

`make demo` runs it. It needs no GPU, no network and no service; it writes its files into ``demo-output``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
from rich.console import Console
from rich.table import Table

import vjaccel as vj

EXAMPLES = Path(__file__).parent
QUERIES = ["how to melt butter", "a stringed instrument", "being afraid of high places"]
K = 3

console = Console(highlight=False)


def main() -> None:
    """Embed, search, and say what was written."""
    folder = Path("demo-output")
    folder.mkdir(exist_ok=True)
    embedded = folder / "glosses.parquet"

    command = ["embed", str(EXAMPLES / "data" / "glosses.jsonl"), "-o", str(embedded)]
    console.print(f"[bold]$ vjaccel {' '.join(command)}[/]", soft_wrap=True)
    subprocess.run([sys.executable, "-m", "vjaccel", *command], check=True)

    rows = pyarrow.parquet.read_table(embedded, columns=["id", "text", "embedding"])
    vectors = rows["embedding"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    with vj.Embedder("local:all-MiniLM-L6-v2") as embedder:
        queries = embedder.embed_query(QUERIES).embeddings

    places = [f"{row.name}:{device}" for row in vj.backends() for device in row.devices or ()]
    answers = {place: searched(place, queries, vectors) for place in places}
    show_backends(answers)
    first = answers[places[0]][0]
    show_matches(first, rows)

    matches = folder / "matches.jsonl"
    with matches.open("w", encoding="utf-8") as file:
        for query, values, indices in zip(QUERIES, first.values, first.indices, strict=True):
            found = [
                {"id": rows["id"][int(i)].as_py(), "score": float(v)} for v, i in zip(values, indices, strict=True)
            ]
            file.write(json.dumps({"query": query, "found": found}) + "\n")
    for path in (embedded, matches):
        console.print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    compared(folder / "report.html")


def compared(report: Path) -> None:
    """The backends and their peers measured against each other, for half a minute."""
    command = ["bench", "--sizes", "small", "--ops", "topk,normalize", "--budget", "30", "-o", str(report)]
    console.print(f"\n$ vjaccel {' '.join(command)}")
    subprocess.run([sys.executable, "-m", "vjaccel", *command], check=True)
    console.print(f"open {report}: which backend is faster here, and from which size on")


def searched(place: str, queries: object, vectors: object) -> tuple[vj.TopK, float]:
    """The closest rows on one backend, and the milliseconds that a search takes once it has warmed up."""
    corpus = vj.Corpus(vectors, backend=place)
    corpus.topk(queries, K)
    start = time.perf_counter()
    found = corpus.topk(queries, K)
    return found, (time.perf_counter() - start) * 1e3


def show_backends(answers: dict[str, tuple[vj.TopK, float]]) -> None:
    """A row for each backend: how long, and whether it found what the first one did."""
    versions = {row.name: row.version for row in vj.backends(probe=False)}
    first, _ = next(iter(answers.values()))
    table = Table(title=f"{len(QUERIES)} queries in 2,000 texts, by backend", title_justify="left")
    for heading in ("backend", "version", "milliseconds", "same rows"):
        table.add_column(heading, justify="right" if heading == "milliseconds" else "left")
    for place, (found, milliseconds) in answers.items():
        same = bool((found.indices == first.indices).all())
        table.add_row(place, versions[place.partition(":")[0]], f"{milliseconds:.2f}", "yes" if same else "NO")
    console.print(table)
    if not all((found.indices == first.indices).all() for found, _ in answers.values()):
        raise SystemExit("the backends do not agree: that is a bug, please report it")


def show_matches(found: vj.TopK, rows: pyarrow.Table) -> None:
    """Each query with its best matches."""
    for query, values, indices in zip(QUERIES, found.values, found.indices, strict=True):
        console.print(f"\n[bold]{query}[/]")
        table = Table(box=None, show_header=False, padding=(0, 1))
        for value, index in zip(values, indices, strict=True):
            table.add_row(f"[cyan]{value:.3f}[/]", rows["text"][int(index)].as_py())
        console.print(table)
    console.print()


if __name__ == "__main__":
    main()
