"""A load that joins a workflow which ends earlier, and a replay of dead letters, on a manager in this process."""

from __future__ import annotations

import itertools
import json
import re
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.commands.control_commands import dlq_list
from streamforge.cli.commands.load_commands import dlq_replay, load
from streamforge.cli.coverage_text import left_out, nothing_over
from streamforge.cli.follower import followed
from streamforge.cli.load_request import Request
from streamforge.cli.session import Where
from streamforge.manager.engine.document import Status
from streamforge.manager.use_cases import DeadLetter, Started, StartRequest
from streamforge.manager.workflows.series.model import Plan, loaded_series, planned_span
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from tests.cli.support import HOUR_MS, MINUTE_MS, serving, workflow_answer
from tests.manager.memory_service import NOW_MS, MemoryService
from tests.manager.support import changed, replace

NONE_OPENS = "no candle opens in this range"
NOTHING_OVER = "no candle of this range was over when the workflow was planned"
DAY = Request(symbol="BTCUSDT", type="api_candles_1h", time_range="-1d")
ASKED = TimeRange(NOW_MS - 24 * HOUR_MS, NOW_MS)
ASKED_FOR = "2024-08-01T12:00Z:2024-08-02T12:00Z"
LEFT_OUT = "2024-08-02T11:00Z to 2024-08-02T12:00Z"


class Joining(MemoryService):
    """The first `left` requests join a workflow that ends an hour before what is asked for; every workflow ends at
    once, the joined ones as `ends`. planned: the joined one has its plan already; else it is made at its end, and only
    that says how far it reaches."""

    left = 1
    ends = Status.FINISHED
    planned = True

    @classmethod
    async def of(cls, **how: Any) -> Joining:
        service = await cls.made()
        vars(service).update(how, requests=list[StartRequest]())
        return service

    requests: list[StartRequest]

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        self.requests.append(request)
        self.left -= 1
        if self.left >= 0:
            earlier_s = 3600 if self.planned else 0
            self.clock.advance(-earlier_s)
            self.exchange.now_ms -= earlier_s * 1000
            one = (await super().start(request)).workflow
            if self.planned:
                await self.put(changed(one, plan=_plan(one.span.end_ms)))
            self.clock.advance(earlier_s)
            self.exchange.now_ms += earlier_s * 1000
        started = await super().start(request, idempotency_key=idempotency_key)
        one = started.workflow
        if started.joined and not self.planned and self.ends is Status.FINISHED:
            await self.put(one := changed(one, plan=_plan(one.span.end_ms - HOUR_MS)))
        span = planned_span(one) or one.span
        stored = Segment(start_ms=span.start_ms, end_ms=span.end_ms, verdict=Verdict.STORED, collection=one.collection)
        await self.know(loaded_series(one), [stored])
        if self.ends is not Status.RUNNING:
            await self.end(one.queue_id, self.ends if started.joined else Status.FINISHED)
        return started


def _plan(until_ms: int) -> Plan:
    return Plan(exchange_now_ms=until_ms, until_ms=until_ms, bars=23)


async def loaded(service: MemoryService, **how: Any) -> tuple[int, Where]:
    async with serving(service) as where:
        return await load(DAY.symbol, DAY.type, DAY.time_range, where=where, **how), where


@pytest.mark.parametrize("planned", [True, False])
async def test_what_the_joined_workflow_left_out_is_loaded_by_a_second_one(
    capsys: pytest.CaptureFixture[str], planned: bool
) -> None:
    service = await Joining.of(planned=planned)
    code, _ = await loaded(service, as_json=True)
    out, err = capsys.readouterr()
    first, second = await service.ids()
    assert (code, [one.time_range for one in service.requests]) == (0, ["-1d", ASKED_FOR])
    assert f"{first} has finished; what it left out, {LEFT_OUT}, is loaded now\n" in err
    open_end = "; what it leaves out until 2024-08-02T12:00Z, if anything, is loaded once it has ended\n"
    assert (f"{first} is under way already; waiting for it: " in err, open_end in err) == (True, not planned)
    assert err.index("is loaded now") < err.index(f"{second}: BTCUSDT api_candles_1h 2024-08-01T12:00Z to")
    told = json.loads(out)
    assert (told["queue_id"], told["status"], told["joined"], told["asked_range"]) == (second, "finished", False, None)
    assert (told["time_range"]["start_ms"], told["time_range"]["end_ms"]) == (ASKED.start_ms, ASKED.end_ms)


