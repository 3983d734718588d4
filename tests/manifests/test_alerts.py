"""The alerts use metrics that there are, and each leads to its runbook."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.manifests.schemas import ROOT, Json
from tools.monitoring import families, queries

RULES: Json = yaml.safe_load((ROOT / "deploy/components/monitoring/rules.yaml").read_text())
ALERTS: list[Json] = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]
EACH = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
KNOWN = families.known()
RUNBOOKS = (ROOT / "docs/how-to/runbooks.md").read_text()


@EACH
def test_an_alert_speaks_of_metrics_and_labels_that_there_are(alert: Json) -> None:
    assert list(queries.faults(alert["expr"], KNOWN)) == []


@EACH
def test_an_alert_says_what_happens_and_what_to_do(alert: Json) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "runbook"} <= alert["annotations"].keys()
    assert alert["annotations"]["runbook"] == f"docs/how-to/runbooks.md#{alert['alert'].lower()}"
    assert f"\n## {alert['alert']}\n" in RUNBOOKS


def test_there_is_no_runbook_without_an_alert() -> None:
    described = re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)
    assert sorted(described) == sorted(alert["alert"] for alert in ALERTS)
