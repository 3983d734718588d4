"""Settings that cannot work end every service soon, with one sentence that names what to change."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import DATABASE, PASSWORD, ArangoProcess
from tests.doubles.tlsfront import tls_front
from tests.e2e import rig
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
from tests.engines.ports import free_ports
from tests.engines.tls import Authority

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class World:
    """Servers of every kind. tls: the double behind TLS; ca: what signed it. other: speaks HTTP, but no ArangoDB.

    silent: takes connections and says nothing, as a port that is forwarded to nobody. slowness_s: how long this machine
    takes now to end a service that has nothing to do.
    """

    double: ArangoProcess
    old: ArangoProcess
    tls: str
    ca: Path
    other_ca: Path
    other: str
    silent: str
    slowness_s: float


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    authority = Authority.create()
    (folder / "ca.pem").write_text(authority.pem)
    (folder / "other-ca.pem").write_text(Authority.create("another authority").pem)
    (folder / "server.pem").write_text(authority.issue())
    with (
        arangoprocess.running(folder / "double") as double,
        arangoprocess.running(folder / "old", version="3.10.9") as old,
        tls_front(int(double.url.rpartition(":")[2]), folder / "server.pem") as port,
        rig.exchange() as other,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        _, slowness_s = worker({}, folder / "data")
        secured = f"https://127.0.0.1:{port}"
        ca, other_ca = folder / "ca.pem", folder / "other-ca.pem"
        silent = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield World(double, old, secured, ca, other_ca, other.url, silent, slowness_s)


@dataclass(frozen=True)
class Case:
    """Settings that are wrong in one way. code: the exit code of a service; says: what its sentence holds."""

    change: Callable[[World], Environ]
    code: int
    says: tuple[str, ...]


def _port(world: World) -> Environ:
    (port,) = free_ports(1)
    return {"ARANGO_URL": f"http://127.0.0.1:{port}"}


def _tls(world: World, ca: Path | None) -> Environ:
    return {"ARANGO_URL": world.tls} | ({} if ca is None else {"STREAMFORGE_ARANGO_CA_PATH": str(ca)})


CASES = {
    "password": Case(lambda world: {"ARANGO_PASSWORD": "not-the-password"}, CONFIG, ("root", "ARANGO_PASSWORD")),
    "user": Case(lambda world: {"ARANGO_USER": "nobody-knows-me"}, CONFIG, ("nobody-knows-me", "ARANGO_USER")),
    "database": Case(lambda world: {"ARANGO_DB": "absent"}, CONFIG, ("'absent'", "ARANGO_DB")),
    "no database": Case(lambda world: {"ARANGO_DB": ""}, CONFIG, ("ARANGO_DB is missing",)),
    "no URL": Case(lambda world: {"ARANGO_URL": "arango"}, CONFIG, ("ARANGO_URL", "http://HOST:PORT")),
    "a password in the URL": Case(
        lambda world: {"ARANGO_URL": f"http://root:{PASSWORD}@127.0.0.1:1"}, CONFIG, ("ARANGO_URL", "ARANGO_PASSWORD")
    ),
    "a path of the web interface": Case(
        lambda world: {"ARANGO_URL": f"{world.double.url}/_db/streamforge"}, CONFIG, ("ARANGO_URL", "ARANGO_DB")
    ),
    "another path": Case(lambda world: {"ARANGO_URL": f"{world.double.url}/db"}, CONFIG, ("ARANGO_URL", "404")),
    "host": Case(
        lambda world: {"ARANGO_URL": "http://arango.nowhere.invalid:8529"},
        FAILED,
        ("ARANGO_URL", "arango.nowhere.invalid"),
    ),
    "port": Case(_port, FAILED, ("ARANGO_URL", "Connect call failed")),
    "a port that says nothing": Case(
        lambda world: {"ARANGO_URL": world.silent}, FAILED, ("no answer within 5 s", "ARANGO_URL", "ArangoDB's port")
    ),
    "another server": Case(lambda world: {"ARANGO_URL": world.other}, CONFIG, ("no ArangoDB", "ARANGO_URL")),
    "version": Case(lambda world: {"ARANGO_URL": world.old.url}, CONFIG, ("3.10.9", "too old", "3.11", "ARANGO_URL")),
    "no authority": Case(lambda world: _tls(world, None), CONFIG, ("certificate", "STREAMFORGE_ARANGO_CA_PATH")),
    "another authority": Case(
        lambda world: _tls(world, world.other_ca), CONFIG, ("STREAMFORGE_ARANGO_CA_PATH", "other-ca.pem")
    ),
    "absent authority": Case(
        lambda world: _tls(world, Path("/absent.pem")), CONFIG, ("STREAMFORGE_ARANGO_CA_PATH", "cannot be read")
    ),
    "damaged authority": Case(
        lambda world: _tls(world, Path(__file__)), CONFIG, ("STREAMFORGE_ARANGO_CA_PATH", "no PEM certificate")
    ),
    "TLS": Case(
        lambda world: {"ARANGO_URL": world.other.replace("http:", "https:")},
        CONFIG,
        ("does not speak TLS", "ARANGO_URL"),
    ),
    "TLS to one that waits": Case(
        lambda world: {"ARANGO_URL": world.double.url.replace("http:", "https:")}, FAILED, ("speak TLS", "ARANGO_URL")
    ),
    "plaintext": Case(
        lambda world: {"ARANGO_URL": world.tls.replace("https:", "http:")}, FAILED, ("TLS", "https://", "ARANGO_URL")
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = CASES[request.param]
    return found


@pytest.fixture
def environ(case: Case, world: World) -> Environ:
    return {name: value for name, value in (world.double.environment() | case.change(world)).items() if value}


def check(text: str, says: tuple[str, ...], whole: str) -> None:
    """It says all that, and no secret."""
    assert lacking(text, says) == [], text
    for secret in (PASSWORD, "not-the-password"):
        assert secret not in whole


def test_the_manager_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, seconds = run(["-m", "streamforge.manager"], environ, tmp_path / "data")
    assert ended.returncode == case.code, ended.stderr
    assert seconds < LIMIT_S + 10 * world.slowness_s
    check(sentence_of_manager(ended), case.says, ended.stdout + ended.stderr)


def test_a_worker_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, seconds = worker(environ | WORKER, tmp_path / "data")
    assert ended.returncode == case.code, ended.stderr
    assert seconds < LIMIT_S + 10 * world.slowness_s
    check(sentence_of_worker(ended), case.says, ended.stdout + ended.stderr)


def test_load_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    data = tmp_path / "data"
    command = ["load", "BTCUSDT", "api_candles_1h", "2024-08-01", "--exchange", world.other, "--json"]
    ended, seconds = run(["-m", "streamforge.cli", *command, "--data", str(data)], environ, data)
    assert ended.returncode == case.code, ended.stderr + ended.stdout
    assert seconds < LIMIT_S + 10 * world.slowness_s
    check(ended.stderr + ended.stdout, case.says, ended.stdout + ended.stderr)


def test_doctor_says_it(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, seconds = doctor(environ, tmp_path / "data")
    assert ended.returncode == 1, ended.stderr
    assert seconds < LIMIT_S + 10 * world.slowness_s
    assert failing(ended) in (["store"], ["settings", "store"])
    check(checks(ended)["store"]["detail"], case.says, ended.stdout + ended.stderr)


def test_what_is_right_works_behind_tls(world: World, tmp_path: Path) -> None:
    ended, _ = doctor(world.double.environment() | _tls(world, world.ca), tmp_path / "data")
    found = checks(ended)
    assert found["store"]["verdict"] == "works", found["store"]
    assert f"(database {DATABASE}, user root)" in found["store"]["detail"]
    assert "of 100 GiB" in found["room"]["detail"]
    assert ended.returncode == 0, ended.stdout
    names = [one["name"] for one in world.double.ask("GET", f"/_db/{DATABASE}/_api/collection")["result"]]
    assert [name for name in names if "doctor" in name] == []
