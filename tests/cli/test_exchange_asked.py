"""The exchange that was asked for is the one that answers, whichever manager does the work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.manager.origin import Source, is_asked_for, source_of
from tests.cli import support
from tests.cli.support import TYPE, Cli, process

HOUR = "2024-08-01:2024-08-01T01:00Z"
BINANCE_URL = "https://data-api.binance.vision"


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    with support.exchange("--seed", "7") as url:
        yield url


@pytest.fixture
def served(cli: Cli) -> Iterator[str]:
    """The URL of a manager that runs on the folder of `cli` and loads from its exchange."""
    assert cli.exchange is not None
    with process("up", "--data", str(cli.data), "--exchange", cli.exchange, "--port", "0", "--json") as started:
        assert started.stdout is not None
        yield json.loads(started.stdout.readline())["url"]


def test_another_exchange_than_the_managers_is_refused_by_name(
    cli: Cli, served: str, other_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = f"the manager at {served}, which already runs on {cli.data}, loads from {cli.exchange}, and "
    what, data = ("BTCUSDT", TYPE, HOUR), ("--data", str(cli.data))
    for asked in (other_url, "test", "binance", BINANCE_URL):
        for more in ((), ("--detach",)):
            ran = cli("load", *what, *data, "--exchange", asked, *more, where=False)
            assert (ran.code, ran.out) == (2, "")
            assert f"{begun}--exchange asks for {asked}: leave --exchange out, or choose another folder" in ran.err
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", BINANCE_URL)
    ran = cli("load", *what, *data, where=False)
    assert ran.code == 2
    assert f"{begun}STREAMFORGE_EXCHANGE_URL asks for {BINANCE_URL}: unset STREAMFORGE_EXCHANGE_URL" in ran.err
    ran = cli("load", *what, "--server", served, where=False)
    assert ran.code == 2
    assert (
        f"the manager at {served} loads from {cli.exchange}, and STREAMFORGE_EXCHANGE_URL asks for {BINANCE_URL}: "
        "unset STREAMFORGE_EXCHANGE_URL, or name a manager that loads from there with --server"
    ) in ran.err
    assert cli("queues", *data, "--json", where=False).ok().json == {"queues": []}
    monkeypatch.delenv("STREAMFORGE_EXCHANGE_URL")
    cli("load", *what, *data, where=False).ok()  # whoever asks for none takes the manager's


def test_what_goes_on_with_a_workflow_is_refused_too_and_the_same_exchange_is_taken(
    cli: Cli, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.exchange is not None
    loaded = cli("load", "BTCUSDT", TYPE, HOUR).ok()
    queue_id = loaded.out.split()[0]
    for command in (("retry", queue_id), ("dlq", "replay", queue_id)):
        ran = cli(*command, "--data", str(cli.data), "--exchange", BINANCE_URL, where=False)
        assert ran.code == 2
        assert f"loads from {cli.exchange}, and --exchange asks for {BINANCE_URL}" in ran.err
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", cli.exchange.replace("127.0.0.1", "localhost") + "/")
    ran = cli("load", "BTCUSDT", TYPE, HOUR, "--server", served, where=False).ok()
    assert "nothing was left to load" in ran.out


@pytest.mark.parametrize(
    ("source", "choice", "urls", "same"),
    [
        (source_of(("https://api.binance.com", BINANCE_URL)), "binance", None, True),
        (source_of(("https://api.binance.com",)), None, ("https://api3.binance.com",), True),
        (source_of(("https://api.binance.us",)), "binance", None, False),
        (source_of(("http://127.0.0.1:9",), built_in=True), "test", None, True),
        (source_of(("http://127.0.0.1:9",), built_in=True), "http://127.0.0.1:9", ("http://127.0.0.1:9",), False),
        (source_of(("http://127.0.0.1:9",)), "test", None, False),
        (source_of(("http://127.0.0.1:9",)), None, ("http://localhost:9/",), True),
        (source_of(("http://127.0.0.1:9",)), None, ("http://127.0.0.1:10",), False),
        (source_of(("https://mirror.example.org",)), None, ("https://mirror.example.org:443/",), True),
        (source_of(("https://mirror.example.org",)), None, ("https://other.example.org",), False),
    ],
)
def test_two_spellings_of_an_exchange_are_one(
    source: Source, choice: str | None, urls: tuple[str, ...] | None, same: bool
) -> None:
    assert is_asked_for(source, choice, urls) is same


def test_what_is_told_of_an_exchange_holds_no_user() -> None:
    assert source_of(("https://joe:secret@mirror.example.org/x",)).urls == ("https://mirror.example.org/x",)


def test_a_folders_note_is_compared_where_no_manager_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.load("BTCUSDT", TYPE, HOUR)
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", BINANCE_URL)
    ran = cli("load", "BTCUSDT", TYPE, HOUR, "--data", str(cli.data), where=False)
    assert ran.code == 2
    assert f"{cli.data} holds data of the test exchange, not of Binance" in ran.err
