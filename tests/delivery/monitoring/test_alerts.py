"""Each alert is tested so closely that a broken one is seen: promtool, on rules changed in one place."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml

from tools.monitoring import alerts, promtool

GROUPS = alerts.groups()
TESTS = alerts.cases()
NAMES = [rule["alert"] for rule in alerts.alerts(GROUPS)]
WITH_A_PAUSE = [rule["alert"] for rule in alerts.alerts(GROUPS) if "for" in rule]
_THRESHOLD = re.compile(r"([<>]=?) *([\d.]+)(?!.*[<>])")
"""The last comparison with a number."""


def changed(name: str, **fields: str) -> str:
    """The rules with other fields for one alert."""
    groups = copy.deepcopy(GROUPS)
    (rule,) = [one for one in alerts.alerts(groups) if one["alert"] == name]
    rule.update(fields)
    return alerts.plain(groups)


def own_tests(name: str) -> dict[str, str]:
    """The tests of one alert."""
    found = {}
    for file, text in TESTS.items():
        whole = yaml.safe_load(text)
        whole["tests"] = [case for case in whole["tests"] if case["alert_rule_test"][0]["alertname"] == name]
        if whole["tests"]:
            found[file] = yaml.safe_dump(whole)
    return found


def said(name: str, **fields: str) -> str:
    """What promtool says to the alert's tests with such a change."""
    return promtool.test(changed(name, **fields), own_tests(name))


def expression(name: str) -> str:
    (found,) = [rule["expr"] for rule in alerts.alerts(GROUPS) if rule["alert"] == name]
    return str(found)


def test_promtool_accepts_the_rules_and_their_tests() -> None:
    assert promtool.check(alerts.plain(GROUPS)) == ""
    assert promtool.test(alerts.plain(GROUPS), TESTS) == ""


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_that_never_or_always_fires_is_found(name: str) -> None:
    assert "exp:[" in said(name, expr="vector(0) > 1")
    assert "exp:[" in said(name, expr="vector(1)")


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_with_its_comparison_turned_round_is_found(name: str) -> None:
    expr = expression(name)
    if "> time()" in expr:
        turned = expr.replace("> time()", "< time()")
    elif "== 1" in expr:
        turned = expr.replace("== 1", "== 0")
    else:
        turned = _THRESHOLD.sub(lambda found: f"{'<' if '>' in found[1] else '>'} {found[2]}", expr)
    assert turned != expr
    assert said(name, expr=turned)


@pytest.mark.parametrize("name", [one for one in NAMES if _THRESHOLD.search(expression(one))])
def test_an_alert_that_is_three_times_as_hard_of_hearing_is_found(name: str) -> None:
    harder = _THRESHOLD.sub(
        lambda found: f"{found[1]} {float(found[2]) * (3 if '>' in found[1] else 0.3) + 3}", expression(name)
    )
    assert said(name, expr=harder)


@pytest.mark.parametrize("name", WITH_A_PAUSE)
def test_an_alert_that_does_not_wait_is_found(name: str) -> None:
    assert said(name, **{"for": "0s"})


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_that_says_something_else_is_found(name: str) -> None:
    (annotations,) = [rule["annotations"] for rule in alerts.alerts(GROUPS) if rule["alert"] == name]
    groups = copy.deepcopy(GROUPS)
    for rule in alerts.alerts(groups):
        if rule["alert"] == name:
            rule["annotations"] = {**annotations, "description": "something else"}
    assert name in promtool.test(alerts.plain(groups), own_tests(name))


def test_an_alert_without_both_cases_is_named() -> None:
    groups = [{"name": "more", "rules": [{"alert": "StreamForgeNew", "expr": "up == 0"}]}]
    only = {"a.yaml": "tests: [{alert_rule_test: [{eval_time: 1m, alertname: StreamForgeNew, exp_alerts: []}]}]"}
    assert list(alerts.untested(groups, only)) == ["StreamForgeNew: no test in tests/monitoring has it fire"]
    assert [one.split(":")[0] for one in alerts.untested(groups, {})] == ["StreamForgeNew"] * 2
    assert "no such alert" in "".join(alerts.untested([], only))


def test_what_is_no_promql_is_refused_by_promtool() -> None:
    assert "parse error" in promtool.check(changed(NAMES[0], expr="sum by (x) rate(y[5m])"))
    assert "parse error" in promtool.check(alerts.recorded({"panel": "up{"}))


def test_a_promtool_that_is_missing_is_a_failure_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(promtool.PromtoolError, match=r"tools/install_promtool\.sh"):
        promtool.find()
