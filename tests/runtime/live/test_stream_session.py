"""A series goes on over connections: back-off, rotation with overlap, and streams that are silent."""

from __future__ import annotations

import asyncio
import itertools
import weakref

import pytest

from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.stream import EndCause
from streamforge_utils.runtime.live import stream_session
from streamforge_utils.runtime.live.stream_session import HEALTHY_S, LONGEST_PAUSE_S, ROTATE_S, SETTLE_S, Overdue
from tests.runtime.session_stage import Stage, play, trade


def test_what_comes_is_heard_in_its_order_until_it_ends() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        assert one.streams == ("btcusdt@trade",)
        one.give(trade(1), trade(2))
        one.give(trade(3))
        await stage.clock.sleep(1)

    stage = play(act)
    assert (stage.ears.heard, stage.ears.interruptions, stage.session.rotations) == ([1, 2, 3], [0], 0)


def test_all_of_what_came_at_once_is_heard_also_behind_what_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_session, "TOGETHER", 2)

    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(1), b'{"stream":"btcusdt@trade",', *map(trade, range(2, 8)))
        two = await stage.connection(2)
        two.give(trade(8))
        await stage.clock.sleep(1)

    stage = play(act)
    assert stage.ears.heard == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (len(stage.ears.refused), stage.ears.interruptions) == (1, [0, 7])


def test_after_an_end_all_that_had_come_is_heard_and_another_connection_is_made() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(1))
        one.end()
        two = await stage.connection(2)
        two.give(trade(5))
        await stage.clock.sleep(1)

    stage = play(act)
    assert stage.ears.heard == [1, 5]
    assert stage.ears.interruptions == [0, 1]


@pytest.mark.usefixtures("uncollected")
def test_what_read_a_connection_is_in_no_cycle_once_it_has_ended() -> None:
    reading: list[weakref.ref[asyncio.Task[object]]] = []

    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        reading.extend(weakref.ref(task) for task in asyncio.all_tasks() if task.get_name() == "stream 1")
        one.end()
        await stage.connection(2)
        await stage.clock.sleep(1)
        assert [task() for task in reading] == [None]

    play(act)


def test_pauses_between_failures_double_up_to_a_limit_and_are_drawn_from_the_whole() -> None:
    async def act(stage: Stage) -> None:
        stage.stream.failures.extend(RetryableError("no route") for _ in range(8))
        await stage.connection(1)

    for draw in (1.0, 0.25):
        tried = play(act, draw=draw).stream.tried
        pauses = [round(after - before, 3) for before, after in itertools.pairwise(tried)]
        assert pauses == [draw * one for one in (1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S)]


def test_a_pause_is_as_long_as_the_other_side_asks_for_and_is_told() -> None:
    said: list[str | None] = []

    async def act(stage: Stage) -> None:
        stage.stream.failures.append(RetryableError("the limit of connects is reached", retry_after=120))
        await stage.clock.sleep(60)
        said.append(stage.waiting)
        await stage.connection(1)
        await stage.clock.sleep(1)
        said.append(stage.waiting)

    stage = play(act)
    tried = stage.stream.tried
    assert round(tried[1] - tried[0]) == 120
    assert stage.session.failure == "the limit of connects is reached"
    assert said == ["the exchange's streams: the limit of connects is reached", None]


def test_only_a_connection_that_lived_a_while_makes_the_next_pause_short_again() -> None:
    async def act(stage: Stage) -> None:
        for number, lived_s in enumerate((1, 1, 1, HEALTHY_S, 1), start=1):
            one = await stage.connection(number)
            await stage.clock.sleep(lived_s - one.age_s)
            one.end()
        await stage.connection(6)

    stage = play(act)
    ends = [one.made_at + lived for one, lived in zip(stage.stream.connections, (1, 1, 1, HEALTHY_S, 1), strict=False)]
    assert [round(t - e) for t, e in zip(stage.stream.tried[1:], ends, strict=True)] == [1, 2, 4, 1, 2]


