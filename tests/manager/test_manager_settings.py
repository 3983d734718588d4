"""The manager's settings: what it refuses to start with, and how long records are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import structlog

from streamforge.manager.__main__ import main
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.policy import RetentionRule, kept_ms
from streamforge.manager.running_manager import worker_environment
from streamforge.manager.startup import configure_logs
from streamforge_utils.model.errors import ConfigError
from tests.manager.support import DAY_MS

DATA = {"STREAMFORGE_DATA_DIR": "/nowhere"}
ARANGO = {"ARANGO_URL": "http://arango:8529", "ARANGO_DB": "streamforge"}


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_EXCHANGE_URL: it holds a user or a password") as refused:
        load_manager({**DATA, "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:1,https://me:hush-hush@host.example/"})
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://api.binance.com",
        "https://DATA-API.binance.vision:443/x",
        "http://127.0.0.1:1,https://api.binance.us",
    ],
)
def test_more_weight_than_binance_allows_is_refused_where_binance_is_asked(url: str) -> None:
    environ = {**DATA, "STREAMFORGE_EXCHANGE_URL": url}
    load_manager({**environ, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "6000"})
    with pytest.raises(ConfigError, match="STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE: 6001 is more than the 6000"):
        load_manager({**environ, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "6001"})


@pytest.mark.parametrize(
    ("needed", "environ"),
    [
        (True, {}),
        (True, {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9093"}),
        (True, {"STREAMFORGE_LAUNCHER": "kubernetes", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093"}),
        (True, {"STREAMFORGE_LAUNCHER": "kubernetes", **ARANGO}),
        (True, {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9093", **ARANGO}),
        (False, {"STREAMFORGE_LAUNCHER": "kubernetes", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093", **ARANGO}),
    ],
)
def test_a_data_directory_is_needed_for_whatever_is_not_in_a_cluster(needed: bool, environ: dict[str, str]) -> None:
    if needed:
        with pytest.raises(ConfigError, match="STREAMFORGE_DATA_DIR is missing"):
            load_manager(environ)
    else:
        assert load_manager(environ).data.data_dir is None
    assert load_manager({**environ, **DATA}).data.data_dir is not None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://binance.com.example"])
def test_another_exchange_may_be_asked_for_more(url: str) -> None:
    load_manager({**DATA, "STREAMFORGE_EXCHANGE_URL": url, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000"})


@pytest.mark.parametrize(("form", "debug"), [("json", "true"), ("json", "false"), ("console", "true")])
def test_the_form_of_the_log_and_whether_it_tells_all(
    form: str, debug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_manager({**DATA, "STREAMFORGE_LOG_FORMAT": form, "STREAMFORGE_DEBUG": debug})
    before = structlog.get_config()
    try:
        configure_logs(settings)
        log = structlog.get_logger("x")
        log.debug("found", offset=7)
        log.info("seen")
    finally:
        structlog.configure(**before)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + (debug == "true")
    if form == "json":
        assert json.loads(lines[-1])["event"] == "seen"
    else:
        assert "offset=7" in lines[0]
    assert ("STREAMFORGE_DEBUG" in worker_environment(settings)) == (debug == "true")


def test_a_misspelt_name_is_told_before_it_passes_without_effect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DATA_DIR": "/dev/null/nowhere",
        "STUK_SECONDS": "hush",
        "TOKEN": "x",
        "LOG_FORMAT": "json",
    }.items():
        monkeypatch.setenv(f"STREAMFORGE_{name}", value)
    before = structlog.get_config()
    try:
        assert main([]) == 2  # its folder can never be
    finally:
        structlog.configure(**before)
    told = [json.loads(line)["problem"] for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert told == ["STREAMFORGE_STUK_SECONDS is set, but nothing reads it: is STREAMFORGE_STUCK_SECONDS meant?"]


KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "k:9093", "KAFKA_USER": "manager", "KAFKA_PASSWORD": "hush"}
WORKER = {"STREAMFORGE_WORKER_KAFKA_USER": "worker", "STREAMFORGE_WORKER_KAFKA_PASSWORD": "quiet"}


def test_workers_log_in_as_the_manager_does_or_as_their_own_user() -> None:
    split = {"KAFKA_USER_PRODUCER": "writer", "KAFKA_PASSWORD_PRODUCER": "w"}

    def users(environ: dict[str, str]) -> dict[str, str]:
        handed_on = worker_environment(load_manager(environ))
        return {name: value for name, value in handed_on.items() if name.startswith(("KAFKA_", "STREAMFORGE_WORKER"))}

    common = {"KAFKA_BOOTSTRAP_SERVERS": "k:9093"}
    assert users({**DATA, **KAFKA, **split}) == {**common, **KAFKA, **split}
    assert users({**DATA, **KAFKA, **split, **WORKER}) == {**common, "KAFKA_USER": "worker", "KAFKA_PASSWORD": "quiet"}


def test_workers_reach_the_exchange_and_its_streams_as_the_manager_was_told() -> None:
    told = {
        "STREAMFORGE_EXCHANGE_URL": "http://127.0.0.1:7,http://127.0.0.1:8",
        "STREAMFORGE_REQUEST_ATTEMPTS": "9",
        "STREAMFORGE_REQUEST_BACKOFF_SECONDS": "0.25",
        "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "7",
        "BINANCE_API_KEY": "k",
        "STREAMFORGE_STREAM_URL": "wss://a.test",
        "STREAMFORGE_STREAM_CA_PATH": "/ca.pem",
        "STREAMFORGE_CONNECTS": "9",
    }
    handed_on = worker_environment(load_manager({**DATA, **told, "STREAMFORGE_WEIGHT_PER_MINUTE": "7"}))
    assert {name: handed_on.get(name) for name in told} == told
    assert "STREAMFORGE_WEIGHT_PER_MINUTE" not in handed_on, "each gets its share"
    assert worker_environment(load_manager(DATA))["STREAMFORGE_EXCHANGE_URL"], "so that nothing else names another one"


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({**KAFKA, "STREAMFORGE_WORKER_KAFKA_USER": "worker"}, "STREAMFORGE_WORKER_KAFKA_PASSWORD is missing"),
        ({**KAFKA, "STREAMFORGE_WORKER_KAFKA_PASSWORD": "quiet"}, "STREAMFORGE_WORKER_KAFKA_USER is missing"),
        (WORKER, "KAFKA_BOOTSTRAP_SERVERS is not"),
        ({**WORKER, "KAFKA_BOOTSTRAP_SERVERS": "k:9092"}, "KAFKA_USER is not"),
        ({**KAFKA, **WORKER, "STREAMFORGE_LAUNCHER": "kubernetes"}, "in a cluster name the user in STREAMFORGE_K8S_"),
    ],
)
def test_half_a_user_for_the_workers_is_refused(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as found:
        load_manager({**DATA, **environ})
    assert "quiet" not in str(found.value)


def test_an_argument_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verbose"]) == 2
    assert "usage: python -m streamforge.manager [--debug]" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "days"), [("a_1m_x", 5), ("a_1h_x", 7), ("b=c", 1), ("other", None)])
def test_the_first_pattern_that_matches_counts(name: str, days: int | None) -> None:
    keeps = (
        RetentionRule.parse_setting("*_1m_*=5"),
        RetentionRule.parse_setting("a_*=7d"),
        RetentionRule.parse_setting("b=c=1"),
    )
    assert kept_ms(keeps, name) == (None if days is None else days * DAY_MS)


@pytest.mark.parametrize("text", ["", "5", "x=", "x=0", "x=-1", "=5", "x=y"])
def test_a_malformed_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PATTERN=DAYS"):
        RetentionRule.parse_setting(text)


def test_a_long_text_is_told_in_part() -> None:
    with pytest.raises(ValueError, match=f"^'{'x' * 80}' has not the form PATTERN=DAYS$"):
        RetentionRule.parse_setting("x" * 81)


def test_nothing_is_dropped_unexported() -> None:
    environ = {"STREAMFORGE_DATA_DIR": "/nowhere", "STREAMFORGE_RETENTION": "*=30"}
    with pytest.raises(ConfigError, match="STREAMFORGE_RETENTION_DIR is missing"):
        load_manager(environ)
    policy = load_manager({**environ, "STREAMFORGE_RETENTION_DIR": "/kept"}).policy
    assert (policy.retention, policy.retention_dir) == ((RetentionRule("*", 30),), Path("/kept"))
    for place, kept in (("STREAMFORGE_RETENTION_DIR", "/kept"), ("STREAMFORGE_OBJECTS_URL", "/kept/retention")):
        found = load_manager({**environ, place: "/kept"}).retained
        assert found is not None
        assert found.url == kept
    assert load_manager({"STREAMFORGE_DATA_DIR": "/nowhere"}).retained is None


def test_how_many_workers_begin_at_once_follows_from_the_processors_and_a_cluster_is_not_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert load_manager(DATA).policy.max_starting == 12
    assert load_manager({**DATA, "STREAMFORGE_MAX_STARTING": "2"}).policy.max_starting == 2
    cluster = {**DATA, "STREAMFORGE_LAUNCHER": "kubernetes", "STREAMFORGE_MAX_STARTING": "2"}
    cluster |= {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9093", "K8S_IMAGE": "x"}
    assert load_manager(cluster).policy.max_starting is None
    with pytest.raises(ConfigError, match="STREAMFORGE_MAX_STARTING"):
        load_manager({**DATA, "STREAMFORGE_MAX_STARTING": "0"})
