"""What is in `deploy/`, as far as it is tried without containers and without a cloud."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.debian import program
from tests.serving import PATIENCE, serving

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")


def mounts(service: str) -> dict[str, Path]:
    """Files and folders of the repository, by where a container has them."""
    volumes = [volume.split(":") for volume in COMPOSE["services"][service].get("volumes", [])]
    return {there: DEPLOY / here for here, there, *_ in volumes if here.startswith(".")}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_made_of_what_there_is(name: str) -> None:
    said = (DEPLOY / name).read_text()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", said, re.MULTILINE) for word in line.split()]
    assert copied
    assert all((ROOT / one).exists() for one in copied)
    taken = (DEPLOY / f"{name}.dockerignore").read_text().splitlines()
    assert {f"!{one}" for one in copied} <= set(taken)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[(.*)\]'", said)
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    # A run on Ray wants the same Python everywhere, and the two are parts of one cluster.
    assert said.splitlines()[1] == (DEPLOY / DOCKERFILES[0]).read_text().splitlines()[1]


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_a_service_mounts_what_there_is_and_is_heard_here_alone(service: str) -> None:
    of = COMPOSE["services"][service]
    assert all(path.exists() for path in mounts(service).values())
    assert all(port.startswith("127.0.0.1:") for port in of.get("ports", []))
    assert set(of.get("depends_on", [])) <= COMPOSE["services"].keys()
    if "build" in of:
        assert (DEPLOY / of["build"]["context"] / of["build"]["dockerfile"]).is_file()
    else:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-alpine)?", of["image"])


def test_the_service_is_asked_with_options_that_it_has() -> None:
    command = COMPOSE["services"]["serve"]["command"]
    assert command[:2] == ["vjaccel", "serve"]
    for name in DOCKERFILES:
        (default,) = re.findall(r"^CMD (.*)$", (DEPLOY / name).read_text(), re.MULTILINE)
        assert json.loads(default) == command[:4]
    help = subprocess.run(
        [sys.executable, "-m", "vjaccel", "serve", "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in help.stdout for option in command if option.startswith("--"))


def test_grafana_finds_its_data_source_and_its_dashboard() -> None:
    files = mounts("grafana")
    provisioning = files["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert host in COMPOSE["services"]
    assert any(published.endswith(f":{port}") for published in COMPOSE["services"][host]["ports"])
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "vjaccel.yml").read_text())["providers"]
    (dashboard,) = [path for there, path in files.items() if there.startswith(provider["options"]["path"] + "/")]
    asked = json.loads(dashboard.read_text())["templating"]["list"][0]
    assert (asked["type"], asked["query"]) == ("datasource", source["type"])


def as_in_the_container(folder: Path) -> Path:
    """Prometheus' files as its container has them; its configuration."""
    for there, path in mounts("prometheus").items():
        shutil.copy(path, folder / Path(there).name)
    return folder / "prometheus.yml"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    path = as_in_the_container(tmp_path)
    command = [program("promtool", package="prometheus"), "check", "config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (scraped,) = yaml.safe_load(path.read_text())["scrape_configs"]
    ((target,),) = [of["targets"] for of in scraped["static_configs"]]
    host, _, port = target.partition(":")
    assert any(published.endswith(f":{port}") for published in COMPOSE["services"][host]["ports"])


def test_prometheus_scrapes_a_service_and_has_the_alerts(tmp_path: Path) -> None:
    command = program("prometheus")
    path = as_in_the_container(tmp_path)
    with serving(tmp_path, "--model", "letters:8", VJACCEL_SERVE_TOKEN="sesame") as served:
        path.write_text(path.read_text().replace("serve:8000", served.url.removeprefix("http://")).replace("5s", "1s"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            where = f"127.0.0.1:{free.getsockname()[1]}"
        process = subprocess.Popen(
            [command, f"--config.file={path}", f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={where}"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until = time.monotonic() + PATIENCE
            while (target := scraped(where)).get("health") != "up":
                assert time.monotonic() < until, target
                time.sleep(0.1)
            groups = answered(where, "rules")["groups"]
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert sum(len(group["rules"]) for group in groups) > 0
    assert not [rule for group in groups for rule in group["rules"] if rule.get("lastError")]


def answered(where: str, what: str) -> Any:
    with urlopen(f"http://{where}/api/v1/{what}", timeout=PATIENCE) as reply:
        return json.load(reply)["data"]


def scraped(where: str) -> dict[str, Any]:
    """The one target, as far as there is one yet."""
    try:
        targets: list[dict[str, Any]] = answered(where, "targets")["activeTargets"]
    except URLError:
        return {}
    return targets[0] if targets else {}


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_the_cluster_is_one_that_ray_would_begin() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    prepared = prepare_config(cluster)
    validate_config(prepared)
    head = prepared["available_node_types"][prepared["head_node_type"]]
    others = [of for name, of in prepared["available_node_types"].items() if name != prepared["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert all(of["max_workers"] > of["min_workers"] for of in others)
    # Nothing of it is a word that its schema does not know.
    schema = json.loads(
        (Path(find_spec("ray.autoscaler").submodule_search_locations[0]) / "ray-schema.json").read_text()
    )  # type: ignore[union-attr, index]  # it is there
    assert cluster.keys() <= schema["properties"].keys()
