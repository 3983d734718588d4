"""The settings of Kafka: what goes together, what follows, and what is handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.environment import load, secrets_of
from streamforge_utils.runtime.kafka_settings import KafkaSettings

BROKERS = {"KAFKA_BOOTSTRAP_SERVERS": "a.test:9092, b.test:9093"}
USER = {"KAFKA_USER": "somebody", "KAFKA_PASSWORD": "hush-hush"}


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
        (USER, "SASL_SSL"),
        (USER | {"KAFKA_CA_PATH": "/ca.crt"}, "SASL_SSL"),
        (USER | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "SASL_PLAINTEXT"),
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
        (USER, "KAFKA_USER is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_PASSWORD": "hush-hush"}, "KAFKA_PASSWORD is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_CA_PATH": "/ca.crt"}, "KAFKA_CA_PATH is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, "has not the form HOST:PORT"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka:99999"}, "has not the form HOST:PORT"),
        ({"KAFKA_USER_CONSUMER": "x"}, "KAFKA_USER_CONSUMER is set, but KAFKA_BOOTSTRAP_SERVERS is not"),
        (BROKERS | {"KAFKA_USER": "somebody"}, "KAFKA_PASSWORD is missing"),
        (BROKERS | {"KAFKA_PASSWORD": "hush-hush"}, "KAFKA_USER is missing"),
        (BROKERS | USER | {"KAFKA_USER_PRODUCER": "x"}, "KAFKA_PASSWORD_PRODUCER is missing"),
        (
            BROKERS | {"KAFKA_USER_PRODUCER": "x", "KAFKA_PASSWORD_PRODUCER": "y"},
            "KAFKA_USER_CONSUMER is missing",
        ),
        (BROKERS | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KAFKA_USER is missing"),
        (BROKERS | USER | {"STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "SSL"}, "SSL has no users"),
        (
            BROKERS | {"KAFKA_CA_PATH": "/ca", "STREAMFORGE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
            "PLAINTEXT is not encrypted",
        ),
        (BROKERS | {"STREAMFORGE_KAFKA_SASL_MECHANISM": "GSSAPI"}, "STREAMFORGE_KAFKA_SASL_MECHANISM: 'GSSAPI'"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://a.test:9092"}, "has not the form HOST:PORT"),
        ({"KAFKA_BOOTSTRAP_SERVERS": ","}, "it names no broker"),
    ],
)
def test_what_does_not_go_together_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(KafkaSettings, environ)
    assert says in str(error.value)
    assert "hush" not in str(error.value)


def test_another_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(
        KafkaSettings,
        BROKERS
        | USER
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