def test_what_will_never_succeed_ends_it() -> None:
    async def act(stage: Stage) -> None:
        stage.stream.failures.append(PermanentError("its certificate is not trusted"))
        await stage.clock.sleep(60)

    with pytest.raises(PermanentError, match="certificate"):
        play(act)


def test_a_connection_that_gives_no_json_is_replaced() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(1), trade(2)[:-9], trade(3))
        await stage.connection(2)
        assert one.aborted

    stage = play(act)
    assert (stage.ears.heard, len(stage.ears.refused), stage.ears.interruptions) == ([1, 3], 1, [0, 2])


async def feed(stage: Stage, seconds: float, first: int = 1, step_s: float = 0.5) -> int:
    """Give every connection the same trades; returns the next id."""
    await stage.connection(1)
    until = stage.clock.monotonic() + seconds
    number = first
    while stage.clock.monotonic() < until:
        for one in stage.stream.live:
            one.give(trade(number))
        number += 1
        await stage.clock.sleep(step_s)
    return number


def test_a_connection_is_replaced_before_its_day_is_over_once_the_next_one_has_all_that_it_gave() -> None:
    async def act(stage: Stage) -> None:
        await feed(stage, ROTATE_S + 60, step_s=30)

    stage = play(act, draw=0.5)
    one, two = stage.stream.connections
    assert ROTATE_S * 0.98 < two.made_at - one.made_at < ROTATE_S
    assert one.aborted
    assert stage.session.rotations == 1
    assert stage.ears.interruptions == [0]
    assert sorted(set(stage.ears.heard)) == [*range(1, max(stage.ears.heard) + 1)]


def test_an_announced_end_is_not_waited_for() -> None:
    async def act(stage: Stage) -> None:
        following = await feed(stage, 5)
        stage.stream.connections[0].announced = True
        announced_at.append(stage.clock.monotonic())
        await feed(stage, 5, following)

    announced_at: list[float] = []
    stage = play(act)
    one, two = stage.stream.connections
    assert two.made_at - announced_at[0] <= 1.0
    assert one.aborted
    assert not two.announced
    assert stage.ears.interruptions == [0]
    assert sorted(set(stage.ears.heard)) == [*range(1, max(stage.ears.heard) + 1)]


def test_the_old_connection_is_kept_until_the_new_one_has_covered_it() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(10))
        one.announced = True
        two = await stage.connection(2)
        two.give(trade(13))
        await stage.clock.sleep(5)
        assert one.is_live()  # 11 and 12 may still come
        one.give(trade(11), trade(12))
        await stage.clock.sleep(1.1)
        assert not one.is_live()
        two.give(trade(14))
        await stage.clock.sleep(1)

    stage = play(act)
    assert stage.ears.heard == [10, 13, 11, 12, 14]
    assert stage.ears.interruptions == [0]


def test_an_end_before_the_new_connection_covers_it_is_an_interruption() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(10))
        one.announced = True
        two = await stage.connection(2)
        two.give(trade(13))
        one.end()
        await stage.clock.sleep(5)
        two.give(trade(14))
        await stage.clock.sleep(1)

    stage = play(act)
    assert stage.ears.heard == [10, 13, 14]
    assert stage.ears.interruptions == [0, 2]
    assert len(stage.stream.connections) == 2


@pytest.mark.parametrize("newer", [False, True])
def test_a_silent_symbol_is_switched_once_the_exchange_was_asked(newer: bool) -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(10))
        await stage.clock.sleep(20)
        stage.ears.has = newer
        one.announced = True
        await stage.connection(2)
        await stage.clock.sleep(SETTLE_S - 2)
        assert one.is_live()
        await stage.clock.sleep(4)
        assert not one.is_live()

    stage = play(act)
    assert stage.ears.asked == 1
    assert stage.ears.interruptions == [0, 1]  # what came just now is asked for
    assert len(stage.stream.connections) == 2


