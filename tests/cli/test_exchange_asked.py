"""The exchange that was asked for is the one that answers, whichever manager does the work."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import support
from tests.cli.support import TYPE, Cli, manager

HOUR = "2024-08-01:2024-08-01T01:00Z"
BINANCE_URL = "https://data-api.binance.vision"
TESTNET_URL = "https://testnet.binance.vision"


@pytest.fixture(scope="module")
def other_url() -> Iterator[str]:
    with support.exchange("--seed", "7") as url:
        yield url


@pytest.fixture
def served(cli: Cli) -> Iterator[str]:
    """The URL of a manager that runs on the folder of `cli` and loads from its exchange."""
    assert cli.exchange is not None
    with manager(cli.data, cli.exchange) as (_, ready):
        yield ready["url"]


def test_another_exchange_than_the_managers_is_refused_by_name(
    cli: Cli, served: str, other_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = f"the manager at {served}, which already runs on {cli.data}, loads from {cli.exchange}, and "
    what, data = ("BTCUSDT", TYPE, HOUR), ("--data", str(cli.data))
    for asked in (f"{other_url}/secret", "test", "binance", BINANCE_URL):
        for more in ((), ("--detach",)):
            ran = cli("load", *what, *data, "--exchange", asked, *more, where=False)
            assert (ran.code, ran.out) == (2, "")
            named = asked.removesuffix("/secret")
            assert f"{begun}--exchange asks for {named}: leave --exchange out, or choose another folder" in ran.err
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
    cli("load", *what, *data, where=False).ok()  # without one it is the manager's


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


def test_a_folders_note_is_compared_where_no_manager_runs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.data.mkdir()
    note = cli.data / "origin.json"
    note.write_text('{"exchange": "test"}')
    what = ("load", "BTCUSDT", TYPE, HOUR, "--data", str(cli.data))
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", BINANCE_URL)
    ran = cli(*what, where=False)
    assert ran.code == 2
    assert f"{cli.data} holds data of the test exchange, not of Binance" in ran.err
    monkeypatch.delenv("STREAMFORGE_EXCHANGE_URL")
    note.write_text(json.dumps({"exchange": "testnet.binance.vision", "choice": f"{TESTNET_URL}/secret"}))
    ran = cli(*what, "--exchange", "binance", where=False)
    assert ran.code == 2
    assert f"or load from testnet.binance.vision with --exchange {TESTNET_URL}\n" in ran.err


def test_two_test_exchanges_are_two_exchanges(cli: Cli, other_url: str) -> None:
    """Candles of two seeds differ: in one folder they would be a series that no exchange ever had."""
    assert cli.exchange is not None
    cli.load("BTCUSDT", TYPE, HOUR)
    for what in (HOUR, "2024-08-02"):
        ran = cli("load", "BTCUSDT", TYPE, what, "--data", str(cli.data), "--exchange", other_url, where=False)
        assert (ran.code, ran.out) == (2, "")
        assert (
            f"{cli.data} holds data of the exchange `test exchange, seed 1`, not of `test exchange, seed 7`, which "
            f"answers now, and the two are never mixed: choose another folder with --data"
        ) in ran.err
    [found] = cli("series", "--json").ok().json["series"]
    assert found["records"] == 60
    with support.exchange() as same:  # elsewhere, and makes up the same
        cli("load", "BTCUSDT", TYPE, "2024-08-02T23:00Z:2024-08-03", "--data", str(cli.data), "--exchange", same,
            where=False).ok()  # fmt: skip


def test_only_an_accepted_load_says_which_exchange_a_folder_is_of(
    cli: Cli, other_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = cli.data / "origin.json"
    refused = cli("load", "NOPEUSDT", TYPE, HOUR, "--data", str(cli.data), "--exchange", other_url, where=False)
    assert refused.code == 2
    assert not note.exists()
    cli.load("BTCUSDT", TYPE, HOUR)  # of another one, as nothing was accepted before
    known = {"exchange": "test", "choice": cli.exchange}
    assert json.loads(note.read_text()) == known
    monkeypatch.setenv("STREAMFORGE_REQUEST_ATTEMPTS", "1")
    monkeypatch.setenv("STREAMFORGE_MAX_ASKING_FAILURES", "1")
    with support.exchange("--fault", "451:path=klines") as broken, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for url, what in ((other_url, "BTCUSDT"), (broken, "NOPEUSDT"), (away, "ETHUSDT")):
            ran = cli("load", what, TYPE, HOUR, "--data", str(cli.data), "--exchange", url, where=False)
            assert ran.code in (1, 2)
            assert json.loads(note.read_text()) == known, url
    assert cli("symbols", "--json", "--data", str(cli.data), where=False).ok().json["total"] > 3
