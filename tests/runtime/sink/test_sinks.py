"""What a sink reads ahead, when it commits, and in which order it stores and refuses; without a bus and a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest
import structlog

from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Document, Outcome
from streamforge_utils.runtime.input.dead_letter_replay import Choice, ReplaySettings
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.sink import sinks
from streamforge_utils.runtime.sink.conversion import Converted
from streamforge_utils.runtime.sink.sinks import BATCHES_AT_ONCE, SinkParameters, store_input
from tests.runtime.rig import until

Letters = list[tuple[bytes, str]]


def plain(records: Sequence[Received]) -> Converted:
    """A record is its own document, an empty one is bad."""
    good = [Document((one.key or b"").decode(), 1, one.value) for one in records if one.value]
    return Converted(
        DocumentColumns.of(good), [(at, "it is empty") for at, record in enumerate(records) if not record.value]
    )


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "FULL_BATCH", 1)


class Sink:
    """A sink on what a test holds in its hand.

    batches: of the input. pause: what the input waits for behind the batch of that number. gates: what the store waits
    for before it answers for a key. taken: batches that were read. stored, letters, kept, commits: what was done, in
    order; commits: how many batches were kept at each. steps: all of these in one order.
    """

    def __init__(self, *batches: Sequence[Received], at_once: int = 1) -> None:
        self.batches = batches
        self.upserts_at_once = at_once
        self.parameters = SinkParameters(store_patience_seconds=7.0)
        self.kind = None
        self.placement = Placement("c")
        self.log = structlog.get_logger()
        self.choice = Choice(ReplaySettings(), "sink")
        self.input = self.store = self.dead_letters = self
        self.pause: dict[int, asyncio.Event] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.refusing: set[str] = set()
        self.taken = 0
        self.asking: list[list[str]] = []
        self.stored: list[list[str]] = []
        self.letters: Letters = []
        self.kept_batches: list[int] = []
        self.commits: list[int] = []
        self.steps: list[str] = []
        self.patience: set[float] = set()

    async def run(self) -> None:
        await store_input(cast("Context[SinkParameters]", self), plain)

    async def __aiter__(self) -> AsyncIterator[Sequence[Received]]:
        for number, batch in enumerate(self.batches):
            self.taken += 1
            yield batch
            if number in self.pause:
                await self.pause[number].wait()

    def kept(self, batch: Sequence[Received]) -> None:
        self.kept_batches.append(batch[0].offset)
        self.steps.append(f"kept {batch[0].offset}")

    async def commit(self) -> None:
        self.commits.append(len(self.kept_batches))
        self.steps.append(f"commit {len(self.kept_batches)}")

    async def upsert(self, collection: str, documents: Sequence[Document], *, patience_s: float) -> Sequence[Answer]:
        assert collection == self.placement.collection
        self.patience.add(patience_s)
        keys = [one.key for one in documents]
        self.asking.append(keys)
        for key in keys:
            if key in self.gates:
                await self.gates[key].wait()
        self.stored.append(keys)
        return [Answer(Outcome.REFUSED, f"no {k}") if k in self.refusing else Answer(Outcome.STORED) for k in keys]

    async def send(self, *refused: tuple[Received, str]) -> None:
        self.letters += [(received.value, reason) for received, reason in refused]
        self.steps += [f"letters {len(refused)}"] if refused else []


def batch(first: int, *keys: str) -> list[Received]:
    """Records whose value is their key; `!` is a bad one."""
    return [
        Received("t", 0, first + n, key.encode(), b"" if key == "!" else key.encode(), 0) for n, key in enumerate(keys)
    ]


@pytest.mark.parametrize(("at_once", "ahead"), [(1, BATCHES_AT_ONCE + 1), (2, BATCHES_AT_ONCE), (3, BATCHES_AT_ONCE)])
async def test_few_batches_are_read_ahead_of_a_store_that_does_not_answer(at_once: int, ahead: int) -> None:
    of = Sink(*(batch(n, f"k{n}") for n in range(12)), at_once=at_once)
    gate = asyncio.Event()
    of.gates = {f"k{n}": gate for n in range(12)}
    running = asyncio.create_task(of.run())
    await until(lambda: len(of.asking) == at_once, running)
    assert of.taken == ahead
    assert (of.stored, of.kept_batches) == ([], [])
    gate.set()
    await running
    assert of.stored == [[f"k{n}"] for n in range(12)]
    assert of.commits[-1] == 12
    assert of.patience == {7.0}


async def test_a_small_batch_is_stored_before_another_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is read at the same time, and waits; full ones before it are stored first."""
    monkeypatch.setattr(sinks, "FULL_BATCH", 2)
    of = Sink(batch(0, "a", "b"), batch(2, "c", "d"), batch(4, "e"), batch(5, "f"), batch(6, "g"))
    of.gates = {key: asyncio.Event() for key in "ace"}
    running = asyncio.create_task(of.run())
    await until(lambda: of.taken >= 3 and len(of.asking) == 1, running)
    assert of.taken == 3
    of.gates["a"].set()
    await until(lambda: len(of.asking) == 2, running)
    of.gates["c"].set()
    await until(lambda: len(of.asking) == 3, running)
    assert of.taken == 4
    of.gates["e"].set()
    await running
    assert of.stored == [["a", "b"], ["c", "d"], ["e"], ["f"], ["g"]]


