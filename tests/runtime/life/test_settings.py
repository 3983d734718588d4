"""The environment of a worker: read once, typed, every fault named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from streamforge.manager.manager_settings import ManagerSettings, load_manager
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.model.topic_reading import Upstream
from streamforge_utils.runtime.life.environment import load, misspelt, secrets_of, variable, variables
from streamforge_utils.runtime.life.settings import BINANCE_DATA_URL, WorkerSettings
from streamforge_utils.runtime.life.worker_definition import Role, Use
from streamforge_utils.runtime.life.worker_process import load_worker
from tests.runtime.rig import NoParameters, worker
from tools.reference.settings_page import environment_table, settings_page

LEAST = {
    "QUEUE_ID": "wf-btcusdt-api_candles_1m-20240801-abc123",
    "SYMBOL": "BTCUSDT",
    "TYPE": "api_candles_1m",
    "TIME_RANGE": "2024-08",
    "KAFKA_TOPIC": "some-data",
    "STREAMFORGE_DATA_DIR": "/data",
}


async def nothing(ctx: object) -> None: ...


LOADER = worker(nothing, Use.OUTPUT, Use.EXCHANGE, target="loader")
SINK = worker(nothing, Use.INPUT, Use.STORE, role=Role.SINK, target="sink")


def test_the_least_environment_gives_the_defaults() -> None:
    settings, parameters = load_worker(LOADER, LEAST)
    assert parameters == NoParameters()
    assert settings.symbol == "BTCUSDT"
    assert settings.time_range == parse_time_range("2024-08")
    assert settings.telemetry_id == "loader__abc123"
    assert (settings.control_topic, settings.events_topic) == ("queue-control", "queue-events")
    assert settings.data.data_dir == Path("/data")
    assert settings.exchange.urls == (BINANCE_DATA_URL,)
    assert (settings.attempt, settings.ranges, settings.downstream) == (1, (), ())
    assert (settings.heartbeat_seconds, settings.stop_grace_seconds) == (2.0, 5.0)
    assert (settings.metrics_port, settings.metrics_host, settings.debug) == (None, "127.0.0.1", False)


def test_every_variable_is_read_with_its_type() -> None:
    settings, _ = load_worker(
        LOADER,
        LEAST
        | {
            "STREAMFORGE_ATTEMPT": "3",
            "STREAMFORGE_LAUNCHED_AT": "1722470400.25",
            "STREAMFORGE_EXCHANGE_URL": "https://a.test, https://b.test",
            "STREAMFORGE_WEIGHT_PER_MINUTE": "77",
            "STREAMFORGE_DOWNSTREAM": "g1,g2",
            "STREAMFORGE_RANGES": "2024-08-01:2024-08-02,2024-08-05T12:30Z:2024-08-06",
            "STREAMFORGE_METRICS_PORT": "0",
            "STREAMFORGE_LOG_FORMAT": "json",
            "STREAMFORGE_DEBUG": "True",
            "INTERVAL": "1m",
            "BINANCE_API_KEY": "hush-hush",
        },
    )
    assert (settings.attempt, settings.launched_at, settings.metrics_port, settings.debug) == (
        3,
        1722470400.25,
        0,
        True,
    )
    assert settings.exchange.urls == ("https://a.test", "https://b.test")
    assert settings.exchange.weight_per_minute == 77
    assert settings.downstream == ("g1", "g2")
    assert settings.ranges == (
        parse_time_range("2024-08-01"),
        parse_time_range("2024-08-05T12:30Z:2024-08-06"),
    )
    assert settings.exchange.api_key == Secret("hush-hush")
    assert secrets_of(settings) == ["hush-hush"]
    assert "hush" not in repr(settings)


def test_a_sink_needs_its_collection_and_its_upstream() -> None:
    with pytest.raises(ConfigError) as error:
        load_worker(SINK, LEAST)
    assert "COLLECTION_NAME is missing" in str(error.value)
    assert "STREAMFORGE_UPSTREAM is missing" in str(error.value)
    settings, _ = load_worker(SINK, LEAST | {"COLLECTION_NAME": "c", "STREAMFORGE_UPSTREAM": "a__x:2,b__x"})
    assert settings.upstream == (Upstream("a__x", 2), Upstream("b__x", 1))


def test_files_need_a_folder_where_anything_is_kept_in_files() -> None:
    on_kafka = {name: value for name, value in LEAST.items() if name != "STREAMFORGE_DATA_DIR"}
    on_kafka["KAFKA_BOOTSTRAP_SERVERS"] = "kafka.test:9092"
    settings, _ = load_worker(LOADER, on_kafka)
    assert settings.data.data_dir is None
    with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
        _ = settings.data.folder
    with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
        load_worker(SINK, on_kafka | {"COLLECTION_NAME": "c", "STREAMFORGE_UPSTREAM": "a__x:1"})
    with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
        load_manager(on_kafka)
    with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
        load_worker(LOADER, on_kafka | {"KAFKA_BOOTSTRAP_SERVERS": ""})


def test_one_error_names_all_that_is_missing() -> None:
    with pytest.raises(ConfigError) as error:
        load_worker(LOADER, {})
    for name in LEAST:
        assert f"{name} is missing" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SYMBOL", "BTC USDT", "characters that no symbol has"),
        ("TYPE", "api_candles_7m", "is not known"),
        ("TIME_RANGE", "yesterday", "is not understood"),
        ("TIME_RANGE", "2024-08-02:2024-08-01", "the end is not after the start"),
        ("INTERVAL", "5m", "does not agree with TYPE"),
        ("INTERVAL", "7x", "does not agree with TYPE"),
        ("QUEUE_ID", "a b", "other than letters"),
        ("STREAMFORGE_ATTEMPT", "0", "'0'"),
        ("STREAMFORGE_ATTEMPT", "one", "'one'"),
        ("STREAMFORGE_METRICS_PORT", "70000", "'70000'"),
        ("STREAMFORGE_HEARTBEAT_SECONDS", "-1", "'-1'"),
        ("STREAMFORGE_LOG_FORMAT", "xml", "`json` or `console`"),
        ("STREAMFORGE_DEBUG", "perhaps", "`true` or `false`"),
        ("STREAMFORGE_RANGES", "2024-09-01", "is not inside TIME_RANGE"),
        ("STREAMFORGE_RANGES", "2024-08-01,x", "is not understood"),
    ],
)
def test_a_bad_value_is_named_with_what_is_expected(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_worker(LOADER, LEAST | {name: value})
    assert name in str(error.value)
    assert says in str(error.value)


def test_several_bad_values_are_named_together() -> None:
    bad = {
        "STREAMFORGE_ATTEMPT": "x",
        "ARANGO_URL": "y",
        "STREAMFORGE_HEARTBEAT_SECONDS": "0",
        "TYPE": "t",
        "SYMBOL": "a b",
    }
    with pytest.raises(ConfigError) as error:
        load_worker(LOADER, LEAST | bad)
    for name in bad:
        assert name in str(error.value)


@pytest.mark.parametrize("upstream", ["a:0", "a:x", ":1", "a:1:2"])
def test_a_malformed_upstream_is_refused(upstream: str) -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_UPSTREAM"):
        load_worker(SINK, LEAST | {"COLLECTION_NAME": "c", "STREAMFORGE_UPSTREAM": upstream})


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    code: Annotated[Secret, variable("CODE", "a secret")]
    size: Annotated[int, msgspec.Meta(ge=1), variable("SIZE", "how many", unit="records")] = 5
    kind: Annotated[Literal["a", "b"], variable("KIND", "which")] = "a"


def test_a_secret_is_never_shown() -> None:
    found = load(Sample, {"CODE": "hush-hush"})
    assert found.code.reveal() == "hush-hush"
    for text in (repr(found), str(found), f"{found.code}", repr([found.code]), f"{found.code!r}"):
        assert "hush" not in text
    with pytest.raises(TypeError):
        msgspec.json.encode(found)


def _refused(text: str) -> Secret:
    raise ValueError("too short")


class Guarded(msgspec.Struct, frozen=True, kw_only=True):
    code: Annotated[Secret, variable("CODE", "a secret", check=_refused)]


def test_a_bad_secret_is_named_without_its_value() -> None:
    with pytest.raises(ConfigError, match="CODE: its value is not accepted") as error:
        load(Guarded, {"CODE": "hush-hush"})
    assert "hush" not in str(error.value)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load(Sample, {"CODE": "x", "SIZE": ""}).size == 5
    with pytest.raises(ConfigError, match="CODE is missing: expected secret text, a secret"):
        load(Sample, {"CODE": ""})


def test_every_variable_of_a_worker_has_a_meaning_and_its_own_name() -> None:
    found = list(variables(WorkerSettings))
    assert all(item.meaning for item in found)
    names = [item.name for item in found]
    assert len(set(names)) == len(names)


def test_the_reference_shows_what_a_worker_reads_and_no_more() -> None:
    loader, sink = environment_table(LOADER), environment_table(SINK)
    workers = "| [every worker](../../docs/reference/settings.md#every-worker) | **`QUEUE_ID`** **`SYMBOL`** "
    assert workers in loader
    assert workers in sink
    assert "`STREAMFORGE_DOWNSTREAM`" in loader
    assert "COLLECTION_NAME" not in loader
    assert "STREAMFORGE_EXCHANGE_URL" not in sink
    assert "**`STREAMFORGE_UPSTREAM`**" in sink
    explained = settings_page()
    assert "| `QUEUE_ID` | text | **required** | the workflow that the worker belongs to |" in explained
    replayed = "**required** without `STREAMFORGE_REPLAY` or `STREAMFORGE_UNTIL`"
    assert f"| `STREAMFORGE_UPSTREAM` | TELEMETRY_ID:ATTEMPT[:ended], … | {replayed} |" in explained
    assert "| `STREAMFORGE_HEARTBEAT_SECONDS` | number, seconds | `2` |" in explained
    assert all(line.count(" | ") in (1, 2, 3) for line in explained.splitlines() if line.startswith("| `"))


def test_a_loader_refuses_passwords_in_urls_and_more_weight_than_binance_allows() -> None:
    password = {**LEAST, "STREAMFORGE_EXCHANGE_URL": "https://me:hush-hush@data-api.binance.vision"}
    with pytest.raises(ConfigError, match="STREAMFORGE_EXCHANGE_URL: it holds a user or a password") as error:
        load_worker(LOADER, password)
    assert "hush" not in str(error.value)
    much = {**LEAST, "STREAMFORGE_WEIGHT_PER_MINUTE": "6001"}
    with pytest.raises(ConfigError, match="STREAMFORGE_WEIGHT_PER_MINUTE: 6001 is more than the 6000"):
        load_worker(LOADER, much)
    load_worker(LOADER, {**much, "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:8000"})


@pytest.mark.parametrize("name", ["HEARTBEAT_SECOND", "HEARTBAET_SECONDS", "HEARTBEATS_SECONDS"])
def test_a_slip_in_a_name_is_told_with_the_name_that_is_meant(name: str) -> None:
    known = {item.name for item in variables(WorkerSettings)}
    found = misspelt({**LEAST, f"STREAMFORGE_{name}": "hush"}, known)
    assert found == [
        f"STREAMFORGE_{name} is set, but nothing reads it: is STREAMFORGE_HEARTBEAT_SECONDS meant?",
    ]


def test_names_of_other_services_and_of_others_are_no_slip() -> None:
    known = {item.name for item in variables(WorkerSettings)}
    managers = {item.name for item in variables(ManagerSettings)}
    others = {"STREAMFORGE_MARKET_DATA", "STREAMFORGE_TOKEN", "HEARTBEAT_SECOND", "KAFKA_USERS"}
    assert misspelt(dict.fromkeys(managers | others, "x"), known) == []
