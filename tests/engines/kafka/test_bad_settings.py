"""Settings that cannot work end every service soon, with one sentence that names what to change."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.misconfiguration import (
    CONFIG,
    FAILED,
    LIMIT_S,
    WORKER,
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
from tests.engines.ports import free_ports
from tests.engines.tls import Authority
from tests.places import ROOT

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Case:
    """Settings that are wrong in one way. code: the exit code of a service; says: what its sentence holds."""

    change: Callable[[Environ, Broker, Broker, Path], Environ]
    code: int
    says: tuple[str, ...]


def _password(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return environ | {"KAFKA_PASSWORD": "not-the-password"}


def _user(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return environ | {"KAFKA_USER": "nobody-knows-me"}


def _authority(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    path = folder / "other-ca.crt"
    path.write_text(Authority.create("another authority").pem)
    return environ | {"KAFKA_CA_PATH": str(path)}


def _no_authority(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return environ | {"KAFKA_CA_PATH": str(folder / "absent.crt")}


def _host(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return environ | {"KAFKA_BOOTSTRAP_SERVERS": "kafka.nowhere.invalid:9093"}


def _port(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    (port,) = free_ports(1)
    return environ | {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}


def _plaintext(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return {"KAFKA_BOOTSTRAP_SERVERS": secured.bootstrap}


def _tls(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    return environ | {"KAFKA_BOOTSTRAP_SERVERS": plain.bootstrap}


def _no_acl(environ: Environ, secured: Broker, plain: Broker, folder: Path) -> Environ:
    user = secured.add_user(f"stranger-{uuid.uuid4().hex[:6]}")
    return environ | {"KAFKA_USER": user.name, "KAFKA_PASSWORD": user.password}


CASES = {
    "password": Case(_password, CONFIG, ("KAFKA_PASSWORD",)),
    "user": Case(_user, CONFIG, ("nobody-knows-me", "KAFKA_USER")),
    "authority": Case(_authority, CONFIG, ("is not signed by", "KAFKA_CA_PATH", "other-ca.crt")),
    "no authority": Case(_no_authority, CONFIG, ("KAFKA_CA_PATH", "absent.crt", "cannot be read")),
    "host": Case(_host, FAILED, ("KAFKA_BOOTSTRAP_SERVERS", "kafka.nowhere.invalid")),
    "port": Case(_port, FAILED, ("KAFKA_BOOTSTRAP_SERVERS", "Connection refused")),
    "plaintext": Case(_plaintext, FAILED, ("plaintext", "KAFKA_CA_PATH")),
    "TLS": Case(_tls, FAILED, ("does not speak TLS", "KAFKA_BOOTSTRAP_SERVERS")),
    "no ACL": Case(_no_acl, CONFIG, ("stranger-", "no ACL to", "KAFKA_USER")),
}


TYPICAL = ("password", "port", "no ACL")
"""One of each kind: refused at the login, not reached, refused later. `doctor` is tried with every case."""

typically = pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=() if name in TYPICAL else pytest.mark.long) for name in sorted(CASES)],
    indirect=True,
)


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = CASES[request.param]
    return found


@pytest.fixture
def environ(case: Case, secured_broker: Broker, plain_broker: Broker, tmp_path: Path) -> Environ:
    return case.change(secured_broker.environment(), secured_broker, plain_broker, tmp_path)


def limit_s() -> float:
    """15 s of a machine that has a core for it; where others use it too, as much longer as they make it wait."""
    return LIMIT_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def check_no_secret(text: str, environ: Mapping[str, str], broker: Broker) -> None:
    assert broker.admin is not None
    for secret in (broker.admin.password, environ.get("KAFKA_PASSWORD", broker.admin.password)):
        assert secret not in text


@typically
def test_the_manager_ends(case: Case, environ: Environ, secured_broker: Broker, tmp_path: Path) -> None:
    ended, seconds = run(["-m", "streamforge.manager"], environ, tmp_path / "data")
    assert ended.returncode == case.code, ended.stderr
    assert seconds < limit_s()
    line = sentence_of_manager(ended)
    assert lacking(line, case.says) == [], line
    check_no_secret(ended.stdout + ended.stderr, environ, secured_broker)


@typically
def test_a_worker_ends(case: Case, environ: Environ, secured_broker: Broker, tmp_path: Path) -> None:
    ended, seconds = worker(environ | WORKER, tmp_path / "data")
    assert ended.returncode == case.code, ended.stderr
    assert seconds < limit_s()
    last = sentence_of_worker(ended)
    assert lacking(last, case.says) == [], last
    check_no_secret(ended.stdout + ended.stderr, environ, secured_broker)


def test_doctor_says_it_of_the_bus_alone(case: Case, environ: Environ, secured_broker: Broker, tmp_path: Path) -> None:
    ended, seconds = doctor(environ, tmp_path / "data")
    assert ended.returncode == 1, ended.stderr
    assert seconds < limit_s()
    assert failing(ended) == ["bus"]
    detail = checks(ended)["bus"]["detail"]
    assert lacking(detail, case.says) == [], detail
    told = ended.stderr.splitlines()
    assert [line for line in told if not line.startswith("still checking: ")] == [], "only what it waits for"
    check_no_secret(ended.stdout + ended.stderr, environ, secured_broker)


COMMANDS = {
    "load": ["load", "BTCUSDT", "api_candles_1m", "2024-08-01", "--exchange", "test"],
    "up": ["up", "--exchange", "test"],
    "kafka apply": ["kafka", "apply", str(ROOT / "cred-kafka-yaml"), "--yes"],
}
"""Of `streamforge`, those that use the brokers themselves. A missing topic is no mistake for them: they make it."""


@typically
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_ends(case: Case, environ: Environ, command: str, secured_broker: Broker, tmp_path: Path) -> None:
    places = ["--secrets" if command == "kafka apply" else "--data", str(tmp_path / "data")]
    ended, seconds = run(["-m", "streamforge.cli", *COMMANDS[command], *places], environ, tmp_path / "data")
    assert ended.returncode == case.code, ended.stderr
    assert seconds < limit_s()
    said = ended.stderr.splitlines()[-1]
    lacking = command == "kafka apply" and case.change is _no_acl
    for word in ("stranger-", "lacks ACLs", "KAFKA_USER") if lacking else case.says:
        assert word in said, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    check_no_secret(ended.stderr, environ, secured_broker)


def test_a_topic_that_is_missing_is_named(secured_broker: Broker, tmp_path: Path) -> None:
    changed = WORKER | {"KAFKA_TOPIC": "nobody-made-this-topic"}
    ended, seconds = worker(secured_broker.environment() | changed, tmp_path / "data")
    assert ended.returncode == CONFIG, ended.stderr
    assert seconds < limit_s()
    assert lacking(sentence_of_worker(ended), ("KAFKA_TOPIC", "nobody-made-this-topic")) == []