async def test_what_is_kept_is_committed_while_the_input_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "COMMIT_EVERY_S", 0.001)
    of = Sink(batch(0, "a"), batch(1, "b"))
    of.pause[0] = asyncio.Event()
    running = asyncio.create_task(of.run())
    await until(lambda: bool(of.commits) and of.commits[-1] == 1, running)
    of.pause[0].set()
    await running
    assert of.steps[-1] == "commit 2", "and the last at the end"


async def test_while_nothing_comes_nothing_is_committed_and_what_comes_then_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "COMMIT_EVERY_S", 0.0)
    monkeypatch.setattr(sinks, "IDLE_LOOK_S", 3600.0)
    of = Sink(batch(0, "a"), batch(1, "b"))
    of.pause = {0: asyncio.Event(), 1: asyncio.Event()}
    running = asyncio.create_task(of.run())
    await until(lambda: bool(of.commits) and of.commits[-1] == 1, running)
    for _ in range(100):
        await asyncio.sleep(0)
    assert of.commits == [0, 1]
    of.pause[0].set()
    await until(lambda: of.commits[-1] == 2, running)
    of.pause[1].set()
    await running


async def test_refused_records_are_committed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "COMMIT_EVERY_S", 3600.0)
    of = Sink(batch(0, "a", "!", "b", "c"), batch(4, "d"), batch(5, "!"))
    of.refusing = {"b"}
    await of.run()
    assert of.letters == [(b"", "it is empty"), (b"b", "no b"), (b"", "it is empty")]
    assert of.stored == [["a", "b", "c"], ["d"]]
    assert [word for word in of.steps if word != "commit 0"] == [
        "letters 2",
        "kept 0",
        "commit 1",
        "kept 4",
        "letters 1",
        "kept 5",
        "commit 3",
        "commit 3",
    ]


async def test_letters_that_are_not_chosen_stay_and_only_what_is_before_them_is_committed() -> None:
    of = Sink(batch(0, "a"), batch(1, "b"), batch(2, "c", "d"), batch(4, "!"))
    ranges = (PartitionRange(0, 0, 1), PartitionRange(0, 3, 5))
    passed = (PartitionRange(0, 1, 2),)
    of.choice = Choice(ReplaySettings(on=True, letters=ranges, passed=passed), "sink")
    await of.run()
    assert (of.stored, of.letters) == ([["a"], ["d"]], [(b"", "it is empty")])
    assert [word for word in of.steps if word.startswith("kept")] == ["kept 0", "kept 1"], "the letter at 2 stays"


async def test_a_batch_with_no_key_of_those_before_is_stored_beside_them_and_counts_after_them() -> None:
    of = Sink(batch(0, "a"), batch(1, "b"), batch(2, "c"), at_once=2)
    of.gates["a"] = asyncio.Event()
    running = asyncio.create_task(of.run())
    await until(lambda: of.stored == [["b"]], running)
    assert (of.asking, of.kept_batches) == ([["a"], ["b"]], [])
    of.gates["a"].set()
    await running
    assert of.kept_batches == [0, 1, 2]


async def test_a_batch_with_a_key_of_one_before_waits_for_that_one_alone() -> None:
    of = Sink(batch(0, "a"), batch(1, "b"), batch(2, "b", "c"), batch(3, "d"), at_once=4)
    of.gates = {key: asyncio.Event() for key in ("a", "b")}
    running = asyncio.create_task(of.run())
    await until(lambda: len(of.asking) == 2, running)
    of.gates["b"].set()
    await until(lambda: of.stored == [["b"]], running)
    assert of.kept_batches == [], "the first one is not stored yet"
    of.gates["a"].set()
    await running
    assert of.stored[-2:] in ([["b", "c"], ["d"]], [["d"], ["b", "c"]])
    assert of.kept_batches == [0, 1, 2, 3]


async def test_a_failure_ends_the_sink_and_nothing_is_committed_after_it() -> None:
    of = Sink(batch(0, "a"), batch(1, "b"))

    async def fail(*_: object, **__: object) -> Sequence[Answer]:
        raise PermanentError("the store is of no use")

    of.upsert = fail  # type: ignore[method-assign]
    with pytest.raises(BaseExceptionGroup) as raised:
        await of.run()
    assert raised.group_contains(PermanentError, match="of no use")
    assert set(of.commits) <= {0}


async def test_a_batch_that_is_stored_behind_one_that_failed_does_not_count() -> None:
    of = Sink(batch(0, "a"), batch(1, "b"), at_once=2)
    stores, begun, failing = of.upsert, asyncio.Event(), asyncio.Event()

    async def fail_first(collection: str, documents: Sequence[Document], *, patience_s: float) -> Sequence[Answer]:
        if [one.key for one in documents] != ["a"]:
            return await stores(collection, documents, patience_s=patience_s)
        begun.set()
        await failing.wait()
        raise PermanentError("the store is of no use")

    of.upsert = fail_first  # type: ignore[method-assign]
    running = asyncio.create_task(of.run())
    await until(lambda: of.stored == [["b"]] and begun.is_set(), running)
    failing.set()
    with pytest.raises(BaseExceptionGroup):
        await running
    assert of.kept_batches == []
    assert set(of.commits) <= {0}


async def test_a_store_that_does_not_answer_for_each_document_is_an_error() -> None:
    of = Sink(batch(0, "a", "b"))

    async def short(*_: object, **__: object) -> Sequence[Answer]:
        return [Answer(Outcome.REFUSED, "no a")]

    of.upsert = short  # type: ignore[method-assign]
    with pytest.raises(BaseExceptionGroup) as raised:
        await of.run()
    assert raised.group_contains(ValueError)
    assert (of.letters, of.kept_batches) == ([], [])
