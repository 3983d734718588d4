"""What a loader told, compared with what is stored: random logs against a look at every single update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from streamforge_utils.model.books.trust import BookInterval, BookLedger, Standing, Trust
from streamforge_utils.model.completeness.interval_survey import ENDED, NOT_STORED, UNTOLD, Link, Terms, survey
from streamforge_utils.model.coverage import Segment, Verdict, joined
from streamforge_utils.model.daily_collections import DAY_MS, Placement

EVER = 10**9
CAUSES = ("disconnect", "sequence gap", "stopped")
VERIFIED, DOUBTFUL = Standing(Trust.VERIFIED, "", 1), Standing(Trust.SUSPECT, "sequence gap")


def terms(**fields: object) -> Terms:
    return Terms(**{"placement": Placement("c"), "old_ms": EVER, **fields})  # type: ignore[arg-type]


def told(
    first: int, last: int, start_ms: int, end_ms: int, cause: str = "", *, trust: Trust = Trust.VERIFIED
) -> BookInterval:
    why = "" if trust is Trust.VERIFIED else "sequence gap"
    return BookInterval(
        first_id=first, last_id=last, start_ms=start_ms, end_ms=end_ms, cause=cause, trust=trust, why=why
    )


def links(*ids: int) -> list[Link]:
    """Records of one update each; the update `n` happens at `10 n`."""
    return [Link(n, n, 10 * n) for n in ids]


def shown(found: Iterable[Segment]) -> list[tuple[int, int, str, str, int | None, int | None]]:
    return [(s.start_ms, s.end_ms, s.verdict.value, s.cause, s.first_id, s.last_id) for s in found]


def test_what_is_told_and_stored_is_stored_and_a_gap_is_lost_with_its_cause() -> None:
    log = [told(1, 3, 10, 31, "disconnect"), told(7, 8, 70, 81)]
    assert shown(survey(log, links(1, 2, 3, 7, 8), 10, None, terms())) == [
        (10, 31, "stored", "", 1, 3),
        (31, 70, "lost", "disconnect", None, None),
        (70, 81, "stored", "", 7, 8),
    ]


def test_what_is_told_is_stored_no_further_than_its_records_are() -> None:
    log = [told(1, 9, 10, 91)]
    assert shown(survey(log, links(1, 2, 3), 10, None, terms())) == [(10, 30, "stored", "", 1, 2)]
    assert survey(log, [], 10, None, terms()) == []
    assert shown(survey(log, links(3, 4, 5), 30, 3, terms())) == [(30, 50, "stored", "", 3, 4)]
    assert [one.records for one in survey(log, links(*range(3, 10)), 30, 3, terms())] == [7]
    same = [Link(1, 1, 10), Link(2, 2, 20), Link(3, 3, 20)]
    assert shown(survey(log, same, 10, None, terms())) == [(10, 20, "stored", "", 1, 1)]


def test_a_record_that_overlaps_links_as_well() -> None:
    log = [told(1, 6, 10, 61)]
    overlapping = [Link(1, 4, 40), Link(3, 6, 60)]
    assert shown(survey(log, overlapping, 10, None, terms())) == [(10, 61, "stored", "", 1, 6)]


def test_what_was_told_and_is_not_stored_is_unknown_once_records_behind_it_are() -> None:
    log = [told(1, 9, 10, 91)]
    assert shown(survey(log, links(1, 2, 6, 7, 8, 9), 10, None, terms())) == [
        (10, 20, "stored", "", 1, 1),
        (20, 60, "unknown", NOT_STORED, 3, 5),
        (60, 91, "stored", "", 6, 9),
    ]
    assert shown(survey(log, links(1, 2), 10, None, terms(ended=True)))[1:] == [(20, 91, "unknown", NOT_STORED, 3, 9)]


def test_trust_is_kept_apart() -> None:
    log = [told(1, 2, 10, 21), told(3, 4, 21, 41, trust=Trust.SUSPECT), told(5, 6, 41, 61)]
    assert shown(survey(log, links(*range(1, 7)), 10, None, terms())) == [
        (10, 21, "stored", "", 1, 2),
        (21, 41, "stored", "suspect: sequence gap", 3, 4),
        (41, 61, "stored", "", 5, 6),
    ]


def test_a_ledger_that_tells_nothing_of_a_gap_leaves_it_unknown() -> None:
    log = [told(1, 2, 10, 21), told(6, 7, 60, 71)]
    assert shown(survey(log, links(1, 2, 6, 7), 10, None, terms()))[1] == (21, 60, "unknown", UNTOLD, 3, 5)
    log = [told(1, 2, 10, 21, "disconnect"), told(6, 7, 60, 71)]
    assert shown(survey(log, links(1, 2, 4, 6, 7), 10, None, terms()))[1] == (21, 60, "unknown", UNTOLD, 3, 5)


def test_what_an_attempt_that_said_nothing_has_missed_is_lost_where_another_one_began() -> None:
    log = [told(1, 2, 10, 21), told(6, 7, 60_000, 60_011)]
    there = [*links(1, 2), Link(6, 6, 60_000), Link(7, 7, 60_010)]
    assert shown(survey(log, there, 10, None, terms(begun_ms=[40_000])))[1] == (21, 60_000, "lost", ENDED, None, None)
    assert shown(survey(log, there, 10, None, terms(begun_ms=[70_000])))[1][2:4] == ("unknown", UNTOLD)


def test_two_attempts_that_overlap_lose_nothing() -> None:
    log = [told(1, 5, 10, 51, "stopped"), told(4, 8, 40, 81, "stopped")]
    assert shown(survey(log, links(*range(1, 9)), 10, None, terms())) == [(10, 81, "stored", "", 1, 8)]
    log = [told(1, 5, 10, 51, "stopped"), told(6, 8, 60, 81, "stopped")]
    assert shown(survey(log, links(*range(1, 9)), 10, None, terms())) == [(10, 81, "stored", "", 1, 8)]


def test_ids_that_were_wrong_hide_nothing() -> None:
    log = [told(1, 2, 10, 21, "sequence gap"), told(900, 901, 30, 41, "bad content"), told(8, 9, 80, 91)]
    there = [Link(1, 1, 10), Link(2, 2, 20), Link(8, 8, 80), Link(9, 9, 90), Link(900, 900, 30), Link(901, 901, 40)]
    assert [one[:4] for one in shown(survey(log, there, 10, None, terms()))] == [
        (10, 21, "stored", ""),
        (21, 30, "lost", "sequence gap"),
        (30, 41, "stored", ""),
        (41, 80, "lost", "bad content"),
        (80, 91, "stored", ""),
    ]


def test_what_comes_late_tells_nothing_of_the_time_before_it() -> None:
    goes_on, late = told(103, 103, 30, 31, trust=Trust.SUSPECT), told(4, 4, 40, 41, "sequence gap", trust=Trust.SUSPECT)
    log = [told(1, 2, 10, 21, "sequence gap"), goes_on, late]
    there = [*links(1, 2, 4), Link(103, 103, 30), Link(104, 104, 50)]
    found = shown(survey(log, there, 10, None, terms(begun_ms=[0])))
    assert found == [
        (10, 21, "stored", "", 1, 2),
        (21, 30, "lost", "sequence gap", None, None),
        (30, 31, "stored", "suspect: sequence gap", 103, 103),
    ]
    log[1] = told(103, 104, 30, 51, trust=Trust.SUSPECT)
    assert shown(survey(log, there, 10, None, terms(begun_ms=[0]))) == [
        *found[:2],
        (30, 51, "stored", "suspect: sequence gap", 103, 104),
    ]


def test_a_gap_without_time_is_shown_all_the_same_and_once() -> None:
    log = [told(1, 2, 10, 21, "sequence gap"), told(6, 7, 20, 71)]
    there = [*links(1, 2), Link(6, 6, 20), Link(7, 7, 70)]
    found = survey(log, there, 10, None, terms())
    assert [one[:4] for one in shown(found)] == [
        (10, 21, "stored", ""),
        (21, 22, "lost", "sequence gap"),
        (22, 71, "stored", ""),
    ]
    assert shown(survey(log, there, 22, 3, terms())) == shown(found)[2:]
    log = [told(1, 2, 10, 21, "sequence gap"), told(6, 7, 60, 71)]
    assert shown(survey(log, links(1, 2, 6, 7), 60, 3, terms())) == [(60, 71, "stored", "", 6, 7)]


def test_a_young_hole_is_waited_for() -> None:
    log = [told(1, 3, 10, 31, "disconnect"), told(7, 8, 70, 81)]
    there = links(1, 2, 3, 7, 8)
    assert len(survey(log, there, 10, None, terms(old_ms=69))) == 1
    assert len(survey(log, there, 10, None, terms(old_ms=70))) == 3
    assert len(survey(log, there, 10, None, terms(old_ms=0, ended=True))) == 3
    log = [told(1, 9, 10, 91)]
    assert len(survey(log, links(1, 2, 6, 9), 10, None, terms(old_ms=59))) == 1


def test_what_was_not_looked_at_is_no_hole() -> None:
    log = [told(1, 9, 10, 91, "stopped"), told(20, 30, 200, 301)]
    assert len(survey(log, links(1, 2, 3), 10, None, terms(seen_id=3, ended=True))) == 1
    assert len(survey(log, links(*range(1, 10)), 10, None, terms(seen_id=12))) == 1


class Heard(NamedTuple):
    """What happened at the exchange, what a loader told of it, and what of that is stored."""

    times: dict[int, int]
    doubts: dict[int, str]
    log: list[BookInterval]
    stored: list[int]
    causes: dict[int, str]


@st.composite
def histories(draw: st.DrawFn) -> Heard:
    """Updates of one id each: some are not received, for a reason, and some are told, but not stored."""
    count = draw(st.integers(1, 25))
    ledger, log, time_ms, cause = BookLedger(), list[BookInterval](), 100, ""
    times, received, causes = dict[int, int](), list[int](), dict[int, str]()
    for number in range(1, count + 1):
        time_ms += draw(st.integers(1, 4))
        times[number] = time_ms
        if draw(st.booleans()):
            ledger.standing = draw(st.sampled_from([VERIFIED, DOUBTFUL]))
        if received and draw(st.integers(0, 4)) == 0:
            if not cause:
                cause = draw(st.sampled_from(CAUSES))
                ledger.begin(cause)
            causes[number] = cause
            continue
        cause = ""
        ledger.add(number, number, time_ms)
        received.append(number)
    log = [*ledger.take(), *([] if (open_ := ledger.open()) is None else [open_])]
    doubts = {n: one.doubt for one in log for n in range(one.first_id, one.last_id + 1)}
    stored = [n for n in received if draw(st.integers(0, 6))]
    return Heard(times, doubts, log, stored, causes)


def verdict_at(found: Sequence[Segment], time_ms: int) -> Segment | None:
    return next((one for one in found if one.start_ms <= time_ms < one.end_ms), None)


@given(histories(), st.booleans(), st.permutations(range(3)))
def test_each_update_has_its_verdict(heard: Heard, ended: bool, order: Sequence[int]) -> None:
    first_ms = heard.log[0].start_ms
    log = [heard.log[at] for start in order for at in range(start, len(heard.log), 3)]
    there = [Link(n, n, heard.times[n]) for n in heard.stored]
    found = survey(log, there, first_ms, None, terms(ended=ended))
    assert all(left.end_ms == right.start_ms for left, right in pairwise(found))
    assert not found or found[0].start_ms == first_ms
    end_ms = found[-1].end_ms if found else first_ms
    assert sum(one.records for one in found) <= len(heard.stored)
    for number, time_ms in heard.times.items():
        one = verdict_at(found, time_ms)
        if one is None:
            assert time_ms >= end_ms
        elif one.verdict is Verdict.STORED:
            assert number in heard.stored
            assert one.cause == heard.doubts[number]
        elif number in heard.stored:  # it shares its place with one that lacks
            event("stored, and in a hole")
            assert number - 1 not in heard.stored or number + 1 not in heard.stored
        elif number in heard.causes:
            assert (one.verdict, one.cause) in ((Verdict.LOST, heard.causes[number]), (Verdict.UNKNOWN, NOT_STORED))
        else:
            assert (one.verdict, one.cause) == (Verdict.UNKNOWN, NOT_STORED)
    if ended:
        assert end_ms == heard.log[-1].end_ms


@given(histories(), st.lists(st.integers(0, 25), max_size=4))
def test_steps_come_to_the_same_as_one_look(heard: Heard, looks: list[int]) -> None:
    """At each look less is told and stored than in the end: what is said then is never taken back."""
    first_ms = heard.log[0].start_ms
    there = [Link(n, n, heard.times[n]) for n in heard.stored]
    known, at_ms, next_id = list[Segment](), first_ms, None
    for last in [*sorted(looks), None]:
        seen = [one for one in there if last is None or one.last_id <= last]
        more = survey(heard.log, seen, at_ms, next_id, terms(old_ms=first_ms if last is not None else EVER))
        known += more
        if more:
            at_ms = more[-1].end_ms
            next_id = next((s.last_id + 1 for s in reversed(more) if s.last_id is not None), next_id)
    once = survey(heard.log, there, first_ms, None, terms())
    assert shown(joined(known)) == shown(once)


@pytest.mark.parametrize("trust", Trust)
def test_a_doubt_begins_with_how_far_it_goes(trust: Trust) -> None:
    assert told(1, 2, 10, 21, trust=trust).doubt.startswith("" if trust is Trust.VERIFIED else trust.value)


def test_of_what_is_stored_each_day_has_its_own_part_up_to_its_last_record() -> None:
    """Where nothing happened around midnight a part reaches over it; a day without a record has none."""
    times = [DAY_MS - 30, DAY_MS - 20, DAY_MS, DAY_MS + 5, 4 * DAY_MS + 7]
    there = [Link(n, n, time_ms) for n, time_ms in enumerate(times, 1)]
    log = [told(1, 2, DAY_MS - 30, DAY_MS - 19), told(3, 5, DAY_MS - 19, 4 * DAY_MS + 8, "stopped")]
    found = survey(log, there, DAY_MS - 30, None, terms(placement=Placement("c", daily=True), old_ms=EVER * 2))
    assert [(s.collection, s.start_ms, s.end_ms, s.first_id, s.last_id, s.records) for s in found] == [
        ("c_19700101", DAY_MS - 30, DAY_MS - 19, 1, 2, 2),
        ("c_19700102", DAY_MS - 19, 4 * DAY_MS, 3, 4, 2),
        ("c_19700105", 4 * DAY_MS, 4 * DAY_MS + 8, 5, 5, 1),
    ]
    one = survey([told(1, 5, DAY_MS - 30, 4 * DAY_MS + 8)], there, DAY_MS - 30, None, terms())
    assert [(s.start_ms, s.end_ms, s.records) for s in one] == [(DAY_MS - 30, 4 * DAY_MS + 8, 5)]
