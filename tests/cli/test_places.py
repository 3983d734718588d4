"""Where data lies and which exchange it comes from, whichever manager does the work."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.places import (
    check_origin,
    data_directory,
    default_data_directory,
    exchange_urls,
    known_origin,
    last_choice,
    note_origin,
    wanted_origin,
)
from streamforge.cli.session import Where
from streamforge.manager.origin import Origin
from streamforge_utils.model.errors import ConfigError
from tests.cli import support
from tests.cli.support import HOUR, TYPE, Cli, line, manager, process, ready

HOME = {"HOME": "/home/ann"}


def claimed(data: Path, origin: Origin) -> None:
    """A load from `origin` into the folder was accepted."""
    check_origin(data, origin)
    note_origin(data, origin)


@pytest.mark.parametrize(
    ("environ", "platform", "found"),
    [
        (HOME, "linux", "/home/ann/.local/share/streamforge"),
        ({**HOME, "XDG_DATA_HOME": "/srv/ann"}, "linux", "/srv/ann/streamforge"),
        ({**HOME, "XDG_DATA_HOME": "relative"}, "linux", "/home/ann/.local/share/streamforge"),
        (HOME, "darwin", "/home/ann/Library/Application Support/streamforge"),
    ],
)
def test_the_default_follows_the_platform(environ: dict[str, str], platform: str, found: str) -> None:
    assert default_data_directory(environ, platform) == Path(found)


def test_the_option_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {**HOME, "STREAMFORGE_DATA_DIR": "/srv/data"}
    assert data_directory(Path("/mine"), environ) == Path("/mine")
    assert data_directory(None, environ) == Path("/srv/data")
    assert data_directory(Path("a/../b"), environ) == Path.cwd() / "b"


def test_an_exchange_is_a_name_or_urls() -> None:
    assert exchange_urls(None, {}) is None
    assert exchange_urls("binance", {"STREAMFORGE_EXCHANGE_URL": "http://other:1"}) is None
    assert exchange_urls(None, {"STREAMFORGE_EXCHANGE_URL": "http://a:1, http://b:2"}) == ("http://a:1", "http://b:2")
    assert exchange_urls("http://a:1,https://b", {}) == ("http://a:1", "https://b")
    for wrong in ("bitstamp", "", "ftp://a", "localhost:9000"):
        with pytest.raises(UsageProblem, match="write binance, test or a URL"):
            exchange_urls(wrong, {})
    with pytest.raises(UsageProblem, match="hold no user or password") as refused:
        exchange_urls("http://joe:sekret99@127.0.0.1:9", {})
    assert "sekret99" not in str(refused.value)


def test_a_folder_keeps_to_the_exchange_of_its_first_load(tmp_path: Path) -> None:
    assert known_origin(tmp_path) is None
    assert last_choice(tmp_path) is None
    claimed(tmp_path, wanted_origin("test", None))
    claimed(tmp_path, wanted_origin("test", None))
    assert known_origin(tmp_path) == "test"
    with pytest.raises(
        UsageProblem, match=r"holds data of the test exchange, not of Binance, .*--data.*--exchange test"
    ):
        claimed(tmp_path, wanted_origin("binance", None))
    assert known_origin(tmp_path) == "test"
    assert [path.name for path in tmp_path.iterdir()] == ["origin.json"]


def test_the_last_choice_of_a_folder_is_what_the_option_has_to_say(tmp_path: Path) -> None:
    claimed(tmp_path, wanted_origin("test", None))
    assert last_choice(tmp_path) == "test"
    claimed(tmp_path, wanted_origin("http://127.0.0.1:4000", ("http://127.0.0.1:4000",)))
    assert (known_origin(tmp_path), last_choice(tmp_path)) == ("test", "http://127.0.0.1:4000")
    for folder, urls, choice in (("a", ("https://x.example", "https://y.example"), "https://x.example,https://y.example"),
                                 ("b", None, None)):  # fmt: skip
        (tmp_path / folder).mkdir()
        claimed(tmp_path / folder, wanted_origin(None, urls))
        assert last_choice(tmp_path / folder) == choice
    with pytest.raises(UsageProblem, match=r"with --exchange https://x\.example,https://y\.example$"):
        claimed(tmp_path / "a", wanted_origin("test", None))


@pytest.mark.parametrize(("origin", "choice"), [("test", "test"), ("binance", None), ("mirror.example.org", None)])
def test_a_note_that_was_written_by_hand_is_enough(tmp_path: Path, origin: str, choice: str | None) -> None:
    (tmp_path / "origin.json").write_text(json.dumps({"exchange": origin}))
    assert (known_origin(tmp_path), last_choice(tmp_path)) == (origin, choice)
    assert Where(data=tmp_path).starting() == f" --data {tmp_path}" + (" --exchange test" if choice else "")


def test_what_goes_on_with_a_workflow_asks_the_exchange_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(tmp_path, wanted_origin("test", None))
    assert Where(data=tmp_path).as_before().exchange == "test"
    assert Where(data=tmp_path, exchange="binance").as_before().exchange == "binance"
    assert Where(server="http://127.0.0.1:1").as_before().exchange is None
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", "http://127.0.0.1:4000")
    assert Where(data=tmp_path).as_before().exchange is None


def test_a_damaged_note_of_the_exchange_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text("{")
    with pytest.raises(ConfigError, match=r"origin.json is damaged: write .*binance"):
        known_origin(tmp_path)


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


@pytest.mark.e2e
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


@pytest.mark.e2e
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


@pytest.mark.e2e
def test_a_folder_is_loaded_from_the_exchange_of_its_data_and_that_is_said(cli: Cli) -> None:
    data = ("--data", str(cli.data))
    cli("load", "BTCUSDT", TYPE, HOUR, *data, "--exchange", "test", where=False).ok()
    ran = cli("load", "ETHUSDT", TYPE, HOUR, *data, where=False).ok()
    told = f"{cli.data} holds data of the test exchange: it is loaded from there\n"
    assert ran.err.count(told) == 1
    assert told in cli("load", "BTCUSDT,ETHUSDT", TYPE, "2024-08-02", *data, where=False).ok().err
    assert told in cli("load", "BTCUSDT", TYPE, HOUR, *data, "--dry-run", where=False).ok().err
    refused = cli("load", "BTCUSDT", TYPE, HOUR, *data, "--exchange", "binance", where=False)
    assert (refused.code, "holds data of the test exchange, not of Binance" in refused.err) == (2, True)
    assert told not in cli("load", "ETHUSDT", TYPE, HOUR, *data, "--exchange", "test", where=False).ok().err
    with process("up", *data, "--port", "0", "--json") as started:
        assert ready(started)["exchange"][0].startswith("http://127.0.0.1:")
        assert line(started, "holds data of") == told


@pytest.mark.e2e
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


@pytest.mark.e2e
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
