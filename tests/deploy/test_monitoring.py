"""The alert rules and the dashboard, compared with the metrics of the service."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from roundel_service import app as service
from support.service import settings

DOCS = Path(__file__).parents[2] / "docs"
FILES = DOCS / "reference" / "monitoring"


def rules() -> list[dict]:
    """Return the alert rules."""
    (group,) = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
    return group["rules"]


def expressions() -> list[str]:
    """Return the queries of the rules and of the dashboard."""
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *queries]


@pytest.mark.parametrize("expression", expressions())
def test_query_names_existing_series_and_labels(expression):
    """Each series and label of a query exists."""
    metrics = service.build(settings()).hub.metrics
    metrics.requested("GET", "/livez", 200, 0.1)
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    name, selector = re.search(
        r"((?:roundel|process)_\w+)(?:\{(.*?)\})?", expression
    ).groups()
    used = re.findall(r"(\w+)=", selector or "")
    for group in re.findall(r"by \((.*?)\)", expression):
        used += [label for label in group.split(", ") if label != "instance"]

    assert name in labels
    assert set(used) <= labels[name]


def test_every_alert_has_a_runbook_line():
    """The page for operators says what to do about each alert."""
    page = (DOCS / "how-to" / "operate.md").read_text()

    assert [] == [
        rule["alert"] for rule in rules() if f"| `{rule['alert']}` |" not in page
    ]
