"""What a new user is told who writes something wrong, swapped, empty or odd: a table of commands and sentences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from streamforge.cli.command_table import root
from tests.cli.support import TYPE, Cli

SWAPPED = "the order is SYMBOL TYPE TIME_RANGE: write BTCUSDT api_candles_1m 2024"

NO_PLACE = ("laod", "dlq", "exchange", "schemas")
REFUSED = [
    # swapped, missing and too many words
    ("load api_candles_1m BTCUSDT 2024", SWAPPED),
    ("load BTCUSDT 2024 api_candles_1m", SWAPPED),
    ("load 2024 BTCUSDT api_candles_1m", SWAPPED),
    ("export api_candles_1m BTCUSDT 2024", SWAPPED),
    ("coverage api_candles_1m BTCUSDT", "the order is SYMBOL TYPE: write BTCUSDT api_candles_1m"),
    ("coverage BTCUSDT -30d", "a type is missing: write SYMBOL TYPE TIME_RANGE, as in BTCUSDT api_candles_1m -30d"),
    ("export BTCUSDT 2024", "a type is missing: write SYMBOL TYPE TIME_RANGE, as in BTCUSDT api_candles_1m 2024"),
    ("load", "missing argument 'SYMBOL' (see `streamforge load --help`)"),
    ("load BTCUSDT api_candles_1m", "missing argument 'TIME_RANGE' (see `streamforge load --help`)"),
    (
        "load BTCUSDT api_candles_1m 2024-01 2024-02",
        "a range is one word, START:END: did you mean 2024-01:2024-02? (see `streamforge load --help`)",
    ),
    (
        "export BTCUSDT api_candles_1m 2024-01 2024-02",
        "a range is one word, START:END: did you mean 2024-01:2024-02?",
    ),
    ("show a b", "too many arguments: b (see `streamforge show --help`)"),
    ("coverage a b c d", "write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]"),
    # words that are not known
    ("load BTCUSDT 1m 2024", "type '1m' is not known: did you mean api_candles_1m?"),
    ("load BTCUSDT klines_1h 2024", "type 'klines_1h' is not known: did you mean api_candles_1h?"),
    ("load BTC/USDT api_candles_1m 2024", "symbol 'BTC/USDT' holds characters that no symbol has ('/'): did you mean"),
    ("laod", "no such command 'laod'. Did you mean 'load'? (see `streamforge --help`)"),
    ("dlq lst", "no such command 'lst'. Did you mean 'list'? (see `streamforge dlq --help`)"),
    ("load BTCUSDT api_candles_1m 2024 --agian", "no such option: --agian (Possible options: --again"),
    ("queues --status finish", "status 'finish' is not known: did you mean finished?"),
    ("queues --status xyz", "status 'xyz' is not known: choose from pending, running, stopping, finished,"),
    ("queues --status done", "status 'done' is not known: choose from pending, running"),
    ("load BTCUSDT api_candles_7m 2024", "type 'api_candles_7m' is not known: choose one of api_candles_1s"),
    ("export BTCUSDT candles", "type 'candles' is not known"),
    ("load 'BTC USDT' api_candles_1m 2024", "symbol 'BTC USDT' holds characters that no symbol has (' '): did you"),
    ("load '' api_candles_1m 2024", "symbol '' must have 1 to 60 characters"),
    ("load BTCUSDT api_candles_1m 2024 --exchange kraken", "exchange 'kraken' is not known: write binance, test"),
    ("coverage BTCUSDT", "'BTCUSDT' is no queue_id: write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]"),
    ("export a b c d", "write QUEUE_ID, COLLECTION, or SYMBOL TYPE [TIME_RANGE]"),
    ("schemas cande", "there is no schema 'cande': did you mean candle?"),
    (
        "export x -o a.txt",
        "output a.txt: its suffix .txt names no format: let it end in .csv, .csv.gz, .jsonl, .jsonl.gz",
    ),
    # ranges
    ("load BTCUSDT api_candles_1m 30d", "time_range '30d' is not understood: did you mean -30d?"),
    ("load BTCUSDT api_candles_1m -5x", "time_range '-5x': '5x' has no unit that is known: s, m (minutes), h, d, w,"),
    ("load BTCUSDT api_candles_1m 2024-01..2024-02", "time_range '2024-01..2024-02' is not understood: did you mean"),
    ("load BTCUSDT api_candles_1m 2190:", "time_range '2190:' starts in the future (now is 20"),
    ("load BTCUSDT api_candles_1m ''", "time_range '' is not understood: write 2024, 2024-08,"),
    ("coverage BTCUSDT api_candles_1m -1d:-2d", "time_range '-1d:-2d': the end is not after the start; did you mean"),
    ("load BTCUSDT api_candles_1m 2024-13", "time_range '2024-13': '2024-13' is no date: month must be in 1..12"),
    ("load BTCUSDT api_candles_1m tomorrow", "time_range 'tomorrow' is not understood: write 2024, 2024-08,"),
    ("load BTCUSDT api_candles_1m 2024-08-02:2024-08-01", "the end is not after the start"),
    # values of options
    ("queues --limit 0", "--limit must be between 1 and 100000, not '0'"),
    ("load BTCUSDT api_candles_1m 2024 --timeout 0", "--timeout must be at least 0.1, not '0' (see `streamforge load"),
    ("load BTCUSDT api_candles_1m 2024 --timeout soon", "--timeout must be a number, not 'soon'"),
    ("load BTCUSDT api_candles_1m 2024 --timeout nan", "--timeout must be a number, not 'nan'"),
    ("exchange --port", "option '--port' needs a value after it"),
    (
        "load BTCUSDT api_candles_1m 2024 --launcher docker",
        "--launcher must be one of process, kubernetes, not 'docker'",
    ),
    ("ping x --wait 31", "--wait must be between 0.1 and 30, not '31'"),
    ("queues --limit 1.5", "--limit must be a whole number, not '1.5'"),
    ("exchange --port 99999", "--port must be between 0 and 65535, not '99999'"),
    ("exchange --fault fire", "fault 'fire' is not known: choose one of 429"),
    ("exchange --hole BTCUSDT", "hole 'BTCUSDT' is not understood: write SYMBOL@START:END"),
    ("exchange --replay /nowhere", "replay /nowhere is no folder"),
    ("exchange --now x", "instant 'x' is not ISO 8601, e.g. 2024-08-01T12:00:00Z"),
    ("queues --symbol ''", "--symbol is empty: give it a value, or leave it out"),
    ("queues --data=", "--data is empty: give it a value, or leave it out"),
    ("queues --server ''", "--server is empty: give it a value, or leave it out"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[command for command, _ in REFUSED])
def test_a_refusal_says_what_is_wrong_and_what_to_write(cli: Cli, command: str, message: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    ran = cli(*words, where=words[0] not in NO_PLACE and not {"--data=", "--exchange"} & {*words})
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not re.search(r"Value error|Input should|Malformed|Traceback|None", ran.err)
    assert not cli.data.exists(), "nothing is made for a command that is refused"


def test_an_unknown_symbol_is_named_with_the_one_that_was_meant(cli: Cli) -> None:
    ran = cli("load", "BTCUSD", TYPE, "2024-08-01")
    assert ran.code == 2
    assert "BTCUSD is not a symbol of the test exchange: did you mean BTCUSDT?\n" in ran.err
    ran = cli("load", "NOSUCH", TYPE, "2024-08-01")
    assert "NOSUCH is not a symbol of the test exchange: `streamforge symbols` lists what it has\n" in ran.err


def commands() -> list[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    found: list[tuple[str, ...]] = [()]
    groups: list[tuple[tuple[str, ...], Any]] = [((), root)]
    while groups:
        path, group = groups.pop()
        for name, command in (group.imported() if hasattr(group, "imported") else {}).items():
            found.append((*path, name))
            groups.append(((*path, name), command))
    return sorted(found)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_names_words_as_they_are_typed(cli: Cli, command: tuple[str, ...]) -> None:
    out = cli(*command, "--help", where=False).ok().out
    usage = next(line for line in out.splitlines() if "Usage:" in line)
    assert f"streamforge {' '.join(command)}".strip() in usage
    assert not re.search(r"[{}]|<(bool|str|int|float|path|list\[str\])>|\[default: \(", out)


def test_help_shows_a_default_without_parentheses(cli: Cli) -> None:
    told = " ".join(cli("load", "--help", where=False).ok().out.replace("│", " ").split())
    assert "[default: STREAMFORGE_EXCHANGE_URL, else binance]" in told
