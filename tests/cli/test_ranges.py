"""Ranges relative to now on the command line: read as arguments, shown as what they became."""

from __future__ import annotations

import re
import time

import pytest

from streamforge.cli import terminal
from streamforge_utils.model.timeranges import format_ms, parse_time_range
from tests.cli.support import Cli

HOURS = "api_candles_1h"
HOUR_MS = 3_600_000


def test_the_last_days_are_loaded_and_shown_as_what_they_became(cli: Cli) -> None:
    began = time.time() // 3600
    ran = cli("load", "BTCUSDT", HOURS, "-2d").ok()
    match = re.search(r": BTCUSDT api_candles_1h (\S+) to (\S+) \(asked for -2d", ran.err)
    assert match is not None, ran.err
    span = parse_time_range(f"{match[1]}:{match[2]}")
    queue = cli("queues", "--json").ok().json["queues"][0]
    assert queue["time_range"]["requested"] == "-2d"
    assert queue["time_range"]["start_ms"] == span.start_ms
    until_ms, clipped = queue["time_range"]["end_ms"], queue["time_range"]["clipped"]
    assert 47 <= (until_ms - span.start_ms) / HOUR_MS <= 48
    # In the first second of an hour all of it is over, as it is where an hour ends between the request and the plan.
    assert clipped is (until_ms < span.start_ms + 48 * HOUR_MS)
    assert until_ms % HOUR_MS == 0 or not clipped
    shown = cli("show", queue["queue_id"]).ok().out
    words = terminal.asked_for("-2d", clipped=clipped)
    assert f"{format_ms(span.start_ms)} to {format_ms(until_ms)}{words}\n" in shown
    # Whole hours that opened in it, and are over.
    assert 46 <= queue["progress"]["records_stored"] <= 48
    exported = cli("export", "BTCUSDT", HOURS, "-1d")
    # What is not over is not missing; where an hour ended in between, that one is.
    assert exported.code == (0 if time.time() // 3600 == began else 1), exported.err
    assert 22 <= exported.out.count("\n") - 1 <= 24
    assert cli("coverage", "BTCUSDT", HOURS, "-36h:-12h", "--json").ok().json["complete"] is True


@pytest.mark.parametrize("words", [("today:", "--again"), ("--again", "yesterday"), ("2026-01:",)])
def test_an_open_or_named_range_is_taken_wherever_it_stands(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("load", "BTCUSDT", "api_candles_1d", *words)
    assert ran.code == 0, ran.err
    asked = next(word for word in words if not word.startswith("--"))
    assert f"(asked for {asked}" in ran.err


def test_a_range_that_looks_like_an_option_is_an_argument_and_an_options_value_stays_one(cli: Cli) -> None:
    ran = cli("load", "-3d", "BTCUSDT", HOURS, "--timeout", "-1")
    assert "--timeout must be at least 0.1, not '-1'" in ran.err
    ran = cli("coverage", "BTCUSDT", "--json", HOURS, "-3d")
    assert "nothing was loaded into" in ran.err


def test_load_coverage_and_export_agree_on_a_range_in_which_no_candle_begins(cli: Cli) -> None:
    days, nothing = "api_candles_1d", "no candle opens in this range\n"
    inside = ("BTCUSDT", days, "2024-08-03T01:00Z:2024-08-03T23:00Z")
    assert cli("load", *inside).ok().out.endswith(f": {nothing}"), "and no verdict follows"
    known = cli("coverage", *inside).ok()
    assert known.err.endswith(f"BTCUSDT {days}, 2024-08-03T01:00Z to 2024-08-03T23:00Z: {nothing}")
    exported = cli("export", *inside)
    assert (exported.code, exported.out) == (1, "")
    assert exported.err == f"streamforge: nothing of {' '.join(inside)} is stored: {nothing}"
    cli.load("BTCUSDT", days, "2024-08-03")
    assert cli("coverage", *inside).ok().err == known.err, "also where the candle is stored"
    cli("load", "OLDUSDT", HOURS, "-2d").ok()  # delisted
    assert cli("coverage", "OLDUSDT", HOURS).ok().err.endswith("complete: every hole has its reason\n")
    closed = cli("series", "OLD", "--json").ok().json["series"][0]
    assert (closed["complete"], closed["holes"], closed["records"]) == (True, 1, 0)
