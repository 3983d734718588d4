"""The members of a basket are scraped as one."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from streamforge_utils.runtime.telemetry.merged_metrics import MergedMetrics
from streamforge_utils.runtime.telemetry.metrics import Metrics


def samples(merged: MergedMetrics) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("le", sample.labels.get("outcome", ""))): sample.value
        for family in text_string_to_metric_families(merged.text().decode())
        for sample in family.samples
    }


def test_counts_are_summed_and_the_largest_gauge_counts_while_its_worker_goes_on() -> None:
    merged, parts = MergedMetrics(), [Metrics("loader") for _ in range(3)]
    for number, part in enumerate(parts, start=1):
        merged.add(part)
        part.count("records", number)
        part.count("stream_connects_total", outcome="ok")
        part.gauge("lag_records", 10 * number)
        part.observe("store_seconds", 0.2)
    parts[2].gauge_by("heartbeat_age_seconds", lambda: 99.0)
    found = samples(merged)
    assert found["streamforge_records_total", ""] == 6
    assert found["streamforge_stream_connects_total", "ok"] == 3
    assert found["streamforge_lag_records", ""] == 30
    assert (found["streamforge_store_seconds_count", ""], found["streamforge_store_seconds_bucket", "0.25"]) == (3, 3)
    assert found["streamforge_heartbeat_age_seconds", ""] == 99
    merged.end(parts[2])
    later = samples(merged)
    assert later["streamforge_records_total", ""] == 6
    assert later["streamforge_lag_records", ""] == 20
    assert ("streamforge_heartbeat_age_seconds", "") not in later
    assert later["process_start_time_seconds", ""] == found["process_start_time_seconds", ""]
