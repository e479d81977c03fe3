"""Two runs that nobody measured: their figures are made up, so that a report can be tested where there is no GPU.

They follow a simple model (a latency, a roof) with a fixed seed. None of them may be quoted.
"""

from __future__ import annotations

import random
from dataclasses import replace

from vjaccel.benchmark.figures import is_gpu
from vjaccel.benchmark.results import Case, Embedding, Machine, Measurement, Recall, Run, Subject

__all__ = ["HOSTILE", "cpu_run", "gpu_run", "hostile_run"]

HOSTILE = """<img src=x onerror="document.title='broken into'">&amp;</script><b>bold</b> %{x} "quoted" 'single'"""

_DIM = 384
_SPEEDS = {  # copy bytes/s, matmul flop/s, seconds a call, seconds to import, seconds to compile
    "numpy:cpu": (1.6e10, 1.3e11, 2e-5, 0.2, 0.0),
    "torch:cpu": (1.5e10, 1.4e11, 6e-5, 2.1, 0.002),
    "jax:cpu": (1.4e10, 0.9e11, 9e-5, 1.4, 0.35),
    "faiss": (1.2e10, 1.1e11, 3e-5, 0.3, 0.0),
    "scikit-learn": (0.7e10, 0.6e11, 4e-2, 1.0, 0.0),
    "torch": (1.5e10, 1.4e11, 1e-5, 1.9, 0.0),
    "sentence-transformers": (1.1e10, 1.0e11, 2e-4, 12.0, 0.0),
    "usearch": (1.0e10, 0.3e11, 5e-5, 0.1, 0.0),
    "torch:gpu:0": (1.6e12, 4.8e13, 6e-5, 3.2, 0.004),
    "jax:gpu:0": (1.5e12, 4.5e13, 9e-5, 3.9, 1.2),
    "cupy:gpu:0": (1.5e12, 4.2e13, 1.2e-4, 1.9, 0.4),
}
_GPU = "Made-up Accelerator 80 GB"


def cpu_run() -> Run:
    """A machine without a GPU; one subject crashed, one figure is refused."""
    names = [name for name in _SPEEDS if ":gpu" not in name and name not in ("torch", "sentence-transformers")]
    run = _run(names, seed=1, cpu="Made-up Processor at 3.0 GHz", cores=8, factor=1.0)
    subjects = tuple(
        replace(s, state="crashed", reason="the process ended with signal 11 in topk") if s.name == "usearch" else s
        for s in run.subjects
    )
    return replace(
        run, subjects=subjects, measurements=_refuse(run, "scikit-learn", "work was skipped: 3 of 10 neighbours")
    )


def gpu_run() -> Run:
    """A machine with a GPU and a faster CPU; stopped by its budget."""
    names = [name for name in _SPEEDS if name != "usearch"]
    run = _run(names, seed=2, cpu="Made-up Server Processor", cores=16, factor=1.6)
    refused = _refuse(run, "cupy:gpu:0", "a wrong answer: 2 of 1000 neighbours are not the nearest")
    return replace(run, stopped_by="budget", measurements=refused)


def hostile_run() -> Run:
    """Markup wherever a text can come from outside."""
    run = cpu_run()
    subjects = tuple(replace(s, hardware=HOSTILE, reason=s.reason and HOSTILE) for s in run.subjects)
    renamed = {"faiss": HOSTILE}
    machine = replace(run.machine, cpu=HOSTILE, system=HOSTILE, python=HOSTILE)
    return replace(
        run,
        started=HOSTILE,
        command=HOSTILE,
        machine=machine,
        versions={HOSTILE: HOSTILE},
        subjects=tuple(replace(s, name=renamed.get(s.name, s.name)) for s in subjects),
        cases=tuple(replace(c, operation=HOSTILE if c.operation == "normalize" else c.operation) for c in run.cases),
        measurements=tuple(
            replace(m, subject=renamed.get(m.subject, m.subject), refused=m.refused and HOSTILE)
            for m in run.measurements
        ),
        embedding=tuple(replace(e, model=HOSTILE) for e in run.embedding),
        recall=tuple(replace(r, subject=renamed.get(r.subject, r.subject), how=HOSTILE) for r in run.recall),
    )


