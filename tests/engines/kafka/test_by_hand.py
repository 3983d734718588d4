"""What a person does by hand: `make kafka SECURED=1`, `streamforge up`, and `load` with or without a manager."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import cleanenv
from tests.e2e import rig
from tests.engines.kafka.broker import Broker
from tests.engines.kafka.talk import Running
from tests.places import ROOT

LIMIT_S = 600.0
VARIABLES = {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_CA_PATH"}


class Program(Running):
    """A process of this Python whose first line is waited for, and that Ctrl-C ends."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], folder: Path) -> None:
        super().__init__([sys.executable, *arguments], environment, ROOT, folder)

    def first_line(self) -> str:
        return self.line(lambda line: bool(line.strip()), LIMIT_S).strip()

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.ended(LIMIT_S)
        assert "Traceback" not in self.stderr
        return code


def sourced(command: str) -> dict[str, str]:
    """The variables that a shell has after `command`, and no others of Kafka's."""
    told = subprocess.run(["bash", "-c", f"{command}; env -0"], env={}, capture_output=True, text=True, check=True)
    pairs = (entry.partition("=") for entry in told.stdout.split("\0") if entry)
    return {name: value for name, _, value in pairs if name.startswith("KAFKA_")}


@pytest.mark.long
def test_a_broker_for_a_person_is_one_that_up_and_load_work_on(tmp_path: Path) -> None:
    clean = cleanenv.environment()
    broker = Program(["-m", "tests.engines.kafka", "--secured"], clean, tmp_path)
    programs = [broker]
    try:
        command = broker.first_line()
        words = shlex.split(command)
        assert words[0] == "source"
        file = Path(words[1])
        assert file.stat().st_mode & 0o077 == 0
        kafka = sourced(command)
        assert set(kafka) == VARIABLES

        data, free = str(tmp_path / "data"), {"STREAMFORGE_METRICS_PORT": "0"}
        options = ["-m", "streamforge.cli", "up", "--data", data, "--exchange", "test", "--port", "0", "--json"]
        up = Program(options, clean | kafka | free, tmp_path)
        programs.append(up)
        assert json.loads(up.first_line())["data"] == data
        load = ["load", "BTCUSDT", "api_candles_1m", "2024-08-01T00:00Z:2024-08-01T01:00Z", "--data", data, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "streamforge.cli", *load], env=clean, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["status"], found["records_stored"]) == ("finished", 60)
        assert not (tmp_path / "data" / "bus").exists(), "the records went through the broker"
        assert up.interrupt() == 0
        assert broker.interrupt() == 0
        assert not file.exists()
        texts = [broker.stderr, up.stderr, done.stdout, done.stderr, command]
        assert not any(kafka["KAFKA_PASSWORD"] in text for text in texts)
    finally:
        for program in reversed(programs):
            program.close()


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
    return set(broker.admin_client().list_topics(timeout=360).topics)


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
