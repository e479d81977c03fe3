"""Print what `make bench` measured: milliseconds of each contender, and how many times faster than the best peer ours is.

python benchmarks/ratios.py benchmarks/results/last.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

ALSO = {"recall": "recall@10", "ids_equal": "ids equal", "beyond_mb": "MB beyond in- and output", "rate": "a second",
        "bus_share": "of the bus", "gpu_busy": "GPU busy", "cost": "cost"}  # fmt: skip
"""What a benchmark says besides times, by its key in extra_info."""

WIDTH = 180
"""Of the table in a file, where nothing says how wide it may be."""


def main(path: str) -> None:
    """Print the table of the file that pytest-benchmark wrote to `path`."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    machine = report["machine_info"]
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(
        f"{machine['cpu'].get('brand_raw', '?')}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"Python {machine['python_version']}, commit {machine['commit']}, {report['datetime'][:10]}"
    )
    console.print(", ".join(f"{name} {version}" for name, version in machine["versions"].items()), style="dim")
    table = Table(title="Best of the rounds, milliseconds; ratio: best peer / vjaccel", title_justify="left")
    for heading, justify in (("bar", "left"), ("work", "left"), ("vjaccel", "right"), ("ratio", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("peers and limits", justify="left")
    table.add_column("also", justify="left")
    for bench in report["benchmarks"]:
        info = bench["extra_info"]
        ours = {n: ms for n, ms in info["best_ms"].items() if n.startswith("vjaccel")}
        peers = {n: ms for n, ms in info["best_ms"].items() if not n.startswith(("vjaccel", "limit"))}
        others = {n: ms for n, ms in info["best_ms"].items() if n not in ours}
        best = min(ours.values())
        ratio = f"{min(peers.values()) / best:.2f}" if peers else ""
        table.add_row(
            info["bar"], escape(bench["name"].removeprefix("test_")), f"{best:.2f}", ratio,
            "  ".join(f"{n} {ms:.1f}" for n, ms in others.items()),
            "  ".join(f"{label} {info[key]}" for key, label in ALSO.items() if key in info),
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1])
