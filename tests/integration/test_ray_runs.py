"""`vjaccel embed --engine ray` and `Embedder.map_dataset` on a cluster of two nodes: the rows are those of one machine."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vjaccel as vj
from tests.ray_nodes import ROOT, Nodes, pool_sizes
from tests.unit.benchmark.reading import Read, read
from tests.unit.cli.letters import install
from tests.unit.cli.test_progress import in_terminal
from tests.unit.observe.scraping import page, value

PATIENCE = 120

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


class Place(NamedTuple):
    """A cluster, and the environment of its processes."""

    nodes: Nodes
    environment: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ray")
    install(folder)
    environment = {
        "PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'backends'}", "LETTERS_FREE": str(folder / "free"),
    }  # fmt: skip
    with Nodes(2, environment) as nodes:
        yield Place(nodes, environment)


def run(place: Place, work: Path, *command: str, code: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        command, cwd=work, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | place.environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def embed(place: Place, work: Path, *arguments: str, code: int = 0, ray: bool = True) -> tuple[str, str]:
    there = ("--engine", "ray", "--address", place.nodes.address) if ray else ()
    return run(place, work, sys.executable, "-m", "vjaccel", "embed", *arguments, *there, code=code)


def write_inputs(work: Path) -> list[str]:
    """Files of several formats, with duplicates across them, empty texts, what is no text, and texts that fail."""
    texts = [f"text {i % 700}" for i in range(1000)]
    texts[5], texts[6], texts[500] = "", "FAIL", "FAIL 2"
    with gzip.open(work / "a.jsonl.gz", "wt") as file:
        for i, text in enumerate(texts):
            file.write(json.dumps({"id": f"a{i}", "text": None if i == 9 else text, "n": str(i)}) + "\n")
    (work / "b.csv").write_text("id,text,n\n" + "".join(f'b{i},"some\ntext {i}",{i}\n' for i in range(400)))
    columns = {"id": [f"c{i}" for i in range(600)], "text": texts[:600], "n": [str(i) for i in range(600)]}
    pq.write_table(pa.table(columns), work / "c.parquet", row_group_size=150)
    return ["a.jsonl.gz", "b.csv", "c.parquet"]


def test_rows_columns_and_codes_are_those_of_the_local_engine(place: Place, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    command = (*inputs, "--model", "untold:24", "--precision", "int8")
    _, said = embed(place, tmp_path, *command, "-o", "here.parquet", code=3, ray=False)
    out, err = embed(
        place, tmp_path, *command, "-o", "there.parquet", "--workers", "2:2", "--shard-rows", "300", "--json",
        "--report", "there.html", code=3,
    )  # fmt: skip
    assert "untold:24" in (tmp_path / "there.html").read_text()
    assert [line for line in err.splitlines() if not line.startswith("vjaccel: embedding: ")] == said.splitlines()
    here, there = pq.read_table(tmp_path / "here.parquet"), pq.read_table(tmp_path / "there.parquet")
    assert here.schema == there.schema
    assert here.equals(there)
    assert (tmp_path / "here.parquet.errors.jsonl").read_text() == (tmp_path / "there.parquet.errors.jsonl").read_text()
    one, other = (json.loads((tmp_path / f"{name}.parquet.run.json").read_text()) for name in ("here", "there"))
    assert one["counts"] == other["counts"]
    assert one["run"] == other["run"]
    report = json.loads(out)
    assert report["statistics"]["texts"] == one["statistics"]["texts"] == other["recording"]["outcomes"]["embedded"] + 3
    assert report["statistics"]["failures"] == one["statistics"]["failures"]


def in_a_folder(work: Path) -> tuple[str, ...]:
    """What embeds fifty texts with a tiny model in a folder beside them."""
    from tests.unit.embedding.tiny_models import build

    build("cls", work / "tiny")
    (work / "in.txt").write_text("".join(f"text {i}\n" for i in range(50)))
    return "in.txt", "--model", "local:./tiny", "--device", "cpu"


def test_a_model_in_a_folder_is_found_by_the_workers_and_is_that_of_the_local_engine(
    place: Place, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")
    command = in_a_folder(tmp_path)
    embed(place, tmp_path, *command, "-o", "here.parquet", ray=False)
    embed(place, tmp_path, *command, "-o", "there.parquet")
    here, there = (
        np.array(pq.read_table(tmp_path / f"{name}.parquet")["embedding"].to_pylist()) for name in ("here", "there")
    )
    np.testing.assert_allclose(there, here, atol=1e-6)
    one, other = (json.loads((tmp_path / f"{name}.parquet.run.json").read_text()) for name in ("here", "there"))
    assert one["run"] == other["run"]
    assert one["recording"]["model"] == other["recording"]["model"] == "local:./tiny"


@pytest.mark.soak
def test_what_the_local_engine_has_cached_of_a_model_in_a_folder_is_not_embedded_again(
    place: Place, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")
    command = (*in_a_folder(tmp_path), "--cache", "vectors")
    embed(place, tmp_path, *command, "-o", "here.parquet", ray=False)
    embed(place, tmp_path, *command, "-o", "there.parquet", "--shard-rows", "20")
    counts = json.loads((tmp_path / "there.parquet.run.json").read_text())["counts"]
    assert (counts["cached"], counts["embedded"]) == (50, 0)
    here, there = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert here.equals(there)


@pytest.mark.soak
def test_rows_of_a_collection_are_those_of_the_local_engine(place: Place, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    texts = [f"text {i % 400}" for i in range(600)]
    texts[5], texts[6], texts[500] = "", "FAIL", "FAIL 2"
    rows = [{"id": f"n{i % 590}", "text": text, "n": i} for i, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {}
    for name, ray in {"here": False, "there": True}.items():
        command = ("in.jsonl", "-o", f"lance:{name}", "--model", "untold:24", "--json", "--report", f"{name}.html")
        out, _ = embed(place, tmp_path, *command, *(("--shard-rows", "100") if ray else ()), code=3, ray=ray)
        told[name] = json.loads(out)
    here, there = (vj.Collection.open(tmp_path / name) for name in ("here", "there"))
    with here, there:
        assert there.model == here.model
        wanted, found = (list(each.iter_batches(1000)) for each in (here, there))
        assert [rows.ids for rows in found] == [rows.ids for rows in wanted]
        assert [rows.metadata for rows in found] == [rows.metadata for rows in wanted]
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(other.vectors, one.vectors, atol=1e-6)
    same = ("rows", "stored", "resumed", "updated", "there", "failed", "failures")
    assert [told["there"][name] for name in same] == [told["here"][name] for name in same]
    check_pages(*(read(tmp_path / f"{name}.html") for name in told))
    errors = [(tmp_path / f"{name}.errors.jsonl").read_text().splitlines() for name in told]
    assert sorted(errors[0]) == sorted(errors[1])
    # The same command tries what has failed again, and nothing else.
    out, _ = embed(place, tmp_path, "in.jsonl", "-o", "lance:there", "--model", "untold:24", "--json", code=3)
    again = json.loads(out)
    assert (again["stored"], again["statistics"]["texts"]) == (0, 2)
    assert not list(tmp_path.glob("*.journal"))


def check_pages(here: Read, there: Read) -> None:
    """What a run on a cluster was like is told as that of a run on one machine."""
    made, became = (
        [[row[:2] for row in page.tables[name] if row[0] not in ("output", "run", "begun")] for page in (here, there)]
        for name in ("How it was made", "In all")
    )
    assert made[0] == made[1]
    assert became[0] == became[1]
    shown = [
        {text for trace in page.figures["map"][0]["data"] for text in trace["hovertext"] or () if text}
        for page in (here, there)
    ]
    assert shown[0]
    assert shown[0] == shown[1]


@pytest.mark.soak
def test_failed_rows_are_tried_again_on_the_cluster_and_a_finished_run_is_not(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"text {i}\n" for i in range(50)))
    command = ("in.txt", "-o", "out.parquet", "--model", "letters:8")
    embed(place, tmp_path, *command, ray=False)
    before = pq.read_table(tmp_path / "out.parquet")
    out, _ = embed(place, tmp_path, *command, "--retry-failed")
    assert "nothing left to embed" in out
    assert pq.read_table(tmp_path / "out.parquet").equals(before)


@pytest.mark.soak
def test_too_many_errors_stop_the_run_and_name_rows(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"FAIL {i}\n" if i % 2 else f"text {i}\n" for i in range(300)))
    _, err = embed(
        place, tmp_path, "in.txt", "-o", "out.parquet", "--model", "letters:8", "--max-errors", "20", "--workers", "1:1",
        "--shard-rows", "100", code=1,
    )  # fmt: skip
    assert "max_errors is 20" in err
    named = re.findall(r"([0-9]+) \(EMBEDDING_GENERATION_FAILED\)", err.partition("the first: ")[2])
    assert named
    assert all(int(row) % 2 for row in named)
    assert (tmp_path / "out.parquet.journal").is_dir()


def counted(place: Place, work: Path, texts: list[str], *arguments: str) -> list[int]:
    """How many workers there were, from the beginning of a run over `texts` to its end."""
    (work / "in.txt").write_text("".join(f"{text} {i}\n" for i, text in enumerate(texts)))
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--model", "letters:8"]
    process = subprocess.Popen(
        [*command, "--engine", "ray", "--address", place.nodes.address, *arguments], cwd=work, text=True,
        env=os.environ | place.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return list(pool_sizes(process, place.environment, PATIENCE))


def test_a_model_that_ends_the_workers_that_load_it_is_an_error(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    _, err = embed(place, tmp_path, "in.txt", "-o", "out.parquet", "--model", "letters:KILL", code=1)
    assert re.search(r"2 workers ended on \S+ while they loaded letters:KILL", err)
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_of_two_runs_into_one_output_one_is_refused_and_the_other_ends_well(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"text {i} HELD\n" for i in range(700)))
    arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--workers", "1:1")
    command = [
        sys.executable,
        "-m",
        "vjaccel",
        "embed",
        *arguments,
        "--engine",
        "ray",
        "--address",
        place.nodes.address,
    ]
    both = [
        subprocess.Popen(command, cwd=tmp_path, text=True, stderr=subprocess.PIPE, env=os.environ | place.environment)
        for _ in range(2)
    ]
    until = time.monotonic() + PATIENCE
    while all(process.poll() is None for process in both):
        assert time.monotonic() < until
        time.sleep(0.1)
    refused, other = sorted(both, key=lambda process: process.returncode is None)
    _, said = refused.communicate(timeout=PATIENCE)
    assert (refused.returncode, said) == (
        1, "vjaccel: another run is writing out.parquet.journal: wait for it, or stop it\n"
    )  # fmt: skip
    # Who comes later need not even look for the cluster.
    _, later = embed(place, tmp_path, *arguments, "--engine", "ray", "--address", "127.0.0.1:1", ray=False, code=1)
    assert later == said
    Path(place.environment["LETTERS_FREE"]).touch()
    _, said = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, said
    assert pq.read_table(tmp_path / "out.parquet")["embedding"].null_count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.parquet", "out.parquet.run.json"]


def test_an_input_without_rows_has_an_output_without_rows(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").touch()
    embed(place, tmp_path, "in.txt", "-o", "out.parquet", "--model", "letters:8")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.parquet", "out.parquet.run.json"]


@pytest.mark.soak
def test_workers_become_more_while_shards_wait(place: Place, tmp_path: Path) -> None:
    counts = counted(place, tmp_path, ["SLOW"] * 6000, "--workers", "1:2", "--shard-rows", "500")
    assert 1 in counts
    assert max(counts) == 2


@pytest.mark.soak
def test_a_worker_goes_when_no_shard_waits(place: Place, tmp_path: Path) -> None:
    texts = ["quick"] * 2000 + ["SLOW"] * 2000
    counts = counted(place, tmp_path, texts, "--workers", "2:2", "--shard-rows", "2000")
    last = len(counts) - counts[::-1].index(2)
    assert 1 in counts[last:], "while the slow shard was being done"


def test_a_model_that_cannot_be_loaded_is_said_once(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    _, err = embed(place, tmp_path, "in.txt", "-o", "out.parquet", "--model", "local:/nowhere", code=1)
    assert err == "vjaccel: there is no folder '/nowhere'\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt"]


def test_a_gpu_that_no_node_has_is_refused_at_once(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    _, err = embed(place, tmp_path, "in.txt", "-o", "out.parquet", "--resources", "gpu=1", code=1)
    assert err.startswith(
        "vjaccel: no node of the cluster has cpu=1, gpu=1 for a worker: the most that one has is CPU 1"
    )


def test_an_input_that_a_node_cannot_see_is_named_with_the_node(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    # In a namespace of its own the driver has a file system there that nobody else has.
    alone = 'mount -t tmpfs tmpfs mine && echo text > mine/in.txt && exec "$@"'
    command = [sys.executable, "-m", "vjaccel", "embed", "mine/in.txt", "-o", "out.parquet", "--model", "letters:8"]
    command += ["--engine", "ray", "--address", place.nodes.address]
    wrapped = ["unshare", "--mount", "bash", "-c", alone, "bash"]
    if subprocess.run([*wrapped, "true"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    _, err = run(place, tmp_path, *wrapped, *command, code=1)
    host = place.nodes.address.partition(":")[0]
    assert err.startswith(f"vjaccel: the node {host} (")
    assert err.endswith(f"{tmp_path}/mine/in.txt cannot be read: No such file or directory\n")
    assert not list(tmp_path.glob(".*"))


def test_a_dataset_gets_a_column_of_vectors(place: Place, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        textwrap.dedent(f"""
        import ray
        import vjaccel as vj

        ray.init(address={place.nodes.address!r}, log_to_driver=False, logging_level="ERROR")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        texts = [f"text {{i}}" for i in range(300)] + ["FAIL"]
        rows = ray.data.from_items([{{"n": i, "text": text, "more": [i]}} for i, text in enumerate(texts)])
        with vj.Embedder("letters:16") as embedder:
            made = embedder.map_dataset(rows, workers=(1, 2), batch_size=50, on_error="collect")
            assert [row["n"] for row in made.take_all()] == list(range(301))
            made.write_parquet({str(tmp_path / "made")!r})
            for wrong in ({{"text_column": "nothing"}}, {{"workers": (2, 1)}}, {{"gpus": 1}}):
                try:
                    embedder.map_dataset(rows, **wrong)
                except vj.VjaccelError as exc:
                    print(exc)
        """)
    )
    out, _ = run(place, tmp_path, sys.executable, "script.py")
    said = out.splitlines()
    assert said[:2] == [
        "the dataset has no column 'nothing': it has 'n', 'text', 'more'",
        "workers=(2, 1): the least is at least 1, and the most no less than it",
    ]
    assert said[2].startswith("no node of the cluster has cpu=1, gpu=1 for a worker: the most that one has is CPU 1")
    found = pq.read_table(tmp_path / "made").sort_by("n")
    assert found.schema.remove_metadata() == pa.schema(
        {
            "n": pa.int64(), "text": pa.string(), "more": pa.list_(pa.int64()), "embedding": pa.list_(pa.float32(), 16),
            "embedding_error": pa.string(),
        }
    )  # fmt: skip
    assert found["n"].to_pylist() == list(range(301))
    assert found["embedding"].null_count == 1
    assert found["embedding_error"].to_pylist()[300].startswith("EMBEDDING_GENERATION_FAILED: ")
    (tmp_path / "in.txt").write_text("".join(f"text {i}\n" for i in range(300)))
    embed(place, tmp_path, "in.txt", "-o", "out.parquet", "--model", "letters:16", ray=False)
    vectors = [
        np.array(table["embedding"].to_pylist()[:300]) for table in (found, pq.read_table(tmp_path / "out.parquet"))
    ]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_an_address_that_nobody_answers_is_an_error_that_has_it(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--address")
        _, err = embed(place, tmp_path, *arguments, address, ray=False, code=1)
        assert err == f"vjaccel: no Ray cluster answers at {address}: [Errno 111] Connection refused\n"


@pytest.mark.soak
def test_an_address_where_something_else_answers_is_an_error_too(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--address", address)
        _, err = embed(place, tmp_path, *arguments, ray=False, code=1)
    assert err == f"vjaccel: no Ray cluster answers at {address} within 10 s\n"


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_server_of_pages_is_said_at_once_to_be_no_cluster(place: Place, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"{scheme}127.0.0.1:{server.server_port}"
        arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--address", address)
        _, err = embed(place, tmp_path, *arguments, ray=False, code=1)
        server.shutdown()
    assert err.startswith(f"vjaccel: what answers at {address} is no Ray cluster, or of another version than Ray ")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_server_that_is_no_rays_is_said_to_be_none_and_not_to_want_a_token(
    place: Place, tmp_path: Path, scheme: str
) -> None:
    grpc = pytest.importorskip("grpc")
    (tmp_path / "in.txt").write_text("text\n")
    server = grpc.server(ThreadPoolExecutor(2))
    address = f"{scheme}127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--address", address)
        _, err = embed(place, tmp_path, *arguments, ray=False, code=1)
    finally:
        server.stop(None)
    assert err.startswith(f"vjaccel: what answers at {address} is no Ray cluster, or of another version than Ray ")
    assert "token" not in err
    assert ("Ray client server" in err) == bool(scheme)


@pytest.mark.soak
def test_the_port_of_a_cluster_is_none_for_ray_clients_and_that_is_said(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    address = f"ray://{place.nodes.address}"
    arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--address", address)
    _, err = embed(place, tmp_path, *arguments, ray=False, code=1)
    assert err.startswith(f"vjaccel: what answers at {address} is no Ray cluster, or of another version than Ray ")
    assert "(ray client connection timeout); ray:// is for the port of its Ray client server" in err


@pytest.mark.soak
def test_a_node_with_another_version_is_named_with_both(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other" / "vjaccel"
    shutil.copytree(ROOT / "vjaccel", other)
    first = other / "__init__.py"
    first.write_text(first.read_text().replace(f'__version__ = "{vj.__version__}"', '__version__ = "9.9.9"'))
    (tmp_path / "in.txt").write_text("text\n")
    path = place.environment["PYTHONPATH"]
    with Nodes(1, {"PYTHONPATH": f"{other.parent}:{path}"}) as nodes:
        _, err = embed(
            Place(nodes, place.environment), tmp_path, "in.txt", "-o", "o.parquet", "--model", "letters:8", code=1
        )
    assert f"it has vjaccel 9.9.9, and the run {vj.__version__}: install the same on all" in err


def test_a_driver_with_another_ray_is_refused_with_both_versions(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("text\n")
    other = tmp_path / "other"
    other.mkdir()
    # Of another Ray there is only the number: it is by that alone that Ray tells.
    (other / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.1.0'\n")
    environment = place.environment | {"PYTHONPATH": f"{other}:{place.environment['PYTHONPATH']}"}
    _, err = embed(
        Place(place.nodes, environment), tmp_path, "in.txt", "-o", "out.parquet", "--model", "letters:8", code=1
    )
    assert err.startswith(f"vjaccel: the Ray cluster at {place.nodes.address} has other versions than this process: ")
    assert "Ray: 2.1.0" in err
    assert f"Ray: {version('ray')}" in err


@pytest.mark.soak
def test_a_real_model_has_the_local_engines_vectors(place: Place, tmp_path: Path) -> None:
    lines = (ROOT / "examples" / "data" / "glosses.jsonl").read_text().splitlines()[:600]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    embed(place, tmp_path, "in.jsonl", "-o", "here.parquet", ray=False)
    embed(place, tmp_path, "in.jsonl", "-o", "there.parquet", "--workers", "1:2", "--shard-rows", "100")
    here, there = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert here.drop_columns("embedding").equals(there.drop_columns("embedding"))
    np.testing.assert_allclose(here["embedding"].to_pylist(), there["embedding"].to_pylist(), atol=1e-6)


def test_metrics_are_those_of_the_workers_while_a_shard_is_under_way(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"text {i} SLOW\n" for i in range(4096)))
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--model", "letters:8"]
    command += ["--engine", "ray", "--address", place.nodes.address, "--workers", "1:1", "--shard-rows", "10000"]
    command += ["--cache", str(tmp_path / "kept"), "--metrics-port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stderr=subprocess.PIPE, env=os.environ | place.environment
    ) as process:
        assert process.stderr is not None
        found = re.search(r"http://\S+(?=/metrics)", process.stderr.readline())
        assert found is not None
        pages = []
        with suppress(OSError):  # until nobody answers
            while True:
                pages.append(page(found.group()))
                time.sleep(0.2)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    done = [value(one, "vjaccel_batches_total", outcome="done") for one in pages]
    assert any(
        0 < batches < 64 and value(one, "vjaccel_runs_active") == 1 for batches, one in zip(done, pages, strict=True)
    )
    assert done == sorted(done)
    last = pages[-1]
    assert (
        done[-1]
        == value(last, "vjaccel_batch_duration_seconds_count")
        == value(last, "vjaccel_batch_texts_count")
        == 64
    )
    assert value(last, "vjaccel_batch_texts_sum") == value(last, "vjaccel_texts_total", outcome="embedded") == 4096
    assert value(last, "vjaccel_cache_lookups_total", outcome="miss") == 4096
    assert value(last, "vjaccel_runs_total", outcome="done") == 1


@pytest.mark.soak
def test_the_summary_stands_below_the_live_view(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"text {i}\n" for i in range(300)))
    arguments = ("in.txt", "-o", "out.parquet", "--model", "letters:8", "--engine", "ray", "--watch")
    shown = in_terminal(tmp_path, 40, "embed", *arguments, "--address", place.nodes.address, **place.environment)
    view, _, after = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).rpartition("embedded 300 texts")
    assert "100%" in view
    assert "wrote out.parquet: 300 rows" in after
    # Nothing is moved up and drawn over it.
    assert "\x1b[" not in shown.rpartition("embedded 300 texts")[2]
