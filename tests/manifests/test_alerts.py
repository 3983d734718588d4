"""The alerts speak of metrics that there are, and each leads to what a person is to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.manifests.schemas import ROOT, Json

RULES: Json = yaml.safe_load((ROOT / "deploy/components/monitoring/rules.yaml").read_text())
ALERTS: list[Json] = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()
_KINDS = {"count": "_total", "gauge": "", "gauge_by": "", "observe": "_count"}
_NAME = re.compile(r"\b(?:streamforge|process|dummy)_[a-z_]+")


def reported() -> Iterator[str]:
    """The name of every family that the services report, as Prometheus sees it."""
    for folder in ("src", "libs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                    first, kind = node.args[0], _KINDS.get(node.func.attr)
                    if kind is not None and isinstance(first, ast.Constant) and isinstance(first.value, str):
                        yield f"streamforge_{first.value.removesuffix('_total')}{kind}"


FAMILIES = frozenset(reported()) | {"process_resident_memory_bytes"}


@EACH
def test_an_alert_speaks_of_metrics_that_there_are(alert: Json) -> None:
    names = set(_NAME.findall(alert["expr"]))
    assert names or "up{" in alert["expr"]
    assert names <= FAMILIES


@EACH
def test_an_alert_says_what_happens_and_what_to_do(alert: Json) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook"} <= alert["annotations"].keys()
    assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{alert['alert'].lower()}"
    assert f"\n## {alert['alert']}\n" in RUNBOOKS


def test_there_is_no_runbook_without_an_alert() -> None:
    described = re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)
    assert sorted(described) == sorted(alert["alert"] for alert in ALERTS)


def test_a_metric_that_nobody_reports_would_be_found() -> None:
    assert "streamforge_workflow_changes_total" in FAMILIES
    assert "streamforge_workflows_failed_total" not in FAMILIES
