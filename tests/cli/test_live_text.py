"""A live workflow in words."""

from __future__ import annotations

import msgspec
import pytest

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.commands.workflow_commands import handover_text
from streamforge.cli.coverage_text import description, load_command, nothing_over, range_cell, range_text, rest
from streamforge.cli.live_text import live_lines, live_text
from streamforge.cli.load_request import Request
from streamforge.cli.outcome import Ended, Loaded, tell
from streamforge.cli.progress import numbers
from streamforge.cli.session import Where
from streamforge.manager import answers
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.handover_answers import Handover
from streamforge.manager.workflows.live.answers import Hole, Live
from streamforge_utils.model.timeranges import SINCE_LAST

LINKS = answers.Links(self="", events="", coverage="", records="", dead_letters="")


def workflow(live: Live, **fields: object) -> answers.Started:
    given = {
        "queue_id": "wf-btcusdt-ws_trades-20240801-abc123",
        "status": "running",
        "symbol": "BTCUSDT",
        "type": "ws_trades",
        "time_range": answers.TimeRange(requested="now:", start="", end="", start_ms=0, end_ms=1),
        "created_at": "2024-08-01T00:00:00Z",
        "progress": answers.Progress(records_stored=3120, rate=28.4),
        "topic": "",
        "collection": "",
        "links": LINKS,
        "live": live,
        **fields,
    }
    return answers.Started(**given)  # type: ignore[arg-type]


def test_its_line_says_how_far_it_is_proven_and_when_the_last_frame_came() -> None:
    live = Live(
        state="live",
        proven_through="2024-08-01T12:00:03.250Z",
        behind_seconds=1.5,
        frame_age_seconds=0.2,
        supplement="wf-x",
        open_holes=1,
        refused=1200,
    )
    text = live_text(workflow(live), live)
    assert text == (
        "live, proven through 2024-08-01 12:00:03, 1.5 s ago, 3,120 stored, 28/s, last frame 0.2 s ago, 1 hole open, "
        "1,200 messages refused, wf-x loads what lacks"
    )
    assert numbers(workflow(live)) == text
    assert "live" not in numbers(workflow(live, status="finished"))


def test_before_anything_is_proven_it_says_so() -> None:
    live = Live(state="syncing")
    assert live_text(workflow(live), live) == "syncing, nothing proven yet, 3,120 stored, 28/s"
    slow = workflow(live, progress=answers.Progress(rate=0.44), undriven="no manager runs")
    assert live_text(slow, live) == "not driven, nothing proven yet, 0 stored, 0.4/s"


def test_show_names_the_holes_and_what_has_become_of_them() -> None:
    hole = Hole(start="a", end="b", start_ms=0, end_ms=1, verdict="unknown", first_id=3, last_id=5)
    live = Live(
        state="suspect",
        reconnects=2,
        failure="it broke off",
        refused=1200,
        refusal="no digits",
        backfilled=30,
        dropped=1500,
        clock_offset_ms=-12,
        open_holes=7,
        holes=[hole] * 6,
        supplement_failure="wf-x: no",
        repair_at="c",
    )
    assert live_lines(live) == [
        "stream: 2 reconnects, 30 backfilled by requests, 1,500 dropped as there was no room, "
        "the exchange's clock is -12 ms ahead",
        "stream: the last connection that failed: it broke off",
        "careful: 1,200 messages of the stream were refused; the last: no digits",
        *["hole: a to b (unknown, ids 3 to 5)"] * 5,
        "hole: 2 more",
        "careful: what lacks was not loaded: wf-x: no; again at c",
    ]
    assert live_lines(Live(state="live")) == []


def test_a_live_type_needs_no_range() -> None:
    Request(symbol="BTCUSDT", type="ws_trades").check()
    Request(symbol="BTCUSDT", type="ws_candles_1m", since="2024-08-01").check()
    with pytest.raises(UsageProblem, match="a range is missing"):
        Request(symbol="BTCUSDT", type="api_trades").check()


def test_it_is_described_from_its_begin_on_and_says_when_nothing_was_recorded() -> None:
    found = workflow(Live(state="syncing"))
    assert description(found) == "wf-btcusdt-ws_trades-20240801-abc123: BTCUSDT ws_trades live since 1970-01-01"
    assert nothing_over(found, Where(server="http://m")) == "nothing was recorded before it was stopped"


def test_an_order_book_says_how_far_it_can_be_trusted() -> None:
    live = Live(
        state="suspect",
        records_waiting=1843,
        trust="suspect",
        why="sequence gap",
        verified_share=0.9912,
        clean_share=0.004,
        lost_seconds=3.2,
    )
    assert live_text(workflow(live), live) == (
        "suspect, nothing proven yet, 3,120 stored, 1,843 on their way, 28/s, 99.1% verified, 3.2 s lost"
    )
    assert live_lines(live) == ["order book: suspect (sequence gap); unverified, but clean: 0.4% of the time"]