def _run(names: list[str], *, seed: int, cpu: str, cores: int, factor: float) -> Run:
    noise = random.Random(seed)
    cases = _cases()
    clock = tuple(0.05 * (1 + noise.uniform(-0.02, 0.03)) for _ in range(12))
    ordered = sorted(clock)
    spread = (ordered[10] - ordered[1]) / ordered[6]
    return Run(
        vjaccel="0.1.0",
        started="2026-01-01T12:00:00Z",
        seconds=118.2,
        stopped_by=None,
        command="vjaccel bench --sizes default --embed",
        machine=Machine(cpu, cores, cores // 2, 32 * 2**30, "Linux 6.1 x86_64", "3.12.4", clock, spread),
        versions={"numpy": "2.4.6", "torch": "2.13.0", "jax": "0.10.2", "faiss-cpu": "1.15.1"},
        subjects=tuple(_subject(name, cpu, factor) for name in names),
        cases=tuple(cases),
        measurements=tuple(m for case in cases for name in names for m in _measurements(name, case, factor, noise)),
        embedding=tuple(_embedding(names, factor, noise)),
        recall=tuple(_recall(names, factor, noise)),
    )


def _subject(name: str, cpu: str, factor: float) -> Subject:
    copy, matmul, _, start, _ = _SPEEDS[name]
    gpu = name.partition(":")[2].startswith("gpu")
    backend = ":" in name
    return Subject(
        name=name,
        kind="backend" if backend else "peer",
        device="gpu:0" if gpu else "cpu",
        hardware=_GPU if gpu else cpu,
        state="ok",
        reason=None,
        start_s=start,
        copy_bytes_per_s=copy * (1 if gpu else factor) if backend else None,
        matmul_flops_per_s=matmul * (1 if gpu else factor) if backend else None,
        upload_bytes_per_s=2.1e10 if gpu else None,
    )


def _cases() -> list[Case]:
    found = []
    for queries, dtype, width in ((1, "float32", 4), (100, "float32", 4), (100, "float16", 2)):
        for rows in (1_000, 30_000, 1_000_000):
            sizes = {"queries": queries, "rows": rows, "dim": _DIM, "k": 10}
            found.append(_case("topk", "cosine", dtype, sizes, 2.0 * queries * rows * _DIM, width * rows * _DIM))
    for rows in (1_000, 30_000, 1_000_000):
        found.append(
            _case("normalize", None, "float32", {"rows": rows, "dim": _DIM}, 3.0 * rows * _DIM, 8.0 * rows * _DIM)
        )
    for rows in (1_000, 100_000):
        sizes = {"queries": 100, "rows": rows, "dim": _DIM}
        traffic = 4.0 * (rows * _DIM + 100 * rows)
        found.append(_case("distance", "euclidean", "float32", sizes, 2.0 * 100 * rows * _DIM, traffic))
        sizes = {"rows": rows, "dim": _DIM}
        found.append(_case("paired_similarity", "cosine", "float32", sizes, 6.0 * rows * _DIM, 8.0 * rows * _DIM))
    return found


def _case(operation: str, metric: str | None, dtype: str, sizes: dict[str, int], flops: float, traffic: float) -> Case:
    around = "x".join(str(n) for name, n in sizes.items() if name != "k")
    return Case(
        "-".join(filter(None, (operation, metric, dtype, around))), operation, metric, dtype, sizes, flops, traffic
    )


def _measurements(name: str, case: Case, factor: float, noise: random.Random) -> list[Measurement]:
    copy, matmul, latency, _, compilation = _SPEEDS[name]
    gpu = ":gpu" in name
    if ":" not in name and case.operation not in ("topk", "distance"):
        return []
    best = max(case.bytes / copy, case.flops / (matmul * 0.7)) / (1 if gpu else factor) + latency
    best *= noise.uniform(1.1, 2.2)
    found = []
    for origin in ("device", "host") if gpu else ("host",):
        warm = best + (case.bytes / 2.1e10 if gpu and origin == "host" else 0.0)
        rounds = tuple(warm * (1 + abs(noise.gauss(0, 0.03))) for _ in range(7))
        if noise.random() < 0.02:  # something else ran on the machine
            rounds = (*rounds, 300 * warm)
        first = max(rounds) * 1.05 + compilation * noise.uniform(0.8, 1.2)
        found.append(Measurement(name, case.id, origin, first, rounds, abs(noise.gauss(0, 3e-7)), None))
    return found


def _refuse(run: Run, subject: str, reason: str) -> tuple[Measurement, ...]:
    """The first figure of that subject refused, and made faster than anything, as wrong answers may be."""
    first = next(m for m in run.measurements if m.subject == subject)
    return tuple(
        replace(m, refused=reason, error=0.7, seconds=tuple(x * 1e-3 for x in m.seconds)) if m is first else m
        for m in run.measurements
    )


def _embedding(names: list[str], factor: float, noise: random.Random) -> list[Embedding]:
    found = []
    for name in names:
        if not name.startswith("torch:"):
            continue
        gpu = is_gpu(name.partition(":")[2])
        for dtype in ("float32", "float16", "bfloat16") if gpu else ("float32",):
            for batch in (1_024, 4_096, 16_384):
                pace = (9e5 if gpu else 9e3 * factor) * (1 if dtype == "float32" else 2.3) * batch / (batch + 2_000)
                rounds = tuple(200_000 / pace * (1 + abs(noise.gauss(0, 0.02))) for _ in range(3))
                found.append(
                    Embedding(name, "all-MiniLM-L6-v2", dtype, batch, "tokens", 4_000, 200_000, rounds, None, 2e-6)
                )
    return found


def _recall(names: list[str], factor: float, noise: random.Random) -> list[Recall]:
    found = []
    ways = {"exact": (1.0, 1.0), "int8": (0.985, 2.8), "int8, rescore 4": (0.9998, 2.4), "binary": (0.71, 14.0),
            "binary, rescore 10": (0.962, 8.0)}  # fmt: skip
    for name in names:
        for how, (recall, speed) in ways.items() if name in ("numpy:cpu", "torch:gpu:0", "faiss") else ():
            if name == "faiss" and "rescore" in how:
                continue
            pace = (4e4 if ":gpu" in name else 450 * factor) * speed * noise.uniform(0.8, 1.2)
            rounds = tuple(100 / pace * (1 + abs(noise.gauss(0, 0.03))) for _ in range(5))
            found.append(Recall(name, how, 200_000, _DIM, recall, rounds, 100))
    return found
