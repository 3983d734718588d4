"""The command that loads, without a manager of its own, on the plain and on the secured broker."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import cleanenv
from tests.e2e import rig
from tests.engines.kafka.broker import Broker

LIMIT_S = 60.0

pytestmark = pytest.mark.timeout(180)


PLAIN = pytest.param("plain_broker", marks=pytest.mark.long)
"""Of a broker without security the other tests of this folder use enough to see that it works."""


@pytest.fixture(params=[PLAIN, "secured_broker"])
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange() as found:
        yield found


def talk() -> dict[str, str]:
    """Topics of commands and events of one's own: brokers are shared."""
    code = uuid.uuid4().hex[:8]
    return {"QUEUE_CONTROL_TOPIC": f"control-{code}", "QUEUE_EVENTS_TOPIC": f"events-{code}"}


def topics(broker: Broker) -> set[str]:
    return set(broker.admin_client().list_topics(timeout=10).topics)


def test_the_command_loads_and_proves_a_day(broker: Broker, exchange: rig.Exchange, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "streamforge.cli", "load", "BTCUSDT", "api_candles_1m", "2024-08-01"),
            *("--data", str(data), "--exchange", exchange.url, "--json"),
        ],
        env=cleanenv.environment() | broker.environment() | talk(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["records_stored"], found["records_expected"]) == ("finished", 1440, 1440)
    assert f"{found['queue_id']}-data" in topics(broker), "the records went through the broker"
    assert not (data / "bus").exists()
    if broker.admin is not None:
        texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(broker.admin.password.encode() in text for text in texts)
        assert broker.admin.password not in done.stdout + done.stderr