def test_an_order_book_says_when_it_was_compared_and_that_it_is_not_any_more() -> None:
    live = Live(state="live", trust="verified", agreed_age_seconds=400, unchecked_seconds=360)
    assert live_lines(live) == [
        "order book: verified",
        "order book: compared with the exchange's best prices 6 min 40 s ago",
        "careful: the order book changed for 6 min 00 s without being compared with the exchange's best prices: what "
        "is wrong in it is not noticed",
    ]


def test_before_a_segment_is_closed_an_order_book_says_its_trust() -> None:
    live = Live(state="syncing", records_waiting=47, trust="verified")
    assert live_text(workflow(live), live) == (
        "syncing, nothing proven yet, 3,120 stored, 47 on their way, 28/s, its book is verified"
    )


def test_a_handover_says_how_far_it_is_and_why_it_is_made() -> None:
    found = Handover(state="listening", reason="its image is older", asked_at="2024-08-01T00:00:00.000Z", attempt=3)
    told = handover_text("loader-ws-trades", found)
    assert told == "loader-ws-trades listening (attempt 3): its image is older"
    given_up = msgspec.structs.replace(found, state="given up", attempt=None, trouble="it was not ready within 300 s")
    assert handover_text("loader-ws-trades", given_up) == (
        "loader-ws-trades given up: its image is older; the one before: it was not ready within 300 s"
    )


def test_what_is_lost_is_told_and_not_called_complete_or_gone(capsys: pytest.CaptureFixture[str]) -> None:
    progress = answers.Progress(records_stored=3120, records_expected=3120)
    found = workflow(Live(state="ended"), status="finished", type="ws_orderbook", progress=progress)
    parts = [(0, 400, "stored", ""), (400, 600, "lost", "disconnect"), (600, 1000, "stored", "suspect: crossed")]
    segments = [
        data_answers.Segment(start="", end="", start_ms=start, end_ms=end, verdict=verdict, collection="c", cause=cause)
        for start, end, verdict, cause in parts
    ]
    loaded = Loaded(
        queue_id=found.queue_id,
        status="finished",
        time_range=found.time_range,
        records_expected=3120,
        records_stored=3120,
        records_there=0,
        coverage=segments,
        seconds=1.0,
        joined=False,
        behind_seconds=0.0,
        asked_range=None,
    )
    ended = Ended(workflow=found, loaded=loaded, interrupted=None, timed_out=False)
    assert not ended.gone
    tell(ended, Where(server="http://m"))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("finished in 1.0 s: 3,120 of 3,120 records stored, the rest is accounted for below")
    assert [line.split(": ", 1)[1] for line in lines] == [
        "c",
        "it happened while no loader listened, and cannot be loaded later (disconnect)",
        "c (suspect: crossed)",
    ]


def test_its_range_has_no_end_before_it_has_ended() -> None:
    live = Live(state="live")
    span = answers.TimeRange(requested="now:", start="", end="", start_ms=1_722_470_401_250, end_ms=1_722_470_402_000)
    found = workflow(live, time_range=span)
    assert (range_text(found), range_cell(found)) == ("live since 2024-08-01T00:00:01Z", "2024-08-01T00:00:01Z:")
    ended = workflow(live, time_range=span, ended_at="2024-08-01T00:00:03.500Z")
    assert range_text(ended) == "live since 2024-08-01T00:00:01Z until 2024-08-01T00:00:02Z"
    assert range_cell(ended) == "2024-08-01T00:00:01.250Z:2024-08-01T00:00:02Z"
    batch = batch_answers.BatchSummary(
        batch_id="b",
        status="running",
        type="ws_trades",
        time_range=span,
        symbols="*USDT",
        size=2,
        created_at="2024-08-01T00:00:00Z",
        counts=batch_answers.BatchCounts(),
        progress=batch_answers.BatchProgress(),
        links=batch_answers.BatchLinks(self="", members="", workflows=""),
    )
    assert (range_text(batch), range_cell(batch)) == ("live since 2024-08-01T00:00:01Z", "2024-08-01T00:00:01Z:")
    done = msgspec.structs.replace(batch, ended_at="2024-08-01T00:00:03.500Z")
    assert range_text(done) == "live since 2024-08-01T00:00:01Z until 2024-08-01T00:00:03Z"
    last = msgspec.structs.replace(batch, time_range=msgspec.structs.replace(span, requested=SINCE_LAST))
    assert range_text(last) == "live since last"
    assert range_text(msgspec.structs.replace(last, type="api_trades")) == "since last"


def test_what_begins_now_is_loaded_without_a_range() -> None:
    where = Where(server="http://m")
    assert load_command(("BTCUSDT", "ws_trades", "now:"), where).startswith("`streamforge load BTCUSDT ws_trades --")
    assert load_command(("BTCUSDT", "ws_trades", "-1d:"), where).startswith("`streamforge load BTCUSDT ws_trades -1d:")
    lacks = data_answers.Segment(start="", end="", start_ms=0, end_ms=86_400_000, verdict="unknown")
    known = data_answers.Coverage(
        symbol="BTCUSDT", type="ws_orderbook", span=None, complete=False, verdicts=[], segments=[lacks], loading=[]
    )
    assert rest(known, where).startswith(
        "what is past of it cannot be had; record it from now on with `streamforge load BTCUSDT ws_orderbook --"
    )
