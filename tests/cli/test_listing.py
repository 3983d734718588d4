"""series and symbols: what is stored, and what the exchange has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamforge.cli import terminal
from streamforge.manager import workflow_service
from tests.cli.support import START_MS, TYPE, Cli, exchange

HOUR_MS = 3_600_000


def test_series_tells_span_records_and_holes(cli: Cli) -> None:
    assert cli("series", "--json").ok().json == {"series": []}
    assert not cli.data.exists()
    cli.load("ETHUSDT", TYPE, "2024-08-01:2024-08-01T01:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T01:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01T02:00Z:2024-08-01T03:00Z")
    out = cli("series").ok().out.splitlines()
    assert out[0].split() == ["symbol", "type", "from", "to", "records", "holes"]
    rows = [re.split(r" {2,}", line.strip()) for line in out[2:]]
    assert rows == [
        ["BTCUSDT", TYPE, "2024-08-01", "2024-08-01T03:00Z", "120", "1, not complete"],
        ["ETHUSDT", TYPE, "2024-08-01", "2024-08-01T01:00Z", "60", "none"],
    ]
    found = cli("series", "--json").ok().json["series"]
    assert [(one["symbol"], one["records"], one["holes"], one["complete"]) for one in found] == [
        ("BTCUSDT", 120, 1, False),
        ("ETHUSDT", 60, 0, True),
    ]
    assert (found[0]["start_ms"], found[0]["end_ms"]) == (START_MS, START_MS + 3 * HOUR_MS)
    assert [one["symbol"] for one in cli("series", "eth", "--json").ok().json["series"]] == ["ETHUSDT"]
    assert [one["symbol"] for one in cli("series", "b*usdt", "--json").ok().json["series"]] == ["BTCUSDT"]
    cli.load("ETHUSDT", TYPE, "2024-08-01T00:30Z:2024-08-01T00:40Z", "--again")
    [again] = cli("series", "eth", "--json").ok().json["series"]
    assert (again["records"], again["holes"], again["complete"]) == (60, 0, True)
    assert cli("series", "nope").ok().err == "no series fits 'nope': `streamforge series` lists all 2\n"


def test_symbols_are_the_exchanges_with_their_status(cli: Cli) -> None:
    whole = cli("symbols", "--limit", "10000", "--json").ok().json
    names = [one["symbol"] for one in whole["symbols"]]
    assert whole["total"] == len(names) > 3
    assert names == sorted(names)
    assert {"symbol": "BTCUSDT", "status": "TRADING", "base_asset": "BTC", "quote_asset": "USDT"} in whole["symbols"]
    assert not cli.data.exists(), "nothing is loaded"
    found = cli("symbols", "*usdt", "--status", "trading", "--json").ok().json["symbols"]
    assert found == [one for one in whole["symbols"] if one["symbol"].endswith("USDT") and one["status"] == "TRADING"]
    ran = cli("symbols", "--limit", "2").ok()
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == names[:2]
    assert ran.err == f"2 of {len(names)} are shown; see more with --limit, fewer by a PATTERN\n"
    nothing = cli("symbols", "nope")
    assert (nothing.code, nothing.err) == (0, "the exchange has no symbol that fits the pattern 'nope'\n")


def test_an_exchange_that_is_away_is_named_soon_and_given_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LATE_S", 0.01)
    monkeypatch.setattr(workflow_service, "SYMBOLS_WITHIN_S", 0.5)
    with exchange("--fault", "stall:seconds=600,path=exchangeInfo") as url:
        ran = Cli(capsys, tmp_path / "data", url)("symbols")
        assert ran.code == 1
        waiting, given_up = ran.err.splitlines()
    assert waiting == f"waiting for the symbols of the exchange at {url}"
    assert given_up.startswith("streamforge: the test exchange did not list its symbols within 0.5 s")
    assert given_up.endswith("is it reached from here? Try again later")
