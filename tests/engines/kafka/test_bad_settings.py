"""Settings that cannot work end every service soon, with one sentence that names what to change."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.misconfiguration import (
    CONFIG,
    FAILED,
    LIMIT,
    WORKER,
    Ended,
    Environ,
    checks,
    doctor,
    failing,
    lacking,
    run,
    sentence_of_manager,
    sentence_of_worker,
    worker,
)
from tests.engines.kafka.broker import Broker
from tests.engines.process import free_ports
from tests.engines.tls import Authority
from tests.places import ROOT


@dataclass(frozen=True)
class Case:
    """Settings that are wrong in one way. change: variables, None to leave one out; may name what `environ` fills in.

    code: the exit code of a service; says: what its sentence holds.
    """

    change: Mapping[str, str | None]
    code: int
    says: tuple[str, ...]


CASES = {
    "password": Case({"KAFKA_PASSWORD": "not-the-password"}, CONFIG, ("KAFKA_PASSWORD",)),
    "user": Case({"KAFKA_USER": "nobody-knows-me"}, CONFIG, ("nobody-knows-me", "KAFKA_USER")),
    "authority": Case(
        {"KAFKA_CA_PATH": "{folder}/other-ca.crt"}, CONFIG, ("is not signed by", "KAFKA_CA_PATH", "other-ca.crt")
    ),
    "no authority": Case(
        {"KAFKA_CA_PATH": "{folder}/absent.crt"}, CONFIG, ("KAFKA_CA_PATH", "absent.crt", "cannot be read")
    ),
    "host": Case(
        {"KAFKA_BOOTSTRAP_SERVERS": "kafka.nowhere.invalid:9093"},
        FAILED,
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka.nowhere.invalid"),
    ),
    "port": Case(
        {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:{port}"}, FAILED, ("KAFKA_BOOTSTRAP_SERVERS", "Connection refused")
    ),
    "plaintext": Case(
        dict.fromkeys(("KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_CA_PATH")), FAILED, ("plaintext", "KAFKA_CA_PATH")
    ),
    "TLS": Case({"KAFKA_BOOTSTRAP_SERVERS": "{plain}"}, FAILED, ("does not speak TLS", "KAFKA_BOOTSTRAP_SERVERS")),
    "no ACL": Case(
        {"KAFKA_USER": "{stranger}", "KAFKA_PASSWORD": "{password}"}, CONFIG, ("stranger-", "no ACL to", "KAFKA_USER")
    ),
}
TYPICAL = ("password", "port", "no ACL")
"""One of each kind: refused at the login, not reached, refused later. `doctor` is tried with every case."""

PROGRAMS = {
    "manager": ["-m", "streamforge.manager"],
    "worker": [],
    "load": ["-m", "streamforge.cli", "load", "BTCUSDT", "api_candles_1m", "2024-08-01", "--exchange", "test"],
    "up": ["-m", "streamforge.cli", "up", "--exchange", "test"],
    "kafka apply": ["-m", "streamforge.cli", "kafka", "apply", str(ROOT / "cred-kafka-yaml"), "--yes"],
}
"""A missing topic is a mistake for the worker alone: the others make it."""


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = CASES[request.param]
    return found


@pytest.fixture
def environ(case: Case, secured_broker: Broker, plain_broker: Broker, tmp_path: Path) -> Environ:
    (tmp_path / "other-ca.crt").write_text(Authority.create("another authority").pem)
    stranger = secured_broker.add_user(f"stranger-{uuid.uuid4().hex[:6]}")
    known = {
        "folder": str(tmp_path),
        "port": str(free_ports(1)[0]),
        "plain": plain_broker.bootstrap,
        "stranger": stranger.name,
        "password": stranger.password,
    }
    changed = {name: value and value.format(**known) for name, value in case.change.items()}
    return {name: value for name, value in {**secured_broker.environment(), **changed}.items() if value is not None}


def check_no_secret(text: str, environ: Mapping[str, str], broker: Broker) -> None:
    assert broker.admin is not None
    for secret in (broker.admin.password, environ.get("KAFKA_PASSWORD", broker.admin.password)):
        assert secret not in text


def ended(program: str, environ: Environ, data: Path) -> tuple[Ended, int]:
    """A program that was run to its end, with the laps that took."""
    if program == "worker":
        return worker(environ | WORKER, data)
    options = {"manager": [], "kafka apply": ["--secrets", str(data)]}.get(program, ["--data", str(data)])
    return run([*PROGRAMS[program], *options], environ, data)


def sentence(program: str, ended: Ended) -> str:
    """The one in which it says why."""
    if program == "worker":
        return sentence_of_worker(ended)
    if program == "manager":
        return sentence_of_manager(ended)
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=() if name in TYPICAL else pytest.mark.long) for name in sorted(CASES)],
    indirect=True,
)
def test_a_program_ends_and_says_what_to_change(
    case: Case, environ: Environ, program: str, secured_broker: Broker, tmp_path: Path
) -> None:
    done, lasted = ended(program, environ, tmp_path / "data")
    assert done.returncode == case.code, done.stderr
    assert lasted <= LIMIT
    assert lacking(sentence(program, done), case.says) == [], done.stderr
    check_no_secret(done.stdout + done.stderr, environ, secured_broker)


def test_doctor_says_it_of_the_bus_alone(case: Case, environ: Environ, secured_broker: Broker, tmp_path: Path) -> None:
    done, lasted = doctor(environ, tmp_path / "data")
    assert done.returncode == 1, done.stderr
    assert lasted <= LIMIT
    assert failing(done) == ["bus"]
    assert lacking(checks(done)["bus"]["detail"], case.says) == []
    told = done.stderr.splitlines()
    assert [line for line in told if not line.startswith("still checking: ")] == [], "only what it waits for"
    check_no_secret(done.stdout + done.stderr, environ, secured_broker)


def test_a_topic_that_is_missing_is_named(secured_broker: Broker, tmp_path: Path) -> None:
    changed = WORKER | {"KAFKA_TOPIC": "nobody-made-this-topic"}
    done, lasted = worker(secured_broker.environment() | changed, tmp_path / "data")
    assert done.returncode == CONFIG, done.stderr
    assert lasted <= LIMIT
    assert lacking(sentence_of_worker(done), ("KAFKA_TOPIC", "nobody-made-this-topic")) == []
