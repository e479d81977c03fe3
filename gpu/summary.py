"""Say what came of a run: python summary.py OUT. What it needs is in Python itself, so that it works where nothing else did."""

from __future__ import annotations

import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

NAMED = ("numba", "numpy", "scipy", "sentence-transformers", "torch", "transformers", "jax", "vjaccel")
"""The versions that are shown; versions.txt has all."""

LAST = 8
"""Lines of a log that are shown of a step that went wrong."""

SHOWN = 40
"""Failed tests that are named; the logs have the others."""


def main(out: Path) -> None:
    print("vjaccel, measured", _read(out / "started.txt"))
    print(f"Python {platform.python_version()}, {platform.platform()}")
    print(_hardware(out / "nvidia-smi.txt"))
    print(_backends(out / "backends.json"))
    print(", ".join(line for line in _read(out / "versions.txt").splitlines() if line.split()[0].lower() in NAMED))
    print("\nSteps")
    for line in _read(out / "steps.tsv").splitlines():
        name, code, seconds = line.split("\t")
        print(f"  {name:10} {seconds:>5} s  {code}")
        if code.startswith(("failed", "cut off")):
            print("\n".join(f"{' ' * 22}{said}" for said in _read(out / f"{name}.log").splitlines()[-LAST:]))
    print("\nTests and benchmarks")
    failed: list[str] = []
    skipped: Counter[str] = Counter()
    for path in sorted(out.glob("*.xml")):
        counts, names, reasons = _tests(path)
        failed += names
        skipped += reasons
        print(f"  {path.stem:20} {', '.join(f'{number} {kind}' for kind, number in counts.items()) or 'none'}")
    if failed:
        print("\nFailed")
        print("\n".join(f"  {name}" for name in failed[:SHOWN]))
        if len(failed) > SHOWN:
            print(f"  and {len(failed) - SHOWN} more: see the logs")
    if skipped:
        print("\nSkipped")
        print("\n".join(f"  {number:5} {reason}" for reason, number in skipped.most_common(SHOWN)))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else "(not there)"


def _hardware(path: Path) -> str:
    """The lines of nvidia-smi that name the driver and the devices, or what it said."""
    text = _read(path)
    named = [
        line.strip("| ")
        for line in text.splitlines()
        if "Driver Version" in line or "NVIDIA " in line.partition("|")[2]
    ]
    return "\n".join(named or text.splitlines()[-1:])


def _backends(path: Path) -> str:
    try:
        rows = json.loads(_read(path))
    except ValueError:
        return "backends: unknown, since the installation failed"
    return "\n".join(
        f"{row['name']} {row['version'] or ''}: {', '.join(row['devices'] or ()) or row['reason'] or 'no device'}"
        for row in rows
    )


def _tests(path: Path) -> tuple[Counter[str], list[str], Counter[str]]:
    """How many passed, failed and were skipped; which failed; and why were skipped how many."""
    counts: Counter[str] = Counter()
    failed: list[str] = []
    skipped: Counter[str] = Counter()
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314  # pytest wrote it a moment ago
        kind = next((x.tag for x in case if x.tag in ("failure", "error", "skipped")), "passed")
        counts[{"failure": "failed", "error": "failed"}.get(kind, kind)] += 1
        if kind in ("failure", "error"):
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        if kind == "skipped":
            skipped[str(next(x for x in case if x.tag == "skipped").get("message"))] += 1
    return counts, failed, skipped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