async def test_since_last_tells_the_holes_that_it_loads_and_that_nothing_is_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = await Joining.of(left=0)
    series = Series("BTCUSDT", "candles", "1h")

    def hours(first: int, last: int, verdict: Verdict = Verdict.STORED) -> Segment:
        collection = "c" if verdict is Verdict.STORED else None
        start_ms, end_ms = NOW_MS - first * HOUR_MS, NOW_MS - last * HOUR_MS
        return Segment(start_ms=start_ms, end_ms=end_ms, verdict=verdict, collection=collection)

    lost = hours(40, 39, Verdict.OURS)
    async with serving(service) as where:
        with pytest.raises(
            UsageProblem,
            match="give a start with `--from START`, as in `streamforge load BTCUSDT "
            r"api_candles_1h --since last --from 2024-08-01 --server ",
        ):
            await load(DAY.symbol, DAY.type, where=where, since="last")
    await service.know(series, [lost, hours(24, 5), hours(5, 4, Verdict.OURS), hours(4, 3)])
    async with serving(service) as where:
        assert await load(DAY.symbol, DAY.type, where=where, since="last") == 0
        err = capsys.readouterr().err
        assert "loaded again, as it is missing before what is new: 2024-08-02T07:00Z to 2024-08-02T08:00Z (ours)" in err
        missing = "2024-07-31T20:00Z to 2024-07-31T21:00Z (ours); load it with `streamforge load BTCUSDT api_candles_1h"
        assert f"missing too, and not loaded by this: {missing}" in err
        assert await load(DAY.symbol, DAY.type, where=where, since="last") == 0
        out, err = capsys.readouterr()
        told = "BTCUSDT api_candles_1h is up to date: known until 2024-08-02T12:00Z, nothing after that is over yet"
        assert out == f"{told}; nothing was started\n"
        assert missing in err
        assert await load(DAY.symbol, DAY.type, where=where, since="last", dry_run=True) == 0
        assert capsys.readouterr().out == f"{told}; nothing was started\n"
        assert await load(DAY.symbol, DAY.type, where=where, since="last", as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "up-to-date"
    assert len(await service.ids()) == 1


@pytest.mark.parametrize(
    ("time_range", "options", "told"),
    [
        (None, {}, "a range is missing"),
        ("2024", {"since": "last"}, "give one of them"),
        ("2024", {"first": "2024"}, "--from is for --since last"),
        (None, {"since": "2024", "first": "2024"}, "--from is for --since last"),
        (None, {"since": "lsat"}, "--since 'lsat' is no instant before now: write `last`"),
        (None, {"since": "last", "first": "2999"}, "--from '2999' is no instant before now"),
    ],
)
async def test_a_load_of_two_ranges_or_of_none_is_refused_before_anything_is_asked(
    time_range: str | None, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageProblem, match=re.escape(told)):
        await load("BTCUSDT", "api_candles_1m", time_range, where=Where(server="http://nobody.invalid"), **options)


@pytest.mark.e2e
async def test_what_is_left_out_of_a_load_of_all_is_loaded_even_if_it_is_stored() -> None:
    service = await Joining.of()
    code, _ = await loaded(service, again=True)
    asked = [(one.time_range, one.again) for one in service.requests]
    assert (code, asked) == (0, [("-1d", True), ("2024-08-02T11:00Z:2024-08-02T12:00Z", True)])
    with pytest.raises(CliError, match=r" 2024-08-02T11:00Z:2024-08-02T12:00Z --again --server "):
        await loaded(await Joining.of(ends=Status.INTERRUPTED), again=True)


async def test_whose_time_is_over_is_told_how_the_rest_is_loaded() -> None:
    service = await Joining.of(ends=Status.RUNNING)
    with pytest.raises(CliError) as error:
        await loaded(service, timeout_s=0.1)
    [first] = await service.ids()
    assert str(error.value).startswith("the time is over; the manager at ")
    assert (
        f"; {first} leaves out a part of what was asked for: {LEFT_OUT} is loaded, once it has ended, by "
        f"`streamforge load BTCUSDT api_candles_1h {ASKED_FOR} --server "
    ) in str(error.value)


async def test_whose_time_went_by_before_the_joined_workflow_ended_is_told_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, seconds = await Joining.of(), itertools.count(step=100)
    monkeypatch.setattr("streamforge.cli.commands.load_commands.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with pytest.raises(CliError, match=f"has finished, without {LEFT_OUT}: `streamforge load "):
        await loaded(service, timeout_s=50)
    assert len(service.requests) == 1


async def test_who_interrupts_or_runs_out_of_time_as_the_joined_workflow_ends_loads_no_rest() -> None:
    async with serving(await Joining.of()) as where:
        ended = await followed(where, DAY.start)
    assert ended.rest == ASKED_FOR
    assert msgspec.structs.replace(ended, interrupted=130).rest is None
    assert msgspec.structs.replace(ended, timed_out=True).rest is None


async def test_one_that_failed_is_told_and_nothing_is_loaded_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    service = await Joining.of(ends=Status.INTERRUPTED)
    with pytest.raises(CliError, match="ended as interrupted, somebody else stopped it") as error:
        await loaded(service, as_json=True)
    assert f": {LEFT_OUT} is loaded by `streamforge load BTCUSDT api_candles_1h {ASKED_FOR} " in str(error.value)
    told = json.loads(capsys.readouterr().out)
    assert (len(service.requests), told["joined"], told["asked_range"]) == (1, True, ASKED_FOR)


@pytest.mark.e2e
async def test_who_joins_again_and_again_is_told_what_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    service = await Joining.of(left=9)
    with pytest.raises(CliError) as error:
        await loaded(service)
    last = (await service.ids())[-1]
    assert str(error.value).startswith(f"{last} has finished, without {LEFT_OUT}: ")
    assert f": `streamforge load BTCUSDT api_candles_1h {ASKED_FOR} --server " in str(error.value)
    assert (len(service.requests), error.value.exit_code) == (4, 1)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
async def test_detached_it_says_what_is_left_out_and_the_command_that_loads_it(
    capsys: pytest.CaptureFixture[str], as_json: bool, planned: bool
) -> None:
    service = await Joining.of(ends=Status.RUNNING, planned=planned)
    code, where = await loaded(service, detach=True, as_json=as_json)
    out, err = capsys.readouterr()
    [first] = await service.ids()
    command = f"streamforge load BTCUSDT api_candles_1h {ASKED_FOR} --server {where.server}"
    assert code == 0
    leaves, part = "leaves", LEFT_OUT
    if not planned:
        leaves, part = "has no plan yet and may leave", "that"
    assert (
        f"{first} {leaves} out a part of what was asked for: {part} is loaded, once it has ended, by `{command}`\n"
        in err
    )
    if not as_json:
        assert out == f"{first}\n"
        return
    told = json.loads(out)
    behind_s = 3600.0 if planned else 0.0
    assert (told["joined"], told["behind_seconds"], told["asked_range"]) == (True, behind_s, ASKED_FOR)
    assert told["time_range"]["end_ms"] == NOW_MS - behind_s * 1000


def test_a_part_in_which_no_candle_opens_is_not_left_out() -> None:
    """An end inside a candle is the end of all that there is, as that candle opens before it."""
    workflow = workflow_answer(
        span=("-1h", ASKED.start_ms + 30_000, ASKED.end_ms + 30_000),
        joined=True,
        asked_range="2024-08-02T11:00:40Z:2024-08-02T12:01Z",
    )
    assert left_out(workflow) is None
    more = msgspec.structs.replace(workflow, asked_range="2024-08-02T11:00:40Z:2024-08-02T12:03Z")
    assert left_out(more) == TimeRange(NOW_MS + MINUTE_MS, NOW_MS + 3 * MINUTE_MS)
    days = msgspec.structs.replace(workflow, type="api_candles_3d")  # of which the grid is not known here
    assert left_out(days) == TimeRange(NOW_MS + 30_000, NOW_MS + MINUTE_MS)


@pytest.mark.parametrize(
    ("requested", "type", "start_ms", "told"),
    [
        ("2024-08-02T12:10Z:2024-08-02T12:15Z", "api_candles_1h", NOW_MS + 10 * MINUTE_MS, NONE_OPENS),
        ("-5min", "api_candles_1h", NOW_MS + 10 * MINUTE_MS, NONE_OPENS),
        ("2024-08-02T12:10Z:2024-08-03", "api_candles_1h", NOW_MS + 10 * MINUTE_MS,
         f"{NOTHING_OVER}, the first one ends at 2024-08-02T14:00Z: load it then with `streamforge load BTCUSDT "
         "api_candles_1h 2024-08-02T12:10Z:2024-08-03 --server http://m`"),
        ("-15min", "api_candles_1h", NOW_MS,
         f"{NOTHING_OVER}, the first one ends at 2024-08-02T13:00Z: load it then with `streamforge load BTCUSDT "
         "api_candles_1h 2024-08-02T12:00Z:2024-08-02T13:00Z --server http://m`"),
        # The first one opened a second before it was made: perhaps after it was asked for.
        ("-30s", "api_candles_5m", NOW_MS + 14 * MINUTE_MS + 45_000, NOTHING_OVER),
        ("-5d", "api_candles_3d", NOW_MS, NOTHING_OVER),
        ("the day before", "api_candles_1h", NOW_MS, NOTHING_OVER),
        ("-1s", "api_trades", NOW_MS, "nothing of this range was over when the workflow was planned"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_range_of_which_nothing_is_over_is_true(
    requested: str, type: str, start_ms: int, told: str
) -> None:
    workflow = workflow_answer(span=(requested, start_ms, start_ms), type=type, created_at="2024-08-02T12:15:01Z")
    assert nothing_over(workflow, Where(server="http://m")) == told


LETTER = DeadLetter(
    topic="t",
    partition=0,
    offset=17,
    attempt=2,
    reason="candle BTCUSDT_1m_1: a number is not finite",
    time_ms=1_722_470_400_000,
    key=b"BTCUSDT_1m_1",
    value=b'{"open": "nan", "padding": "' + b"x" * 100 + b'"}',
)


async def ended(service: MemoryService) -> str:
    workflow, *_ = await service.start(StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01"))
    plan = Plan(exchange_now_ms=NOW_MS)
    await service.put(changed(workflow, status=Status.FINISHED, ended_ms=NOW_MS, plan=plan))
    await service.refuse(workflow, [LETTER])
    return workflow.queue_id


async def test_letters_are_listed_with_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    queue_id = await ended(service)
    async with serving(service) as where:
        assert await dlq_list(queue_id, where, limit=10, as_json=False) == 0
        out, err = capsys.readouterr()
        assert await dlq_list(queue_id, where, limit=10, as_json=True) == 0
        found = json.loads(capsys.readouterr().out)
    row = out.splitlines()[2]
    assert row.split()[:2] == ["17", "2"]
    assert "candle BTCUSDT_1m_1: a number is not finite" in row
    assert '{"open": "nan"' in row
    assert "x" * 100 not in out
    assert err == f"1 dead letter; once the cause is gone: streamforge dlq replay {queue_id} --server {where.server}\n"
    assert found["dead_letters"][0]["value"] == LETTER.value.decode()


async def test_a_replay_can_be_left_to_the_manager(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    queue_id = await ended(service)
    async with serving(service) as where:
        assert await dlq_replay(queue_id, where, detach=True) == 0
    assert capsys.readouterr().out == f"{queue_id}\n"
    assert (await service.get(queue_id)).status is Status.PENDING


async def test_letters_are_chosen_by_their_offset(capsys: pytest.CaptureFixture[str]) -> None:
    service = await MemoryService.made()
    queue_id = await ended(service)
    await service.refuse(await service.get(queue_id), [replace(LETTER, offset=18)])
    async with serving(service) as where:
        assert await dlq_list(queue_id, where, limit=1, as_json=False) == 0
        assert f"there are more: streamforge dlq list {queue_id} --after 0:1" in capsys.readouterr().err
        assert await dlq_list(queue_id, where, limit=10, after="0:1", as_json=False) == 0
        assert capsys.readouterr().out.splitlines()[2].split()[0] == "18"
        assert await dlq_list(queue_id, where, limit=10, after="0:2", as_json=False) == 0
        assert capsys.readouterr().err == f"{queue_id} has no more dead letters\n"
        with pytest.raises(UsageProblem, match="no dead letter with offset 19"):
            await dlq_replay(queue_id, where, offsets=[18, 19], detach=True)
        assert await dlq_replay(queue_id, where, offsets=[18], detach=True) == 0
    assert [one.letters for one in (await service.get(queue_id)).steps if one.replay] == [("0:1:2",)]
