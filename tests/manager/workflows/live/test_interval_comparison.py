"""The ledger of an order book's workflow: it claims what its loader told and the store has, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.execution.verifier import Verifier, verify
from streamforge.manager.retention.service import RecordRemoval
from streamforge.manager.use_cases import Verification
from streamforge.manager.workflows.live import interval_comparison
from streamforge.manager.workflows.live.interval_comparison import comparison_of
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.series.model import loaded_series
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.books.trust import Standing, Trust
from streamforge_utils.model.completeness.continuity import MOST_TURNED
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role
from tests.manager.support import with_attempt
from tests.manager.workflows.live.interval_rig import (
    AWAITING,
    SUSPECTED,
    VERIFIED,
    C,
    Rig,
    a_rig,
    at,
    counted,
)

BEYOND = Standing(Trust.UNVERIFIABLE, "out of band")


@pytest.fixture(params=["segments", "collection"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Diffs are in segments, or in the collection."""
    return await a_rig(tmp_path if request.param == "segments" else None)


async def test_it_is_proven_as_far_as_the_diffs_are_stored_that_are_told(rig: Rig) -> None:
    assert await rig.step() == []
    await rig.books.hear(1, 2, 3)
    assert await rig.step() == []
    assert (rig.ledger.from_ms, rig.ledger.span) == (at(1), None)
    await rig.books.keep()
    assert await rig.step() == [(1, 4, "stored", "")]
    assert (rig.ledger.proven_ms, rig.ledger.proven_id) == (at(3) + 1, 3)
    await rig.books.hear(4, 5, told=False)
    await rig.books.keep()
    assert (await rig.step(), rig.ledger.proven_id) == ([(1, 4, "stored", "")], 3)
    await rig.books.hear(6)
    assert (await rig.step(), rig.ledger.proven_id) == ([(1, 5, "stored", "")], 4)
    await rig.books.keep()
    assert (await rig.step(), rig.ledger.proven_id) == ([(1, 7, "stored", "")], 6)
    assert counted(await rig.world.deps.coverage.of(loaded_series(rig.workflow))) == 6
    assert (rig.ledger.verified_ms, rig.ledger.clean_ms, rig.ledger.lost_ms) == (501, 0, 0)


async def test_a_gap_is_lost_with_its_cause_for_ever_and_no_hole(rig: Rig) -> None:
    await rig.books.hear(1, 2, 3)
    await rig.books.end("disconnect")
    await rig.books.hear(8, 9)
    await rig.books.keep()
    assert await rig.step() == [(1, 4, "stored", ""), (4, 8, "lost", "disconnect"), (8, 10, "stored", "")]
    assert (rig.ledger.proven_id, rig.ledger.open_holes, rig.ledger.lost_ms) == (9, 0, 499)
    assert await rig.step() == [(1, 4, "stored", ""), (4, 8, "lost", "disconnect"), (8, 10, "stored", "")]


async def test_a_young_gap_waits_for_what_may_come_late(rig: Rig) -> None:
    await rig.books.hear(901, 902)
    await rig.books.end("sequence gap")
    await rig.books.hear(910)
    await rig.books.keep()
    assert await rig.step() == [(901, 903, "stored", "")]
    rig.books.ledger.late(905, 906, at(906))
    await rig.books.tell()
    await rig.books.replay(905, 906)
    rig.wait(60)
    assert [one[2:] for one in await rig.step()] == [
        ("stored", ""),
        ("lost", "sequence gap"),
        ("stored", "suspect: sequence gap"),
        ("lost", "sequence gap"),
        ("stored", ""),
    ]


async def test_trust_is_told_apart_and_summed_up(rig: Rig) -> None:
    rig.books.ledger.standing = AWAITING
    await rig.books.hear(1, 2)
    rig.books.ledger.standing = VERIFIED
    await rig.books.hear(3, 4, 5)
    rig.books.ledger.standing = SUSPECTED
    await rig.books.hear(6)
    await rig.books.keep()
    assert await rig.step() == [
        (1, 3, "stored", "unverifiable: awaiting snapshot"),
        (3, 6, "stored", ""),
        (6, 7, "stored", "suspect: sequence gap"),
    ]
    assert (rig.ledger.verified_ms, rig.ledger.clean_ms, rig.ledger.lost_ms) == (300, 101, 0)