def test_a_new_connection_that_gives_nothing_is_not_switched_to() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.announced = True
        two = await stage.connection(2)
        for number in range(1, 90):
            one.give(trade(number))
            await stage.clock.sleep(1)
        assert one.is_live()
        assert two.aborted
        three = await stage.connection(3)
        one.give(trade(90))
        three.give(trade(90))
        await stage.clock.sleep(2)
        assert not one.is_live()

    stage = play(act)
    assert stage.ears.heard == [*range(1, 91), 90]
    assert stage.ears.interruptions == [0]


def test_a_stream_that_lacks_what_the_exchange_has_is_dead() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(1))
        stage.ears.has = True
        await stage.connection(2)
        assert 60 <= one.age_s < 70
        assert one.aborted

    stage = play(act)
    assert stage.ears.interruptions == [0, 1]


def test_a_stream_of_a_silent_market_lives_on_and_it_is_told_that_nothing_happens() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        for minutes in (1.5, 2, 4, 8, 8):  # at 1, 3, 7, 15 and 23 minutes
            await stage.clock.sleep(60 * minutes)
            asked.append(stage.ears.asked)
        said.append(stage.waiting)
        one.give(trade(1))
        await stage.clock.sleep(1)
        said.append(stage.waiting)
        await stage.clock.sleep(70)
        asked.append(stage.ears.asked)

    said: list[str | None] = []
    asked: list[int] = []
    stage = play(act)
    assert asked == [1, 2, 3, 4, 5, 6]
    assert said == ["BTCUSDT/trades: the exchange has nothing newer", None]
    assert len(stage.stream.connections) == 1


def test_what_arrives_while_the_exchange_is_asked_shows_that_the_stream_lives() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        stage.ears.has = True
        await stage.clock.sleep(61)
        one.give(trade(1))
        await stage.clock.sleep(10)
        assert one.is_live()

    assert play(act).ears.asked == 1


def test_an_exchange_that_does_not_answer_says_nothing_about_the_stream() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        stage.ears.has = RetryableError("HTTP 503")
        await stage.clock.sleep(150)
        assert one.is_live()
        assert stage.waiting is None or "nothing newer" not in stage.waiting

    assert play(act).ears.asked == 2


def test_messages_that_are_refused_do_not_count_as_heard() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        stage.ears.has = True
        for number in range(90):
            one.give(trade(number).replace(b'"q":"2"', b'"q":"0"'))
            await stage.clock.sleep(1)
        assert not one.is_live()

    assert play(act).ears.heard == []


def test_the_age_of_the_last_frame_grows_while_there_is_no_connection() -> None:
    ages: list[float | None] = []

    async def act(stage: Stage) -> None:
        ages.append(stage.session.frame_age_s)
        one = await stage.connection(1)
        await stage.clock.sleep(7)
        ages.append(stage.session.frame_age_s)
        stage.stream.failures += [RetryableError("refused")] * 50
        one.end(EndCause.SILENT)
        await stage.clock.sleep(90)
        ages.append(stage.session.frame_age_s)

    play(act)
    assert [None if age is None else round(age) for age in ages] == [None, 7, 97]


def test_where_one_stream_is_silent_another_connection_takes_over_without_a_gap() -> None:
    async def act(stage: Stage) -> None:
        one = await stage.connection(1)
        one.give(trade(1))
        stage.ears.owes = Overdue("btcusdt@other", stage.clock.monotonic())
        await stage.clock.sleep(60 - 2)
        assert len(stage.stream.connections) == 1
        two = await stage.connection(2, within_s=4)
        one.give(trade(2))
        two.give(trade(2))
        await stage.clock.sleep(2)
        assert stage.stream.live == [two]
        begun = stage.clock.monotonic()
        while len(stage.stream.connections) < 3:  # it is of no use: the next one is made later
            two.give(trade(2))
            await stage.clock.sleep(1)
        assert stage.clock.monotonic() - begun == pytest.approx(2 * 60, abs=5)

    stage = play(act)
    assert (stage.ears.heard[:2], stage.ears.interruptions, stage.session.rotations) == ([1, 2], [0], 1)
    assert stage.session.failure == "btcusdt@other said nothing for 120 s, though other streams show that it had to"
