"""Metrics of real processes have the names, kinds and labels that were read from the code."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests import cleanenv
from tests.cli import support
from tools.monitoring import families

KNOWN = {family.name.removesuffix("_total"): family for family in families.ours()}


@contextmanager
def manager(data: Path, exchange: str) -> Iterator[tuple[str, str]]:
    """queue-manager as a process of its own: its URL, and that of its metrics."""
    environment = cleanenv.environment(
        STREAMFORGE_DATA_DIR=str(data),
        STREAMFORGE_EXCHANGE_URL=exchange,
        STREAMFORGE_PORT="0",
        STREAMFORGE_METRICS_PORT="0",
    )
    command = [sys.executable, "-m", "streamforge.manager"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            for line in started.stderr:
                if found := re.search(r"serves (http://\S+), metrics on port (\d+)", line):
                    yield found[1], f"http://127.0.0.1:{found[2]}/metrics"
                    break
        finally:
            started.terminate()
            started.communicate(timeout=30)


def test_a_manager_that_has_loaded_a_day_reports_families_that_are_known(tmp_path: Path) -> None:
    with support.exchange() as exchange, manager(tmp_path / "data", exchange) as (url, metrics):
        with support.process("load", "BTCUSDT", support.TYPE, "2024-08-01", "--server", url, "--json") as loading:
            assert support.finished(loading, within_s=100).ok().json["status"] == "finished"
        with urllib.request.urlopen(metrics, timeout=20) as answer:
            found = list(text_string_to_metric_families(answer.read().decode()))
    seen = set()
    for family in found:
        name = family.name.removesuffix("_created")
        assert name in KNOWN, name
        known = KNOWN[name]
        seen.add(known.name)
        assert family.name.endswith("_created") or family.type == known.kind, name
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == known.labels, sample
    assert seen > {
        "streamforge_workflow_changes_total",
        "streamforge_events_heard_total",
        "streamforge_exchange_requests_total",
        "streamforge_store_used_bytes",
        "process_resident_memory_bytes",
    }
