"""The input on polls that a test holds in its hand: ends, waits, what is left, how far is committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.model.topic_reading import Upstream
from streamforge_utils.ports.bus import BusAdmin, Consumer, Lag, Received
from streamforge_utils.runtime.input.worker_input import BATCH_RECORDS, Input
from tests.doubles.clock import FakeClock
from tests.doubles.instruments import instruments

TOPIC, GROUP = "wf-data", "wf-sink"
P0, P1 = 0, 1
AWAY = RetryableError("the bus is away")


def record(offset: int, partition: int = 0) -> Received:
    return Received(TOPIC, partition, offset, b"k", b"%d" % offset, 5)


def marker(
    offset: int, producer: str = "a", *, partition: int = 0, attempt: int = 1, reason: Any = "finished"
) -> Received:
    said = EndOfStream(producer=producer, attempt=attempt, records=0, reason=reason)
    return Received(TOPIC, partition, offset, EOS_KEY, encode_marker(said), 5)


class Reading:
    """An input. polls: what they give, in order; an error is raised. lags: what lag says, in order, the last for ever.

    asked: how each poll and each lag was asked. waits: what the progress said at each poll. errors: raised by the next
    commits.
    """

    def __init__(
        self,
        *polls: Sequence[Received] | Exception,
        lags: Sequence[int | Exception] = (0,),
        replay: bool = False,
        ended: Sequence[str] = (),
    ) -> None:
        self.polls = deque(polls)
        self.lags = deque(lags)
        self.errors: deque[Exception] = deque()
        self.asked: list[tuple[Any, ...]] = []
        self.waits: list[str | None] = []
        self.commits: list[Mapping[int, int]] = []
        self.clock = FakeClock()
        self.instruments = instruments(self.clock)
        self.progress, self.metrics = self.instruments.progress, self.instruments.metrics
        self.input = Input(
            cast("Consumer", self),
            cast("BusAdmin", self),
            TOPIC,
            GROUP,
            [] if replay else [Upstream("a", 1, "a" in ended), Upstream("b", 2, "b" in ended)],
            self.instruments,
            replay=replay,
        )

    async def poll(self, max_messages: int, timeout_s: float) -> Sequence[Received]:
        self.asked.append((max_messages, timeout_s))
        self.waits.append(self.progress.snapshot().waiting)
        found = self.polls.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    async def lag(self, topic: str, group: str) -> Lag:
        self.asked.append((topic, group))
        found = self.lags.popleft() if len(self.lags) > 1 else self.lags[0]
        if isinstance(found, Exception):
            raise found
        first = next((at[P0] for at in reversed(self.commits) if P0 in at), 0)
        return Lag(found, {0: (first, first + found)} if found else {})

    async def commit(self, offsets: Mapping[int, int]) -> None:
        if self.errors:
            raise self.errors.popleft()
        self.commits.append(dict(offsets))

    async def read(self) -> list[list[int]]:
        """The offsets of each batch, each of which is done at once."""
        found = []
        async for batch in self.input:
            found.append([message.offset for message in batch])
            await self.input.done(batch)
        return found

    def counted(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"streamforge_{name}", {"target": "sink"} | labels)


async def test_a_replay_reads_what_there_was_when_it_began_and_no_more() -> None:
    of = Reading([record(0), record(1)], [record(2), record(3)], lags=(3, 99), replay=True)
    assert await of.read() == [[0, 1], [2]]
    assert of.asked == [(TOPIC, GROUP), (BATCH_RECORDS, 1.0), (BATCH_RECORDS, 1.0)]
    assert of.commits == [{P0: 2}, {P0: 3}]
    assert of.input.drained is False
    assert (of.counted("batch_records_sum", direction="read"), of.counted("batch_records_count", direction="read")) == (
        3,
        2,
    )


@pytest.mark.parametrize("lag", [0, 1])
async def test_a_replay_of_little_ends_with_it(lag: int) -> None:
    of = Reading(*[[record(0)]] * lag, lags=(lag,), replay=True)
    assert await of.read() == [[0]] * lag


async def test_a_replay_that_is_given_nothing_fifteen_times_in_a_row_fails_and_says_what_is_left() -> None:
    nothing: list[Sequence[Received]] = [[]] * 14
    of = Reading(*nothing, [record(0)], *nothing, [record(1)], *nothing, [], lags=(9,), replay=True)
    with pytest.raises(RetryableError) as error:
        await of.read()
    assert str(error.value) == (
        f"{TOPIC}: the bus did not deliver the last 7 of 9 messages in 15 polls of 1 s each; they are kept, and the "
        "next attempt reads them"
    )
    assert of.waits == [None, *["records"] * 14, None, *["records"] * 14, None, *["records"] * 14]
    assert of.commits == [{P0: 1}, {P0: 2}], "what was delivered is stored"
    assert not of.polls


async def test_what_is_waited_for_is_told_and_trouble_is_told_and_counted() -> None:
    long = RetryableError("x" * 201)
    of = Reading([], long, AWAY, [], [marker(0)], [], [marker(1, "b", attempt=2)], lags=(0,))
    assert await of.read() == []
    both, one = "records or the end of stream of a, b", "records or the end of stream of b"
    assert of.waits == [None, both, "x" * 200, "the bus is away", both, None, one]
    assert of.progress.snapshot().waiting is None
    assert of.counted("retries_total", what="input") == 2


async def test_a_sink_that_has_drained_waits_for_nothing_any_more() -> None:
    of = Reading([], lags=(1, 0))
    of.input.drain(upstream_ended=True)
    assert await of.read() == []
    assert of.input.drained
    assert of.asked == [(TOPIC, GROUP), (BATCH_RECORDS, 1.0), (TOPIC, GROUP)], "it has waited once"
    assert of.progress.snapshot().waiting is None


@pytest.mark.parametrize("replay", [True, False])
async def test_a_lag_that_is_not_told_at_once_is_asked_for_again(replay: bool) -> None:
    of = Reading(*([[record(0)]] if replay else []), lags=(AWAY, AWAY, 1 if replay else 0), replay=replay)
    if not replay:
        of.input.drain(upstream_ended=True)
    assert await of.read() == ([[0]] if replay else [])
    assert of.counted("retries_total", what="input") == 2
    assert of.input.drained is not replay


async def test_a_marker_is_committed_past_while_another_producer_goes_on() -> None:
    """Else a topic at its cap keeps all that the others write: they would wait for the sink, and it for them."""
    of = Reading([record(0), marker(1), record(2)], [record(3), marker(4, "b", attempt=2), record(5)])
    assert await of.read() == [[0, 2], [3]]
    assert of.commits == [{P0: 3}, {P0: 4}], "the last marker is read again"


@pytest.mark.parametrize(
    ("polls", "ended", "lag", "batches"),
    [
        ([], ("a", "b"), 0, []),  # all was committed
        ([[record(0)], [record(1), marker(2, "b", attempt=2)]], ("a", "b"), 3, [[0], [1]]),
        ([[marker(0, "b", attempt=2), record(1)], [record(2)]], ("a",), 3, [[1], [2]]),  # what `a` wrote lies behind
        ([[record(0)], [record(1)], [marker(2, "b", attempt=2), record(3)]], ("a",), 1, [[0], [1]]),
        ([[], [marker(0, "b", attempt=2)]], ("a",), 0, []),
    ],
)
async def test_a_producer_that_had_ended_counts_once_all_that_the_topic_held_is_read(
    polls: list[Sequence[Received]], ended: tuple[str, ...], lag: int, batches: list[list[int]]
) -> None:
    of = Reading(*polls, lags=(lag,), ended=ended)
    assert await of.read() == batches
    assert not of.polls


@pytest.mark.parametrize(
    "passed_over",
    [
        marker(1, "b", attempt=1),
        marker(1, "c", attempt=9),
        marker(1, reason="interrupted"),
        Received(TOPIC, 0, 1, EOS_KEY, b"{}", 5),
    ],
)
async def test_other_markers_end_nothing_and_are_committed_past(passed_over: Received) -> None:
    of = Reading([record(0), passed_over, record(2)], [marker(3), record(4), marker(5, "b", attempt=3), record(6)])
    assert await of.read() == [[0, 2], [4]]
    assert of.commits == [{P0: 3}, {P0: 5}]


async def test_what_is_left_is_what_is_not_read_and_what_is_not_stored() -> None:
    of = Reading([record(0), record(1), record(2)], [record(3)], lags=(7,))
    batches = of.input.__aiter__()
    assert await of.input.left() == 7
    first = await anext(batches)
    assert await of.input.left() == 4 + 3
    of.input.kept(first)
    assert await of.input.left() == 4, "what is stored is not left, though it is not committed"
    await of.input.commit()
    of.lags = deque([4])
    assert await of.input.left() == 4
    second = await anext(batches)
    assert await of.input.left() == 3 + 1
    of.lags = deque([0])
    assert await of.input.left() == 1, "never less than what is read and not stored"
    of.input.kept(second)
    of.input.kept([])
    assert (await of.input.left(), of.progress.position) == (0, 3)


async def test_what_another_member_has_committed_since_it_was_read_is_not_left() -> None:
    """The partition was away, and came back further on: nothing of what is behind that is taken for read."""
    of = Reading([record(0), record(1)], [record(8)], lags=(10,))
    batches = of.input.__aiter__()
    of.input.kept(await anext(batches))
    of.commits.append({P0: 8})  # by another member
    of.lags = deque([2])
    assert await of.input.left() == 2
    await of.input.commit()  # of what was read before: dropped, the group has come further
    of.commits.append({P0: 8})
    second = await anext(batches)
    assert await of.input.left() == 1 + 1
    of.input.kept(second)
    assert await of.input.left() == 1


async def test_all_that_is_read_and_not_stored_is_left() -> None:
    of = Reading([record(0), record(1)], [record(2)], lags=(3,))
    batches = of.input.__aiter__()
    for _ in range(2):
        await anext(batches)
    assert await of.input.left() == 3


@pytest.mark.parametrize("ended", [True, False], ids=["the producers have ended", "both were interrupted"])
async def test_a_drained_input_ends_with_the_log(ended: bool) -> None:
    words = [] if ended else [marker(2, reason="interrupted"), marker(3, "b", attempt=2, reason="interrupted")]
    of = Reading([record(0)], [record(1), *words], lags=(2, 1, 0))
    of.input.drain(upstream_ended=ended)
    of.input.drain(upstream_ended=False)
    if not ended:
        of.lags = deque([4, 3, 0])
    assert await of.read() == [[0], [1]]
    assert of.input.drained is True


async def test_one_interrupted_producer_of_two_is_no_end_of_a_drained_input() -> None:
    first = [
        marker(0, reason="interrupted"),
        marker(1, "b", attempt=1),
        marker(2, "b", attempt=1, reason="interrupted"),
    ]
    of = Reading(first, [], [marker(3, "b", attempt=2, reason="interrupted")], lags=(0,))
    of.input.drain(upstream_ended=False)
    assert await of.read() == []
    assert not of.polls


async def test_the_lag_is_told() -> None:
    of = Reading(lags=(17,))
    await of.input.measure()
    assert (of.progress.lag, of.asked) == (17, [(TOPIC, GROUP)])
    of = Reading([record(0), marker(1, "b", attempt=2)], AWAY, lags=(1,))
    of.input.drain(upstream_ended=False)
    batch = await anext(aiter(of.input))
    await of.input.done(batch)
    await of.input.measure()
    assert of.progress.lag == 0, "a marker that was read is not committed, and no lag: the sink waits for another one"


async def test_what_is_kept_meanwhile_is_left_to_the_next_commit() -> None:
    of = Reading()
    of.errors = deque([AWAY, AWAY])
    of.input.kept([record(0)])
    committing = asyncio.create_task(of.input.commit())
    await asyncio.sleep(0)
    of.input.kept([record(1)])
    await committing
    assert of.commits == [{P0: 1}]
    assert of.counted("retries_total", what="input") == 2
    await of.input.commit()
    await of.input.commit()
    assert of.commits == [{P0: 1}, {P0: 2}], "nothing is committed twice"
    of.input.kept([record(2)])
    of.errors = deque([AWAY] * 1000)
    with pytest.raises(RetryableError):
        await of.input.commit()
    assert 50 < of.clock.monotonic() <= 61
