"""What was loaded is replayed, and loaded again: both data directories export the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import HOUR, TYPE, Cli, exchange

TEN_MINUTES = "2024-08-01:2024-08-01T00:10Z"
LOADED = ((TYPE, HOUR), ("api_trades", TEN_MINUTES), ("api_agg_trades", TEN_MINUTES))


@pytest.mark.long
def test_a_replay_of_what_is_stored_gives_the_same_again(
    cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for type_name, span in LOADED:
        cli.load("BTCUSDT", type_name, span)
    with exchange("--replay", str(cli.data)) as url:
        again = Cli(capsys, tmp_path / "again", url)
        for type_name, span in LOADED:
            again.load("BTCUSDT", type_name, span)
            first, second = (one("export", "BTCUSDT", type_name, span, "--format", "jsonl").out for one in (cli, again))
            assert first.count("\n") > 50
            assert second == first
