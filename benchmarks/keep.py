"""Put what a run of some benchmarks measured in the place of what the machine's results had of them.

python benchmarks/keep.py measured.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["kept"]


def kept(measured: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The results with what was `measured`, each with the day and the commit it is of; `before` is what there was."""
    of = f"{measured['datetime'][:10]}, {measured['machine_info']['commit']}"
    found = {bench["name"]: bench for bench in (before or {"benchmarks": []})["benchmarks"]}
    for bench in measured["benchmarks"]:
        found[bench["name"]] = {"name": bench["name"], "measured": of, "extra_info": bench["extra_info"]}
    return measured | {"benchmarks": list(found.values())}


def main(measured: str) -> None:
    """Write them into the file of this machine."""
    from machine import name  # which is beside this file

    path = Path(__file__).parent / "results" / f"{name()}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    done = kept(json.loads(Path(measured).read_text(encoding="utf-8")), before)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(done, indent=4) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
