"""The settings of Kafka and ArangoDB: what goes together, what is handed on, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.life.environment import load, secrets_of
from streamforge_utils.runtime.life.server_settings import ArangoSettings, KafkaSettings
from streamforge_utils.runtime.life.settings import DataSettings

BROKERS = {"KAFKA_BOOTSTRAP_SERVERS": "a.test:9092, b.test:9093"}
KAFKA_USER = {"KAFKA_USER": "somebody", "KAFKA_PASSWORD": "hush-hush"}


def test_without_any_variable_the_bus_is_not_kafka() -> None:
    settings = load(KafkaSettings, {})
    assert settings.bootstrap_servers == ""
    assert settings.environment() == {}


@pytest.mark.parametrize(
    ("more", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"KAFKA_CA_PATH": "/ca.crt"}, "SSL"),
        ({"CA_PATH": "/ca.crt"}, "SSL"),
        (KAFKA_USER, "SASL_SSL"),
        (KAFKA_USER | {"KAFKA_CA_PATH": "/ca.crt"}, "SASL_SSL"),
        (KAFKA_USER | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "SASL_PLAINTEXT"),
    ],
)
def test_the_protocol_follows_from_user_and_ca(more: dict[str, str], protocol: str) -> None:
    settings = load(KafkaSettings, BROKERS | more)
    assert settings.protocol == protocol
    assert settings.bootstrap_servers == "a.test:9092,b.test:9093"


def test_the_longer_name_of_the_ca_goes_first() -> None:
    both = load(KafkaSettings, BROKERS | {"KAFKA_CA_PATH": "/one", "CA_PATH": "/two"})
    assert (both.ca, both.ca_setting) == (Path("/one"), "KAFKA_CA_PATH")
    short = load(KafkaSettings, BROKERS | {"CA_PATH": "/two"})
    assert (short.ca, short.ca_setting) == (Path("/two"), "CA_PATH")


def test_a_ca_for_something_else_is_no_fault() -> None:
    assert load(KafkaSettings, {"CA_PATH": "/two"}).bootstrap_servers == ""


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (KAFKA_USER, "KAFKA_USER is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_PASSWORD": "hush-hush"}, "KAFKA_PASSWORD is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_CA_PATH": "/ca.crt"}, "KAFKA_CA_PATH is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, "has not the form HOST:PORT"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka:99999"}, "has not the form HOST:PORT"),
        ({"KAFKA_USER_CONSUMER": "x"}, "KAFKA_USER_CONSUMER is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        (BROKERS | {"KAFKA_USER": "somebody"}, "KAFKA_PASSWORD is missing"),
        (BROKERS | {"KAFKA_PASSWORD": "hush-hush"}, "KAFKA_USER is missing"),
        (BROKERS | KAFKA_USER | {"KAFKA_USER_PRODUCER": "x"}, "KAFKA_PASSWORD_PRODUCER is missing"),
        (
            BROKERS | {"KAFKA_USER_PRODUCER": "x", "KAFKA_PASSWORD_PRODUCER": "y"},
            "KAFKA_USER_CONSUMER is missing",
        ),
        (BROKERS | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_USER is missing"),
        (BROKERS | KAFKA_USER | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SSL"}, "SSL has no users"),
        (
            BROKERS | {"KAFKA_CA_PATH": "/ca", "STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
            "PLAINTEXT is not encrypted",
        ),
        (BROKERS | {"STREAMFORGE_KAFKA_SASL_MECHANISM": "GSSAPI"}, "STREAMFORGE_KAFKA_SASL_MECHANISM: 'GSSAPI'"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://a.test:9092"}, "has not the form HOST:PORT"),
        ({"KAFKA_BOOTSTRAP_SERVERS": ","}, "it names no broker"),
    ],
)
def test_what_of_kafka_does_not_go_together_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(KafkaSettings, environ)
    assert says in str(error.value)
    assert "hush" not in str(error.value)


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(
        KafkaSettings,
        BROKERS
        | KAFKA_USER
        | {
            "KAFKA_USER_PRODUCER": "writer",
            "KAFKA_PASSWORD_PRODUCER": "pw-writer",
            "KAFKA_USER_CONSUMER": "reader",
            "KAFKA_PASSWORD_CONSUMER": "pw-reader",
            "CA_PATH": "ca.crt",
            "STREAMFORGE_KAFKA_SASL_MECHANISM": "PLAIN",
        },
    )
    again = load(KafkaSettings, settings.environment())
    assert again.environment() == settings.environment()
    assert settings.environment()["KAFKA_CA_PATH"] == str(tmp_path / "ca.crt"), "launchers know it under this name"
    assert (again.user, again.user_producer, again.user_consumer) == ("somebody", "writer", "reader")
    assert again.ca == tmp_path / "ca.crt"
    assert again.sasl_mechanism == "PLAIN"
    assert sorted(secrets_of(settings)) == ["hush-hush", "pw-reader", "pw-writer"]
    assert "hush" not in repr(settings)


SERVER = {"ARANGO_URL": "https://arango.test:8529/", "ARANGO_DB": "candles"}
ARANGO_USER = {"ARANGO_USER": "somebody", "ARANGO_PASSWORD": "hush-hush"}


def test_without_any_variable_the_store_is_not_arangodb() -> None:
    settings = load(ArangoSettings, {})
    assert settings.url == ""
    assert settings.environment() == {}


def test_the_seeds_variables_are_read_and_handed_on() -> None:
    settings = load(ArangoSettings, SERVER | ARANGO_USER | {"STREAMFORGE_ARANGO_CA_PATH": "/ca.pem"})
    assert (settings.url, settings.database, settings.user) == ("https://arango.test:8529", "candles", "somebody")
    assert settings.ca_path == Path("/ca.pem")
    again = load(ArangoSettings, settings.environment())
    assert again == settings


def test_the_password_is_a_secret() -> None:
    settings = load(ArangoSettings, SERVER | ARANGO_USER)
    assert secrets_of(settings) == ["hush-hush"]
    assert "hush-hush" not in repr(settings)


def test_an_empty_password_is_one() -> None:
    """A server that was just installed may have root without a password."""
    settings = load(ArangoSettings, SERVER | {"ARANGO_USER": "root"})
    assert settings.environment()["ARANGO_USER"] == "root"
    assert load(ArangoSettings, settings.environment()) == settings


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        (ARANGO_USER, "ARANGO_USER is set, but ARANGO_URL is not"),
        ({"STREAMFORGE_ARANGO_CA_PATH": "/ca"}, "STREAMFORGE_ARANGO_CA_PATH is set, but ARANGO_URL is not"),
        ({"ARANGO_URL": "http://a.test:8529"}, "ARANGO_DB is missing"),
        (SERVER | {"ARANGO_DB": "a/b"}, "ARANGO_DB: 'a/b' is not accepted"),
        (SERVER | {"ARANGO_DB": "x" * 129}, "no database can have that name"),
        (SERVER | {"ARANGO_PASSWORD": "hush-hush"}, "ARANGO_USER is missing"),
        (SERVER | {"ARANGO_URL": "http://a.test", "STREAMFORGE_ARANGO_CA_PATH": "/ca"}, "write https://"),
        (SERVER | {"ARANGO_URL": "tcp://a.test:8529"}, "has not the form http://HOST:PORT"),
        (SERVER | {"ARANGO_URL": "http://a.test:99999"}, "has not the form http://HOST:PORT"),
        (SERVER | {"ARANGO_URL": "http://a.test:8529/_db/candles"}, "the database belongs into ARANGO_DB"),
        (SERVER | {"ARANGO_URL": "http://a.test:8529/_admin/aardvark/"}, "leave that out"),
        (SERVER | ARANGO_USER | {"ARANGO_PASSWORD": "hush-hush\n"}, "ARANGO_PASSWORD ends in a line break"),
        (
            SERVER | {"ARANGO_DB": "", "ARANGO_URL": ""} | {"ARANGO_DB": "alone"},
            "ARANGO_DB is set, but ARANGO_URL is not",
        ),
        (SERVER | {"ARANGO_URL": "https://u:hush-hush@a.test"}, "ARANGO_USER and ARANGO_PASSWORD, not into the URL"),
    ],
)
def test_what_of_arangodb_does_not_go_together_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(ArangoSettings, environ)
    assert says in str(error.value)
    assert "hush-hush" not in str(error.value)


@pytest.mark.parametrize(
    ("environ", "uses", "missing"),
    [
        ({}, {"store"}, True),
        (SERVER, {"store"}, True),  # the bus lies there
        (SERVER | {"KAFKA_BOOTSTRAP_SERVERS": "k.test:9092"}, {"store"}, False),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k.test:9092"}, {"store"}, True),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k.test:9092"}, {"output"}, False),
        (SERVER | {"KAFKA_BOOTSTRAP_SERVERS": "k.test:9092"}, None, True),  # the manager's own files
    ],
)
def test_a_folder_is_needed_while_anything_lies_in_it(
    environ: dict[str, str], uses: set[str] | None, missing: bool
) -> None:
    if not missing:
        assert load(DataSettings, environ, uses=uses).data_dir is None
        return
    with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
        load(DataSettings, environ, uses=uses)
