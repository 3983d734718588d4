"""The alerts of the PrometheusRule: as promtool reads them, and which cases their tests have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.monitoring import families

Json = dict[str, Any]

ROOT = families.ROOT
RULES = Path("deploy/components/monitoring/rules.yaml")
TESTS = Path("tests/monitoring")
"""The folder of promtool's tests, a file per group of alerts."""


def groups(root: Path = ROOT) -> list[Json]:
    """The groups of rules."""
    found: list[Json] = yaml.safe_load((root / RULES).read_text("utf-8"))["spec"]["groups"]
    return found


def alerts(found: list[Json]) -> list[Json]:
    """Every alert of the groups."""
    return [rule for group in found for rule in group["rules"]]


def plain(found: list[Json]) -> str:
    """The groups as a file of rules that Prometheus itself reads."""
    return yaml.safe_dump({"groups": found}, sort_keys=False, allow_unicode=True)


def recorded(expressions: dict[str, str]) -> str:
    """A file of rules that holds nothing but these expressions, for promtool to parse."""
    rules = [{"record": f"parsed:{number}", "expr": text} for number, text in enumerate(expressions.values())]
    return plain([{"name": "parsed", "rules": rules}])


def cases(root: Path = ROOT) -> dict[str, str]:
    """promtool's tests by the name of their file."""
    return {path.name: path.read_text("utf-8") for path in sorted((root / TESTS).glob("*.yaml"))}


def untested(found: list[Json], files: dict[str, str]) -> Iterator[str]:
    """The alerts that no test has fire, or that none has stay quiet; and tests of alerts that are not there."""
    fired: set[str] = set()
    quiet: set[str] = set()
    for text in files.values():
        for case in yaml.safe_load(text)["tests"]:
            for look in case.get("alert_rule_test", []):
                (fired if look.get("exp_alerts") else quiet).add(look["alertname"])
    names = {rule["alert"] for rule in alerts(found)}
    for name in sorted(names - fired):
        yield f"{name}: no test in {TESTS} has it fire"
    for name in sorted(names - quiet):
        yield f"{name}: no test in {TESTS} has it stay quiet"
    for name in sorted((fired | quiet) - names):
        yield f"{name}: tested in {TESTS}, but there is no such alert"
