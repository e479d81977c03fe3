"""The alert rules and the dashboard as their own tools see them: promtool checks the rules, and when each alert fires."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.debian import program
from vjaccel.observe.catalogue import CATALOGUE

TESTS = Path(__file__).parent / "alerts_test.yml"
ASSETS = Path(str(files("vjaccel.observe") / "assets"))
RULES = yaml.safe_load((ASSETS / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ASSETS / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
SAMPLES = {
    name
    for measure in CATALOGUE
    for name in (
        [f"{measure.name}_{part}" for part in ("bucket", "sum", "count")]
        if measure.kind == "histogram"
        else [measure.shown]
    )
}


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [program("promtool", package="prometheus"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", "--lint-fatal", str(ASSETS / "alerts.yml"))


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", str(TESTS))


def test_each_alert_has_such_a_test() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    named = {rule["alert"] for rule in RULES}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == named
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == named


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_is_and_links_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (path, anchor) == ("docs/monitoring.md", rule["alert"].lower())
    assert f"### {rule['alert']}\n" in PAGE


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_title_a_unit_and_queries(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert all(target["expr"] for target in panel["targets"])


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_the_dashboard_shows_every_metric_and_asks_for_no_other() -> None:
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    named = set(re.findall(r"vjaccel_\w+", asked))
    assert named <= SAMPLES
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    assert shown == {measure.shown for measure in CATALOGUE}


def test_every_query_is_of_the_jobs_and_instances_that_were_chosen() -> None:
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    for selector in re.findall(r"vjaccel_\w+(?:\{[^}]*\})?", " ".join(asked)):
        assert 'job=~"$job", instance=~"$instance"' in selector
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "job", "instance", "model"]


def test_the_alerts_ask_for_metrics_that_there_are() -> None:
    assert {name for rule in RULES for name in re.findall(r"vjaccel_\w+", rule["expr"])} <= SAMPLES
