"""The dashboards ask for what there is, look as Grafana wants them, and what is wrong with one is seen."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable

import pytest

from tests.manifests.rendering import rendered
from tests.manifests.rules import of_kind
from tools.monitoring import checking, families, files, grafana, queries
from tools.monitoring.dashboards import DASHBOARDS, KAFKA, PLATFORM

KNOWN = families.known()


def test_the_checks_of_make_check_find_nothing() -> None:
    assert list(checking.problems()) == []


def test_there_is_one_for_the_platform_a_workflow_workers_kafkas_lag_and_the_store() -> None:
    assert [one.uid.removeprefix("streamforge-") for one in DASHBOARDS] == [
        "platform", "workflow", "worker", "kafka-lag", "store",
    ]  # fmt: skip


@pytest.mark.parametrize("overlay", ["production", "production-gateway"])
def test_grafanas_sidecar_finds_each_as_a_config_map(overlay: str) -> None:
    maps = [
        one
        for one in of_kind(rendered(overlay), "ConfigMap")
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    shown = {name: json.loads(text) for one in maps for name, text in one["data"].items()}
    assert len(maps) == len(shown) == len(DASHBOARDS), "a ConfigMap each, so that none nears the limit of its size"
    assert {one["uid"] for one in shown.values()} == {one.uid for one in DASHBOARDS}
    assert {one["metadata"]["annotations"]["grafana_folder"] for one in maps} == {"StreamForge"}
    # kubectl apply keeps the object in an annotation, which may have 256 KiB.
    assert all(len(json.dumps(one)) < 128 * 1024 for one in maps)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("rate(streamforge_record_total[5m])", "nobody reports streamforge_record_total"),
        ("sum by (symbol) (streamforge_records_total)", "streamforge_records_total has no label symbol"),
        ('streamforge_records_total{simbol="BTCUSDT"}', "streamforge_records_total has no label simbol"),
        ("streamforge_store_seconds", "nobody reports streamforge_store_seconds"),
        ("up / on (shelf) up", "up has no label shelf"),
        ("sum by (action) rate(x[5m])", "it does not parse"),
        ("1 + 1", "it asks for no series"),
        ("rate({target='x'}[5m])", "without a name"),
    ],
)
def test_an_expression_that_is_wrong_is_found(expression: str, words: str) -> None:
    assert any(words in fault for fault in queries.faults(expression, KNOWN))


def test_a_metric_that_the_code_reports_is_known_with_its_labels() -> None:
    assert KNOWN["streamforge_workflow_changes_total"] >= {"status", "target"}
    assert KNOWN["streamforge_store_seconds_bucket"] >= {"le", "target"}
    assert KNOWN["dummy_events_total"] >= {"event"}
    assert "streamforge_workflows_failed_total" not in KNOWN


def test_the_families_in_the_code_are_those_that_processes_report() -> None:
    # Of a worker and its metrics themselves, not of the code that was read.
    from streamforge_utils.runtime.telemetry.metrics import Metrics

    metrics = Metrics("any")
    metrics.count("dead_letters", 2)
    metrics.observe("store_seconds", 0.2)
    metrics.gauge("lag_records", 3)
    text = metrics.text().decode()
    names = {found for found in re.findall(r"^([a-z_]+)[{ ]", text, re.MULTILINE) if not found.endswith("_created")}
    assert names - KNOWN.keys() == set()
    assert {"streamforge_dead_letters_total", "streamforge_store_seconds_bucket", "streamforge_lag_records"} <= names


def _on_top(found: grafana.Json) -> None:
    found["panels"][2]["gridPos"] = found["panels"][1]["gridPos"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(uid="Stream Forge"), "uid"),
        (lambda found: found.update(id=7), "id: null"),
        (lambda found: found.update(schemaVersion="39"), "schemaVersion"),
        (_on_top, "it lies on"),
        (lambda found: found["panels"][1]["gridPos"].update(w=25), "columns"),
        (lambda found: found["panels"][1].update(id=found["panels"][2]["id"]), "one id"),
        (lambda found: found["panels"][1].update(targets=[]), "asks for nothing"),
        (lambda found: found["panels"][1]["targets"][0]["datasource"].update(uid="P1"), "chosen Prometheus"),
        (lambda found: found["panels"][1]["targets"][0].update(expr='up{pod="$shelf"}'), "no variable shelf"),
        (lambda found: found["templating"].update(list=[]), "DS_PROMETHEUS"),
    ],
)
def test_what_grafana_would_not_show_is_found(change: Callable[[grafana.Json], None], words: str) -> None:
    found = copy.deepcopy(grafana.rendered(PLATFORM))
    assert list(checking.dashboard_faults(found)) == []
    change(found)
    assert any(words in fault for fault in checking.dashboard_faults(found))


def test_a_file_that_was_changed_by_hand_or_has_no_dashboard_any_more_is_stale() -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        files.write(root)
        assert files.stale(root) == []
        (root / files.FOLDER / "old.json").write_text("{}")
        changed = root / files.FOLDER / "kafka-lag.json"
        changed.write_text(changed.read_text().replace(KAFKA.title, "Kafka"))
        assert [path.name for path in files.stale(root)] == ["kafka-lag.json", "old.json"]
        files.write(root)
        assert files.stale(root) == []


def test_every_metric_of_ours_that_an_alert_asks_for_is_drawn_somewhere_too() -> None:
    from tools.monitoring import alerts

    drawn = "\n".join(text for one in DASHBOARDS for _, text in grafana.expressions(grafana.rendered(one)))
    for rule in alerts.alerts(alerts.groups()):
        for name in re.findall(r"\bstreamforge_\w+", rule["expr"]):
            assert name in drawn, f"{rule['alert']}: {name}"
