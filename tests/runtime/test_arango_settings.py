"""The settings of ArangoDB: what goes together, what is handed on, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.arango import ArangoSettings
from streamforge_utils.runtime.environment import load, secrets_of
from streamforge_utils.runtime.settings import DataSettings

SERVER = {"ARANGO_URL": "https://arango.test:8529/", "ARANGO_DB": "candles"}
USER = {"ARANGO_USER": "somebody", "ARANGO_PASSWORD": "hush-hush"}


def test_without_any_variable_the_store_is_not_arangodb() -> None:
    settings = load(ArangoSettings, {})
    assert settings.url == ""
    assert settings.environment() == {}


def test_the_seeds_variables_are_read_and_handed_on() -> None:
    settings = load(ArangoSettings, SERVER | USER | {"STREAMFORGE_ARANGO_CA_PATH": "/ca.pem"})
    assert (settings.url, settings.database, settings.user) == ("https://arango.test:8529", "candles", "somebody")
    assert settings.ca_path == Path("/ca.pem")
    again = load(ArangoSettings, settings.environment())
    assert again == settings


def test_the_password_is_a_secret() -> None:
    settings = load(ArangoSettings, SERVER | USER)
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
        (USER, "ARANGO_USER is set, but ARANGO_URL is not"),
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
        (SERVER | USER | {"ARANGO_PASSWORD": "hush-hush\n"}, "ARANGO_PASSWORD ends in a line break"),
        (
            SERVER | {"ARANGO_DB": "", "ARANGO_URL": ""} | {"ARANGO_DB": "alone"},
            "ARANGO_DB is set, but ARANGO_URL is not",
        ),
        (SERVER | {"ARANGO_URL": "https://u:hush-hush@a.test"}, "ARANGO_USER and ARANGO_PASSWORD, not into the URL"),
    ],
)
def test_what_does_not_go_together_is_named(environ: dict[str, str], says: str) -> None:
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
