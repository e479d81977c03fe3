"""What `vjaccel embed --engine ray` refuses before it looks for a cluster, and what the local engine refuses of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.letters import install

ROOT = Path(__file__).parents[3]
COMMAND = ("embed", "in.txt", "-o", "out.parquet", "--model", "letters:8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "4:1"], "--workers 4:1: MIN is at least 1, and MAX no less than MIN"),
        (["--workers", "0:1"], "--workers 0:1: MIN is at least 1, and MAX no less than MIN"),
        (["--workers", "a:b"], "--workers 'a:b' is neither MIN:MAX nor a number"),
        (["--resources", "gpu"], "--resources 'gpu': write NAME=NUMBER, as in gpu=1 or cpu=4,gpu=1"),
        (["--resources", "gpu=-1"], "--resources 'gpu=-1': write NAME=NUMBER, as in gpu=1 or cpu=4,gpu=1"),
        (["--engine", "local"], "--engine ray --engine local: one of local, ray, and one of torch, onnx, openvino"),
        (["--engine", "spark"], "--engine 'spark' is none of torch, onnx, openvino, local, ray"),
        (["--dry-run"], "--dry-run goes with --engine local alone: workers read files, and all write to one folder"),
        (["-o", "-"], "-o - goes with --engine local alone: workers read files, and all write to one folder"),
        (["--address", "nowhere"], "--address 'nowhere' is none of auto, HOST:PORT, ray://HOST:PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_of_a_cluster(run: Run, arguments: list[str], said: str) -> None:
    Path("in.txt").write_text("text\n")
    done = run(*COMMAND, "--engine", "ray", *arguments)
    assert (done.code, done.err) == (2, f"vjaccel: {said}\n")
    assert not Path("out.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--workers", "3:1"],
            "--workers 3:1: MIN:MAX is how many workers --engine ray may have; on this machine give one number, of batches at "
            "once",
        ),
        (["--address", "auto"], "--address is for --engine ray"),
        (["--resources", "gpu=1"], "--resources is for --engine ray"),
        (["--shard-rows", "10"], "--shard-rows is for --engine ray"),
        (["--workers", "many"], "--workers 'many' is no whole number of at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_for_a_cluster_alone(run: Run, arguments: list[str], said: str) -> None:
    Path("in.txt").write_text("text\n")
    done = run(*COMMAND, *arguments)
    assert (done.code, done.err) == (2, f"vjaccel: {said}\n")


def test_where_ray_is_not_installed_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    (tmp_path / "in.txt").write_text("text\n")
    done = subprocess.run(
        [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--engine", "ray"], cwd=tmp_path,
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'backends'}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1, "vjaccel: --engine ray needs the extra 'ray': pip install 'vjaccel[ray]'\n"
    )  # fmt: skip


def test_ray_is_imported_only_where_it_is_asked_for() -> None:
    code = "import sys, vjaccel.cli, vjaccel.engines, vjaccel.embedding; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "doing"),
    [
        ((), {}, "starting Ray on this machine"),
        (("--address", "a:1"), {}, "connecting to the Ray cluster at a:1"),
        ((), {"RAY_ADDRESS": "b:2"}, "connecting to the Ray cluster at b:2"),
    ],
    ids=["own", "address", "environment"],
)
def test_before_the_model_is_loaded_it_is_said_that_ray_is_waited_for(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], doing: str
) -> None:
    install(tmp_path)
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    (tmp_path / "in.txt").write_text("text\n")
    command = [sys.executable, "-m", "vjaccel", *COMMAND, "--engine", "ray", "--log-format", "json", *arguments]
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'backends'}", "RAY_ADDRESS": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | path | environment)
    said = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert said == [doing, "--engine ray needs the extra 'ray': pip install 'vjaccel[ray]'"]


@pytest.mark.parametrize(
    ("model", "code", "why"),
    [
        ("nobody:8", 2, "no provider is registered as 'nobody'"),
        ("local:./nothing", 1, "there is no folder './nothing'"),
        ("local:.", 1, "the folder '.' holds no model: it has neither modules.json nor config.json"),
    ],
)
def test_a_model_that_is_not_here_is_refused_before_a_ray_of_ones_own_is_begun(
    tmp_path: Path, model: str, code: int, why: str
) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')\n")
    (tmp_path / "in.txt").write_text("text\n")
    command = [sys.executable, "-m", "vjaccel", "embed", "in.txt", "-o", "out.parquet", "--model", model]
    done = subprocess.run(
        [*command, "--engine", "ray"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'backends'}", "RAY_ADDRESS": ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr.strip().partition(";")[0]) == (code, f"vjaccel: {why}")
