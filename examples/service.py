"""A service for embeddings, and clients of it: `vjaccel serve` asked by OpenAI's own client, from several threads at once.

Needs no network but this machine's own: pip install 'vjaccel[serve,minilm]' openai
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openai
from rich.console import Console

import vjaccel as vj

GLOSSES = Path(__file__).parent / "data" / "glosses.jsonl"
MODEL = "all-MiniLM-L6-v2"
CLIENTS, TEXTS = 8, 160

console = Console(highlight=False)


@contextmanager
def served(*options: str) -> Iterator[str]:
    """Where a service is that has been started, and is drained at the end."""
    command = [sys.executable, "-m", "vjaccel", "serve", "--model", f"local:{MODEL}", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        try:
            found = re.search(r"http://\S+?:\d+", said)
            if found is None:
                raise SystemExit(said + process.stderr.read())
            yield found.group()
        finally:
            process.terminate()  # what was asked is answered first


def main() -> None:
    """Embed glosses by many small requests at once, and find the one that is nearest to a question."""
    lines = GLOSSES.read_text(encoding="utf-8").splitlines()[:TEXTS]
    texts = [json.loads(line)["text"] for line in lines]
    with served("--device", "cpu") as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:

        def embedded(asked: list[str]) -> list[list[float]]:
            return [one.embedding for one in client.embeddings.create(model=MODEL, input=asked).data]

        embedded(["the first request is slower than the others"])
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as threads:
            vectors = np.array([rows[0] for rows in threads.map(lambda text: embedded([text]), texts)], np.float32)
        took = time.perf_counter() - began
        console.print(f"{len(texts)} requests of one text each, {CLIENTS} at once: {len(texts) / took:,.0f} a second")
        question = "a mark in written music"
        found = vj.topk(np.array(embedded([question]), np.float32), vectors, k=3)
        console.print(f"{question}:")
        for score, row in zip(found.values[0], found.indices[0], strict=True):
            console.print(f"  {score:.3f}  {texts[row]}", soft_wrap=True)


if __name__ == "__main__":
    main()
