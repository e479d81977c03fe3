"""The page on watching runs lists every metric as the code has it, every alert, and every key of a processor."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from vjaccel.observe.catalogue import CATALOGUE, Measure

PAGE = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((files("vjaccel.observe") / "assets" / "alerts.yml").read_text())["groups"][0]["rules"]


def row(measure: Measure) -> str:
    labels = ", ".join(f"`{label}`" for label in measure.labels)
    return f"| `{measure.shown}` | {measure.kind} | {labels} | {measure.says} |"


@pytest.mark.parametrize("measure", CATALOGUE, ids=lambda measure: measure.name)
def test_a_metric_is_in_the_table_as_it_is(measure: Measure) -> None:
    assert row(measure) in PAGE.splitlines()


def test_the_table_has_no_other_metric() -> None:
    named = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `vjaccel_")}
    assert named == {measure.shown for measure in CATALOGUE}


def test_the_page_has_what_to_do_at_each_alert_and_at_no_other() -> None:
    headings = [line.removeprefix("### ") for line in PAGE.splitlines() if line.startswith("### ")]
    assert headings == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize(
    "name",
    ["enable_metrics", "metrics_port", "metrics_host", "metrics_interval", "--metrics-port", "--metrics-host",
     "--stalled-after", "/metrics", "/healthz", "/readyz", "PROMETHEUS_MULTIPROC_DIR"],
)  # fmt: skip
def test_what_can_be_asked_is_on_the_page(name: str) -> None:
    assert f"`{name}" in PAGE
