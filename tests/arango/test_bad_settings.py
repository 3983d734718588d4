"""Settings that cannot work end every service soon, with one sentence that names what to change."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles import arangoprocess
from tests.doubles.arangoprocess import DATABASE, PASSWORD, ArangoProcess
from tests.e2e import rig
from tests.e2e.misconfiguration import (
    CONFIG,
    FAILED,
    LIMIT,
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
from tests.engines.process import free_ports
from tests.engines.tls import Authority


@dataclass(frozen=True)
class World:
    """Servers of every kind. tls: a double that speaks it. other: the address of one that is no ArangoDB.

    places: what the cases name: addresses without a scheme, and certificates.
    """

    double: ArangoProcess
    tls: ArangoProcess
    other: str
    places: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    authority = Authority.create()
    ca, other_ca, certificate = (folder / f"{name}.pem" for name in ("ca", "other-ca", "server"))
    ca.write_text(authority.pem)
    other_ca.write_text(Authority.create("another authority").pem)
    certificate.write_text(authority.issue())
    with (
        arangoprocess.running(folder / "double") as double,
        arangoprocess.running(folder / "old", version="3.10.9") as old,
        arangoprocess.running(folder / "tls", certificate=certificate, ca=ca) as tls,
        rig.exchange() as other,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        urls = {"double": double.url, "old": old.url, "tls": tls.url, "other": other.url}
        places = {name: url.partition("//")[2] for name, url in urls.items()}
        places |= {"silent": f"127.0.0.1:{silent.getsockname()[1]}", "nobody": f"127.0.0.1:{free_ports(1)[0]}"}
        yield World(double, tls, other.url, places | {"other_ca": str(other_ca), "no_ca": __file__})


Case = tuple[Environ, int, tuple[str, ...]]
"""Settings that are wrong in one way, the exit code of a service, and what its sentence holds."""
URL, CA = "ARANGO_URL", "STREAMFORGE_ARANGO_CA_PATH"
SECURED = {URL: "https://{tls}"}
CASES: dict[str, Case] = {
    "password": ({"ARANGO_PASSWORD": "not-the-password"}, CONFIG, ("root", "ARANGO_PASSWORD")),
    "user": ({"ARANGO_USER": "nobody-knows-me"}, CONFIG, ("nobody-knows-me", "ARANGO_USER")),
    "database": ({"ARANGO_DB": "absent"}, CONFIG, ("'absent'", "ARANGO_DB")),
    "no database": ({"ARANGO_DB": ""}, CONFIG, ("ARANGO_DB is missing",)),
    "no URL": ({URL: "arango"}, CONFIG, (URL, "http://HOST:PORT")),
    "a password in the URL": ({URL: f"http://root:{PASSWORD}@127.0.0.1:1"}, CONFIG, (URL, "ARANGO_PASSWORD")),
    "a path of the web interface": ({URL: "http://{double}/_db/streamforge"}, CONFIG, (URL, "ARANGO_DB")),
    "another path": ({URL: "http://{double}/db"}, CONFIG, (URL, "404")),
    "host": ({URL: "http://arango.nowhere.invalid:8529"}, FAILED, (URL, "arango.nowhere.invalid")),
    "port": ({URL: "http://{nobody}"}, FAILED, (URL, "Connect call failed")),
    "a port that says nothing": ({URL: "http://{silent}"}, FAILED, ("no answer within 5 s", URL, "ArangoDB's port")),
    "another server": ({URL: "http://{other}"}, CONFIG, ("no ArangoDB", URL)),
    "version": ({URL: "http://{old}"}, CONFIG, ("3.10.9", "too old", "3.11", URL)),
    "no authority": (SECURED, CONFIG, ("certificate", CA)),
    "another authority": (SECURED | {CA: "{other_ca}"}, CONFIG, (CA, "other-ca.pem")),
    "absent authority": (SECURED | {CA: "/absent.pem"}, CONFIG, (CA, "cannot be read")),
    "damaged authority": (SECURED | {CA: "{no_ca}"}, CONFIG, (CA, "no PEM certificate")),
    "TLS": ({URL: "https://{other}"}, CONFIG, ("does not speak TLS", URL)),
    "TLS to one that waits": ({URL: "https://{silent}"}, FAILED, ("speak TLS", URL)),
    "plaintext": ({URL: "http://{tls}"}, FAILED, ("TLS", "https://", URL)),
}


each_case = pytest.mark.parametrize("name", sorted(CASES))
"""By the service that starts soonest; all of them make their store in one place."""
each_kind = pytest.mark.parametrize("name", ["a port that says nothing", "no URL", "password"])
"""What is seen in the settings, what the server refuses, and what waiting may help."""


@pytest.fixture
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture
def environ(case: Case, world: World) -> Environ:
    changed = {name: text.format(**world.places) for name, text in case[0].items()}
    return {name: value for name, value in (world.double.environment() | changed).items() if value}


def check(text: str, says: tuple[str, ...], whole: str) -> None:
    """It says all that, and no secret."""
    assert lacking(text, says) == [], text
    for secret in (PASSWORD, "not-the-password"):
        assert secret not in whole


@each_kind
def test_the_manager_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, lasted = run(["-m", "streamforge.manager"], environ, tmp_path / "data")
    assert ended.returncode == case[1], ended.stderr
    assert lasted <= LIMIT
    check(sentence_of_manager(ended), case[2], ended.stdout + ended.stderr)


@each_case
def test_a_worker_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, lasted = worker(environ | WORKER, tmp_path / "data")
    assert ended.returncode == case[1], ended.stderr
    assert lasted <= LIMIT
    check(sentence_of_worker(ended), case[2], ended.stdout + ended.stderr)


@each_kind
def test_load_ends(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    data = tmp_path / "data"
    command = ["load", "BTCUSDT", "api_candles_1h", "2024-08-01", "--exchange", world.other, "--json"]
    ended, lasted = run(["-m", "streamforge.cli", *command, "--data", str(data)], environ, data)
    assert ended.returncode == case[1], ended.stderr + ended.stdout
    assert lasted <= LIMIT
    check(ended.stderr + ended.stdout, case[2], ended.stdout + ended.stderr)


@each_kind
def test_doctor_says_it(case: Case, environ: Environ, tmp_path: Path, world: World) -> None:
    ended, lasted = doctor(environ, tmp_path / "data")
    assert ended.returncode == 1, ended.stderr
    assert lasted <= LIMIT
    assert failing(ended) in (["store"], ["settings", "store"])
    check(checks(ended)["store"]["detail"], case[2], ended.stdout + ended.stderr)


def test_what_is_right_works_behind_tls(world: World, tmp_path: Path) -> None:
    ended, _ = doctor(world.tls.environment(), tmp_path / "data")
    found = checks(ended)
    assert found["store"]["verdict"] == "works", found["store"]
    assert f"(database {DATABASE}, user root)" in found["store"]["detail"]
    assert "of 100 GiB" in found["room"]["detail"]
    assert ended.returncode == 0, ended.stdout
    names = [one["name"] for one in world.tls.ask("GET", f"/_db/{DATABASE}/_api/collection")["result"]]
    assert [name for name in names if "doctor" in name] == []
