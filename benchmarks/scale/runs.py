"""Real runs on Ray with 1, 2 and 4 workers, and what the simulation says of them before, from runs of one worker alone.

Two short runs of one worker give its speed and what comes before it, by a straight line. A model is run with no more workers
than there are cores; to see four, the provider of `slept` takes time and no processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil

from benchmarks.scale.simulation import Plan, simulated
from benchmarks.scale.slept import SleptProvider, install

__all__ = ["measured_kill", "measured_runs"]

ROOT = Path(__file__).parents[2]
GLOSSES = ROOT / "examples" / "data" / "glosses.jsonl"

WORKER = "ray::MapWorker"
"""How Ray calls the process of one."""


class Case(NamedTuple):
    """A model, the texts of the short runs and of the long ones, and how many workers these have."""

    model: str
    short: tuple[int, int]
    long: int
    shard_rows: int
    workers: tuple[int, ...]
    why: str


CASES = (
    Case("slept:4", (500, 3_500), 6_000, 96, (1, 2, 4), "each text takes 4 ms and no processor"),
    Case("local:all-MiniLM-L6-v2", (500, 2_500), 4_000, 64, (1, 2), "a model, one core for each worker"),
)


class Took(NamedTuple):
    """Seconds of a whole command and of what it embedded, and the tokens: where there are none, one for each text."""

    whole: float
    embedding: float
    tokens: int


def measured_runs() -> list[dict[str, Any]]:
    """For each case what one worker is like, and of each run what was said and what it took."""
    return [_measured(case) for case in CASES]


def measured_kill(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A run of two workers of which one is killed, and what the simulation says of it when it is told when."""
    case = CASES[0]
    known = next(run for run in runs if run["model"] == case.model)
    with TemporaryDirectory() as name:
        folder = Path(name)
        install(folder / "plugins")
        took = _took(folder, case, case.long, 2)
        process = _began(folder, case, 2)
        time.sleep(took.whole - took.embedding + took.embedding / 2)
        victim = next(x for x in psutil.Process(process.pid).children(recursive=True) if WORKER in x.name())
        killed = time.time()
        victim.kill()
        if process.wait():
            raise SystemExit("the run has failed")
        manifest = _manifest(folder)
        at = killed - datetime.fromisoformat(manifest["statistics"]["started"]).timestamp()
    begun = _start_of(known["start"], 2)
    plan = Plan(
        texts=case.long, tokens=1, workers=2, speed=known["speed"], start=begun,
        away=known["start"], batch=SleptProvider.batch_texts, killed=(at,),
        shard_rows=case.shard_rows,
    )  # fmt: skip
    return {
        "model": case.model, "texts": case.long, "workers": 2, "at": at,
        "predicted": {"embedding": simulated(plan).embedding, "unharmed": simulated(replace(plan, killed=())).embedding},
        "measured": {"embedding": manifest["statistics"]["seconds"], "unharmed": took.embedding},
    }  # fmt: skip


def _start_of(start: float, workers: int) -> float:
    """Until workers work that begin on one machine, and share its cores for that."""
    return start * max(1.0, workers / (psutil.cpu_count(logical=False) or 1))


def _measured(case: Case) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        install(folder / "plugins")
        few, more = (_took(folder, case, texts, 1) for texts in case.short)
        speed = (more.tokens - few.tokens) / (more.embedding - few.embedding)
        start = few.embedding - few.tokens / speed
        if start < 0:
            raise SystemExit(f"{case.model}: the machine does too much else to tell what one worker is like")
        begin = sum(took.whole - took.embedding for took in (few, more)) / 2
        runs = []
        for workers in case.workers:
            begun = _start_of(start, workers)
            plan = Plan(
                texts=case.long, tokens=more.tokens / case.short[1], workers=workers, speed=speed, start=begun, begin=begin,
                shard_rows=case.shard_rows,
            )  # fmt: skip
            said, took = simulated(plan), _took(folder, case, case.long, workers)
            runs.append(
                {
                    "workers": workers,
                    "predicted": {"embedding": said.embedding, "whole": said.seconds},
                    "measured": {"embedding": took.embedding, "whole": took.whole},
                }
            )
    return {
        "model": case.model, "why": case.why, "short": list(case.short), "texts": case.long, "shard_rows": case.shard_rows,
        "tokens": more.tokens / case.short[1], "speed": speed, "start": start, "begin": begin, "runs": runs,
    }  # fmt: skip


def _took(folder: Path, case: Case, texts: int, workers: int) -> Took:
    rows = [json.loads(line)["text"] for line in GLOSSES.read_text(encoding="utf-8").splitlines()]
    lines = (json.dumps({"text": f"{rows[i % len(rows)]} {i}"}) for i in range(texts))
    (folder / "in.jsonl").write_text("\n".join(lines))
    began = time.perf_counter()
    if _began(folder, case, workers).wait():
        raise SystemExit("the run has failed")
    whole, manifest = time.perf_counter() - began, _manifest(folder)
    return Took(whole, manifest["statistics"]["seconds"], manifest["counts"]["tokens"] or texts)


def _began(folder: Path, case: Case, workers: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "vjaccel", "embed", "in.jsonl", "-o", "out.parquet", "--restart", "--model", case.model,
        "--engine", "ray", "--workers", f"{workers}:{workers}", "--shard-rows", str(case.shard_rows),
        "--resources", f"cpu={min(1.0, (psutil.cpu_count(logical=False) or 1) / workers):g}",
    ]  # fmt: skip
    path = f"{folder / 'plugins'}:{ROOT}:{ROOT / 'backends'}"
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out.parquet.run.json").read_text(encoding="utf-8"))
    return found
