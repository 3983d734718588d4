"""Log lines of real processes have the fields that docs/how-to/monitoring.md names for who ships them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.schemas import ROOT

PAGE = (ROOT / "docs/how-to/monitoring.md").read_text("utf-8")
FIELDS = set(
    re.findall(r"^\| `(\w+)` \|", PAGE.partition("<!-- log fields -->")[2].partition("<!-- /log")[0], re.MULTILINE)
)
EVERYWHERE = {"timestamp", "level", "event"}
OF_WORKERS = {"queue_id", "target", "attempt"}
QUEUE_ID = "wf-btcusdt-api_candles_1m-20240801-abc123"


def lines_of(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    """What a worker writes with JSON as its format, line by line, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "streamforge.workers", "dummy-service", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "STREAMFORGE_LOG_FORMAT": "json",
            "STREAMFORGE_DATA_DIR": str(tmp_path / "data"),
            "STREAMFORGE_METRICS_PORT": "0",
            "QUEUE_ID": QUEUE_ID,
            "TELEMETRY_PRODUCER_ID": "dummy-service__abc123",
            "STREAMFORGE_ATTEMPT": "2",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_of_a_worker_is_json_with_the_fields_and_the_time_that_the_page_names(tmp_path: Path) -> None:
    code, lines = lines_of(tmp_path, "--noop")
    assert code == 0
    assert {"started", "finished"} <= {line["event"] for line in lines}
    for line in lines:
        assert line.keys() >= EVERYWHERE | OF_WORKERS
        assert (line["queue_id"], line["target"], line["attempt"]) == (QUEUE_ID, "dummy-service", 2)
        assert line["level"] in ("debug", "info", "warning", "error")
    (example,) = re.findall(r"```yaml\n(parsers:.*?)```", PAGE, re.DOTALL)
    parser = yaml.safe_load(example)["parsers"][0]
    assert (parser["format"], parser["time_key"]) == ("json", "timestamp")
    # %L is Fluent Bit's fraction of a second.
    time_format = parser["time_format"].replace("%L", "%f")
    said = datetime.strptime(lines[0]["timestamp"], time_format).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - said) < timedelta(minutes=10)


def test_a_failure_says_what_failed_in_one_field(tmp_path: Path) -> None:
    code, lines = lines_of(tmp_path, "--noop", KAFKA_BOOTSTRAP_SERVERS="nowhere")
    assert code == 2
    (line,) = [one for one in lines if one["level"] == "error"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in line["error"]


def test_a_traceback_is_one_line_too(tmp_path: Path) -> None:
    code, lines = lines_of(tmp_path, "--fail-after", "0.01")
    assert code == 1
    found = [line for line in lines if line["level"] == "error"]
    assert found
    for line in found:
        assert line.keys() & {"error", "exception"}


def test_the_page_names_no_field_that_is_not_written(tmp_path: Path) -> None:
    from io import StringIO

    from streamforge_utils.runtime.telemetry.logs import make_log

    assert FIELDS > EVERYWHERE | OF_WORKERS
    stream = StringIO()
    log = make_log(form="json", stream=stream, queue_id=QUEUE_ID, target="dummy-service", attempt=1)
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        log.error("the worker failed", exc_info=error, error=str(error))
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found.keys() == FIELDS
    assert "\n" in found["exception"]
    assert "Traceback" in found["exception"]