async def test_where_the_loader_changes_its_mind_the_coverage_does_and_keeps_its_counts(rig: Rig) -> None:
    await rig.books.hear(1, 2, 3)
    mark = rig.books.ledger.mark()
    await rig.books.hear(4, 5)
    await rig.books.keep()
    assert await rig.step() == [(1, 6, "stored", "")]
    rig.books.ledger.turn_since(mark, SUSPECTED)
    await rig.books.tell()
    assert await rig.step() == [(1, 4, "stored", ""), (4, 6, "stored", "suspect: sequence gap")]
    await rig.books.hear(6, 7)
    await rig.books.keep()
    assert await rig.step() == [(1, 4, "stored", ""), (4, 8, "stored", "suspect: sequence gap")]
    assert [one.records for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [3, 4]
    rig.books.ledger.turn_since(mark, AWAITING)
    await rig.books.tell()
    assert await rig.step() == [(1, 4, "stored", ""), (4, 8, "stored", "unverifiable: awaiting snapshot")]
    assert [one.records for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [3, 4]
    assert [one.last_id for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [3, 7]


@pytest.mark.parametrize("more", [0, 3])
async def test_where_the_loader_doubts_what_has_ended_the_coverage_does_and_keeps_its_counts(
    rig: Rig, more: int
) -> None:
    await rig.books.hear(1, 2, 3)
    mark = rig.books.ledger.mark()
    await rig.books.hear(4, 5)
    await rig.books.keep()
    for first in range(6, last := 6 + 3 * MOST_TURNED, 3):  # the price leaves what the snapshot knew, and comes back
        rig.books.ledger.standing = BEYOND if first % 2 == 0 else Standing(Trust.VERIFIED, "", 1)
        await rig.books.hear(first, first + 1, first + 2)
        if first % 4 == 0:
            await rig.books.keep()
            await rig.step()
    await rig.books.keep()
    assert (await rig.step())[0] == (1, 6, "stored", "")
    assert rig.ledger.proven_id == last - 1
    rig.books.ledger.doubt_since(mark, SUSPECTED)
    await rig.books.hear(*range(last, last + more))
    await rig.books.tell()
    await rig.books.keep()
    last += more
    assert await rig.step() == [(1, 4, "stored", ""), (4, last, "stored", "suspect: sequence gap")]
    rig.books.ledger.standing = Standing(Trust.VERIFIED, "", last)
    await rig.books.hear(last)
    await rig.books.keep()
    expected = [
        (1, 4, "stored", ""),
        (4, last, "stored", "suspect: sequence gap"),
        (last, last + 1, "stored", ""),
    ]
    assert await rig.step() == expected
    assert await rig.step() == expected
    assert [one.records for one in await rig.world.deps.coverage.of(loaded_series(rig.workflow))] == [3, last - 4, 1]


async def test_what_no_stored_book_shows_is_not_called_verified(rig: Rig) -> None:
    await rig.books.hear(1, 2, backed=False)
    await rig.books.keep()
    assert await rig.step() == []  # it may have its book any moment
    await rig.books.end("disconnect")
    await rig.books.hear(4)
    await rig.books.keep()
    assert await rig.step() == [
        (1, 3, "stored", "unverifiable: no whole book of it is stored"),
        (3, 4, "lost", "disconnect"),
        (4, 5, "stored", ""),
    ]


async def test_a_diff_that_the_store_has_not_is_unknown_until_its_dead_letter_is_read_again(rig: Rig) -> None:
    await rig.books.hear(1, 2, 3, 4, 5, 6)
    await rig.books.keep(3, 4)
    found = await rig.step()
    assert [one[2] for one in found] == ["stored", "unknown", "stored"]
    assert (rig.ledger.open_holes, rig.ledger.proven_ms) == (1, at(2) - 1)
    assert [(one.first_id, one.last_id) for one in rig.ledger.holes] == [(3, 4)]
    await rig.books.replay(3)
    await rig.step()
    assert [(one.first_id, one.last_id) for one in rig.ledger.holes] == [(4, 4)]
    await rig.books.replay(4)
    assert await rig.step() == [(1, 7, "stored", "")]
    assert (rig.ledger.open_holes, rig.ledger.proven_id) == (0, 6)


async def test_a_damaged_segment_proves_nothing(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    await rig.books.hear(1, 2)
    await rig.books.keep()
    await rig.books.hear(3, 4)
    await rig.books.keep()
    content = tmp_path / "depth/BTCUSDT/000000000001.jsonl.gz"
    content.write_bytes(content.read_bytes()[:-9])
    assert [one[2] for one in await rig.step()] == ["unknown", "stored"]


async def test_a_segment_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    await rig.books.hear(1, 2)
    await rig.books.keep()
    (tmp_path / "depth/BTCUSDT/000000000001.json").unlink()
    assert await rig.step() == []


async def test_a_stop_closes_it_and_what_a_killed_loader_left_untold_is_unverifiable(rig: Rig) -> None:
    await rig.books.hear(1, 2)
    await rig.books.hear(3, 4, told=False)
    await rig.books.keep()
    assert await rig.step(close=True) == [(1, 3, "stored", ""), (3, 5, "stored", "unverifiable: loader ended")]
    assert rig.ledger.end_ms == at(4) + 1
    ledger, segments = await comparison_of(rig.world.deps, rig.workflow, rig.ledger, close=True).closed()
    assert (ledger.end_ms, [one.verdict for one in segments]) == (at(4) + 1, [Verdict.STORED] * 2)


async def test_what_was_told_and_did_not_come_to_the_store_is_unknown_at_the_end(rig: Rig) -> None:
    await rig.books.hear(1, 2)
    await rig.books.keep()
    await rig.books.hear(3, 4)
    await rig.books.end("stopped")
    found = await rig.step(close=True)
    assert [one[2] for one in found] == ["stored", "unknown"]
    assert rig.ledger.open_holes == 1


@pytest.mark.parametrize(
    ("begun", "becomes"), [(400, ("lost", "loader ended")), (900, ("unknown", "its loader tells nothing of it"))]
)
async def test_what_lies_between_two_attempts_is_lost_also_where_the_first_told_nothing(
    rig: Rig, begun: int, becomes: tuple[str, str]
) -> None:
    loader = next(one.target for one in rig.workflow.steps if one.role is Role.LOADER)
    rig.workflow = with_attempt(rig.workflow, loader, planned_ms=at(begun))
    await rig.books.hear(101, 102)
    await rig.books.restart()
    await rig.books.hear(600, 601)
    await rig.books.keep()
    assert await rig.step() == [(101, 103, "stored", ""), (103, 600, *becomes), (600, 602, "stored", "")]


async def test_what_a_killed_loader_has_left_untold_is_unverifiable_where_its_topic_was_trimmed(rig: Rig) -> None:
    await rig.books.hear(101, 102)
    await rig.books.hear(103, 104, told=False)
    await rig.books.restart()
    rig.books.ledger.standing = Standing(Trust.UNVERIFIABLE, "loader ended")
    await rig.books.hear(105, 106)  # the next one finds the last of them alone
    await rig.books.end("loader ended")
    rig.books.ledger.standing = VERIFIED
    await rig.books.hear(600, 601)
    await rig.books.keep()
    found = [(103, 107, "stored", "unverifiable: loader ended"), (107, 600, "lost", "loader ended")]
    assert await rig.step() == [(101, 103, "stored", ""), *found, (600, 602, "stored", "")]
    assert counted(await rig.world.deps.coverage.of(loaded_series(rig.workflow))) == 8


async def test_a_workflow_before_it_in_the_same_collection_is_not_its_own(rig: Rig) -> None:
    rig.ledger = Ledger(stream_ms=at(100))
    await rig.books.hear(1, 2)
    await rig.books.keep()
    await rig.books.restart()
    await rig.books.hear(101, 102)
    await rig.books.keep()
    assert await rig.step() == [(101, 103, "stored", "")]
    assert rig.ledger.from_ms == at(101)


async def test_steps_are_bounded_and_come_to_the_same(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval_comparison, "INTERVALS_A_STEP", 2)
    monkeypatch.setattr(interval_comparison, "LINKS_A_STEP", 3)
    monkeypatch.setattr(interval_comparison, "DOCUMENTS_A_STEP", 3)
    for first in range(1, 41, 10):
        await rig.books.hear(*range(first, first + 4))
        await rig.books.keep()
        await rig.books.hear(*range(first + 4, first + 8))
        await rig.books.keep()
        await rig.books.end("disconnect")
    steps, found = 0, await rig.step()
    while rig.ledger.behind:
        steps, found = steps + 1, await rig.step()
    assert steps >= 3
    assert [one[2] for one in found] == ["stored", "lost"] * 3 + ["stored"]
    assert counted(await rig.world.deps.coverage.of(loaded_series(rig.workflow))) == 32
    assert rig.ledger.entry_id == 31


async def test_no_more_is_read_than_what_is_new(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    for first in range(1, 201, 10):
        await rig.books.hear(*range(first, first + 10))
        await rig.books.keep()
    await rig.step()
    await rig.books.hear(201, 202)
    await rig.books.keep()
    objects, read = rig.world.deps.objects, list[str]()
    assert objects is not None
    get = objects.get

    def counting(name: str, **more: int) -> object:
        read.append(name)
        return get(name, **more)

    objects.get = counting  # type: ignore[method-assign, assignment]
    await rig.step()
    assert rig.ledger.proven_id == 202
    assert len(read) <= 6
    assert "depth/BTCUSDT/000000000201.jsonl.gz" in read


async def test_the_exchange_is_asked_for_the_status_where_nothing_comes(rig: Rig) -> None:
    await rig.books.hear(1, 2)
    await rig.books.keep()
    rig.heard(5)
    await rig.step(quiet=True)
    assert rig.ledger.asked_ms == 0
    rig.heard(2)
    await rig.step(quiet=True)
    assert rig.ledger.asked_ms == rig.world.clock.now_ms()


async def test_what_is_there_is_verified_when_it_is_asked_for_and_not_by_itself(rig: Rig) -> None:
    await rig.books.hear(1, 2)
    await rig.books.keep()
    before = await rig.step()
    assert await verify(rig.world.deps, loaded_series(rig.workflow)) == Verification(counted=2, gaps=())
    verifier = Verifier(rig.world.deps)
    rig.wait(30 * 86_400)
    await verifier.look()
    assert await rig.step() == before


async def test_with_the_data_go_the_ledger_the_books_and_the_segments(tmp_path: Path) -> None:
    rig = await a_rig(tmp_path)
    await rig.books.hear(1, 2)
    await rig.books.keep()
    await rig.books.end("disconnect")
    await rig.books.hear(11, 12)
    await rig.books.keep()
    await rig.step(close=True)
    removal = RecordRemoval(
        rig.world.store, rig.world.deps.coverage, WorkflowStore(rig.world.store), rig.world.observer, rig.books.objects
    )
    await removal.remove(loaded_series(rig.workflow), C, TimeRange(at(0), at(5)))
    names = {one.name async for one in ObjectFolder(tmp_path).list("depth/")}
    assert names == {"depth/BTCUSDT/000000000011.json", "depth/BTCUSDT/000000000011.jsonl.gz"}
    assert [one for one in rig.world.store.documents[C] if one.endswith(("_000000000001", f"_{at(1)}"))] == []
    assert rig.world.store.documents[C]
    await removal.remove(loaded_series(rig.workflow), C, TimeRange(at(0), at(20)))
    assert [one async for one in ObjectFolder(tmp_path).list("depth/")] == []
    assert C not in rig.world.store.documents
